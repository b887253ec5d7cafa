"""Talks made ready to be played: what every scene shows is computed and drawn once."""
