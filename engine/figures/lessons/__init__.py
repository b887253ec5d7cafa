"""Figures of the foundations course."""
