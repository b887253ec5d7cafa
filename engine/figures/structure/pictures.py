"""A mechanism's own pictures: which there are for what it computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from engine.contract.views import (
    Bias,
    Buckets,
    Factors,
    Gate,
    Index,
    Levels,
    Memory,
    Octaves,
    Parts,
    Returns,
    Routing,
    Segments,
    View,
)
from engine.figures.base.picture import Context as Context
from engine.figures.base.picture import Picture as Picture
from engine.figures.structure import (
    bias,
    branches,
    buckets,
    factors,
    gate,
    index,
    levels,
    local,
    memory,
    octaves,
    remedies,
    returns,
    routing,
    scorings,
    segments,
    temperature,
)

BY_VIEW: dict[type, Callable[[Any, Context], Iterator[Picture]]] = {
    Bias: bias.pictures,
    Segments: segments.pictures,
    Factors: factors.pictures,
    Levels: levels.pictures,
    Buckets: buckets.pictures,
    Memory: memory.pictures,
    Routing: routing.pictures,
    Index: index.pictures,
    Gate: gate.pictures,
    Parts: branches.pictures,
    Returns: returns.pictures,
    Octaves: octaves.pictures,
}
"""View -> the pictures that show it."""
BY_ATTENTION: list[Callable[[Context], Iterator[Picture]]] = [
    temperature.pictures,
    scorings.pictures,
    local.pictures,
    remedies.pictures,
]
"""Pictures of attentions that have no view of their own; each decides by itself."""


def pictures(context: Context) -> list[Picture]:
    """All pictures of an attention's own structure, in the order in which they are shown."""
    views: tuple[View, ...] = context.att.views
    found = [
        p for view in views if type(view) in BY_VIEW for p in BY_VIEW[type(view)](view, context)
    ]
    return found + [p for draw in BY_ATTENTION for p in draw(context)]
