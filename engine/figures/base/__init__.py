"""What every figure shares: themes, pictures of structure, pictures that move."""
