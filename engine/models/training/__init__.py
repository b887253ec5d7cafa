"""How the embedded model is trained, measured and described."""
