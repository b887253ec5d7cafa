"""What the Models page draws."""

from collections.abc import Callable

from streamlit.delta_generator import DeltaGenerator

from pages.ui.models import across, beside, finder, heads, off, one, transplanted
from pages.ui.models.shown import Shown

PARTS: dict[str, Callable[[Shown, DeltaGenerator], None]] = {
    "heads": heads.draw,
    "one": one.draw,
    "finder": finder.draw,
    "across": across.draw,
    "off": off.draw,
    "transplant": transplanted.draw,
    "beside": beside.draw,
}
"""Key -> what draws it, in their order."""
