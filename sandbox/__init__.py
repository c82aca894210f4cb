"""The inside: everything that hostile code can touch, and nothing else of ours."""
