"""The parts of the foundations course in their order: key -> what draws it."""

from collections.abc import Callable

from pages.ui.foundations import cues, heads, masking, pooling, positions, regression, scoring

PARTS: dict[str, Callable[[], None]] = {
    "cues": cues.draw,
    "regression": regression.draw,
    "scoring": scoring.draw,
    "masking": masking.draw,
    "heads": heads.draw,
    "positions": positions.draw,
    "pooling": pooling.draw,
}
