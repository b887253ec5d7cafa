"""Attentions measured: statistics, maps, windows, groups and comparisons, from their blocks."""
