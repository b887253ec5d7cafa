"""What the foundations course computes: one module a part."""
