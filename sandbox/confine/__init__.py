"""What the kernel holds around a worker. One file a mechanism."""
