"""Talks: the list of them, and one that plays."""

import re

from engine.spec.spelling import Field
from pages.ui.url.linked import Fields, number, one_of

VIEWS = ("list", "play", "speaker")
OPEN = Fields(
    "",
    {
        "talk": Field(
            str, None, fits=lambda name: bool(re.fullmatch(r"[a-z0-9_-]{1,64}", name)),
            said="dilution, hashing, …",
        ),
        "view": one_of(VIEWS, "play"),
        "scene": number(1, 10_000, 1),
        "beat": number(0, 1_000, 0),
    },
)  # fmt: skip
"""Which talk is open, in which window, and where it is: the browser moves on by itself."""
