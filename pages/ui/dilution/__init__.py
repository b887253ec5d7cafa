"""The parts of the dilution lab."""

from collections.abc import Callable

from pages.ui.dilution import growing, measured, noise, probes, theory, thinning, trained
from pages.ui.url.linked import Fields, one_of

PARTS: dict[str, Callable[[], None]] = {
    "theory": theory.draw,
    "measured": measured.draw,
    "thinning": thinning.draw,
    "noise": noise.draw,
    "growing": growing.draw,
    "probes": probes.draw,
    "trained": trained.draw,
}
"""Key -> what draws it, in their order."""
OPEN = Fields("", {"lab": one_of(tuple(PARTS), "theory")})
"""Which part is open."""
