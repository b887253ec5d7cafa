"""Curves and maps of the dilution lab."""
