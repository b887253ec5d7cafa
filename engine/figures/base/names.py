"""Names of a figure's properties, each parsed once.

Plotly takes apart every name with an underscore at every use, regular expressions and all: over a
third of what a small figure takes to build. What comes out depends on the name alone.
"""

from __future__ import annotations

from functools import lru_cache

from plotly import basedatatypes

PARSER = "_str_to_dict_path_full"


def remember() -> None:
    """Have Plotly keep what it makes of a name; where it parses elsewhere, all stays as it is."""
    parse = getattr(basedatatypes, PARSER, None)
    if parse is not None and not hasattr(parse, "cache_info"):
        setattr(basedatatypes, PARSER, lru_cache(4096)(parse))
