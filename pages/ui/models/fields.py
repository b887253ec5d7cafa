"""What the Models page lets a person choose, under keys that begin with `models-`."""

from engine.measure.patterns import PATTERNS
from pages.ui.url.linked import Fields, number, one_of

PLACES = ("project", "recent", "cache", "name")
"""Where models are looked for."""
SCORES = tuple(name for name in PATTERNS if name != "needle")
"""What heads are told apart by; a text at hand has no needle."""
SHARES = tuple(name for name in PATTERNS if name != "distance")
"""Those that are shares, 0 … 1."""
FOUND = ("induction", *(name for name in PATTERNS if name != "induction"))
"""What heads are ranked by; on the probe there is a needle."""
ON = ("probe", "text")
"""What they are scored on."""
SHOWS = ("map", *SCORES, "effective")
"""What each head's place shows where all are seen."""

MODELS = Fields(
    "models-",
    {
        "from": one_of(PLACES),
        "part": one_of(("heads", "finder"), "heads"),
        "shows": one_of(SHOWS, "map"),
        "pattern": one_of(FOUND, "induction"),
        "on": one_of(ON, "probe"),
        "least": number(0.0, 1.0, 0.3, 0.05),
    },
)
