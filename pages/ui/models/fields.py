"""What the Models page lets a person choose, under keys that begin with `models-`."""

from engine.measure.patterns import PATTERNS
from pages.ui.url.linked import Fields, one_of

PLACES = ("project", "recent", "cache", "name")
"""Where models are looked for."""
SCORES = tuple(name for name in PATTERNS if name != "needle")
"""What heads are told apart by; a text at hand has no needle."""
SHARES = tuple(name for name in SCORES if name != "distance")
"""Those that are shares, 0 … 1."""
SHOWS = ("map", *SCORES, "effective")
"""What each head's place shows where all are seen."""

MODELS = Fields(
    "models-",
    {
        "from": one_of(PLACES),
        "part": one_of(("heads",), "heads"),
        "shows": one_of(SHOWS, "map"),
    },
)
