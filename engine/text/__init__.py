"""Text: which pieces tokens stand for, units of it, and words for people."""
