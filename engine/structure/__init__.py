"""What pictures of structure need computed."""
