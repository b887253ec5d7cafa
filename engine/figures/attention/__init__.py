"""Weights: maps, rows, mosaics, groups, differences."""
