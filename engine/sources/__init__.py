"""Where Q, K and V come from: made (planted, identical), given (arrays),
read (text, passage), seen (image)."""

from __future__ import annotations

from typing import Any

from engine.contract import QKV
from engine.sources import arrays
from engine.sources.images import Image
from engine.sources.passages import Passage, Passages, passage
from engine.sources.synthetic import Identical, Planted

SOURCES: dict[str, type[Planted] | type[Identical] | type[Image]] = {
    cls.key: cls for cls in (Planted, Identical, Image)
}
"""Sources that are made from declared parameters alone."""

SWEPT: dict[str, type[Planted] | type[Identical] | type[Passage]] = {
    Planted.key: Planted,
    Identical.key: Identical,
    Passage.key: Passage,
}
"""Sources that a sweep can name, since they are made at any length."""

__all__ = [
    "SOURCES",
    "SWEPT",
    "Identical",
    "Image",
    "Passage",
    "Passages",
    "Planted",
    "arrays",
    "identical",
    "image",
    "passage",
    "planted",
    "text",
]


def planted(**parameters: Any) -> QKV:
    """Needles at a known logit gap among Gaussian distractors; parameters as in Planted."""
    return Planted(**parameters).make()


def identical(**parameters: Any) -> QKV:
    """Every key equally relevant; parameters as in Identical."""
    return Identical(**parameters).make()


def image(**parameters: Any) -> QKV:
    """The patches of an image, compared by colour, place and edges; parameters as in Image."""
    return Image(**parameters).make()


def text(*args: Any, **named: Any) -> QKV:
    """Q, K and V of one layer of a model that reads a text; see engine.sources.text."""
    from engine.sources.reading import text as read

    return read(*args, **named)
