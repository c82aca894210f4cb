"""C submissions: compiled, tested and memory-checked, each step under a wall of its own."""
