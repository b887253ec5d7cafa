"""What is kept on disk: fits and records."""
