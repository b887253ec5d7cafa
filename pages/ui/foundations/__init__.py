"""The parts of the foundations course."""

from collections.abc import Callable

from pages.ui.foundations import cues, heads, masking, pooling, positions, regression, scoring
from pages.ui.url.linked import Fields, one_of

PARTS: dict[str, Callable[[], None]] = {
    "cues": cues.draw,
    "regression": regression.draw,
    "pooling": pooling.draw,
    "scoring": scoring.draw,
    "masking": masking.draw,
    "heads": heads.draw,
    "positions": positions.draw,
}
"""Key -> what draws it, in their order."""
OPEN = Fields("", {"part": one_of(tuple(PARTS), "cues")})
"""Which part is open."""
