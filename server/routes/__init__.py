"""One file an interface. A route reads the body, asks the floor below, and renders."""
