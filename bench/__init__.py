"""What prints every figure we publish. Run with `make bench`."""
