"""Where Q, K and V come from: made (planted, identical), given (arrays), read (text, passage)."""

from __future__ import annotations

from typing import Any

from engine.contract import QKV
from engine.sources import arrays
from engine.sources.passages import Passage, Passages, passage
from engine.sources.synthetic import Identical, Planted

SOURCES: dict[str, type[Planted] | type[Identical]] = {
    cls.key: cls for cls in (Planted, Identical)
}
"""Sources that are made from declared parameters alone."""

SWEPT: dict[str, type[Planted] | type[Identical] | type[Passage]] = {
    **SOURCES,
    Passage.key: Passage,
}
"""Sources that a sweep can name: those, and passages of the sample texts."""

__all__ = [
    "SOURCES",
    "SWEPT",
    "Identical",
    "Passage",
    "Passages",
    "Planted",
    "arrays",
    "identical",
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


def text(*args: Any, **named: Any) -> QKV:
    """Q, K and V of one layer of a model that reads a text; see engine.sources.text."""
    from engine.sources.reading import text as read

    return read(*args, **named)
