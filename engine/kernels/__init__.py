"""What mechanisms are built of: patterns, scorings, normalisers, and the passes over them."""
