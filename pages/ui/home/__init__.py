"""Home, below its story."""
