"""Plotly figures, one file a picture. The only place in the engine that imports plotly.

Every function takes results (tensors or arrays), a `Theme`, and `t`, which turns a dotted key and
facts into words of the person's language.
"""
