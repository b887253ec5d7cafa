"""A mechanism's own pictures: which there are for what it computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from engine.contract import QKV, Attention, Mechanism
from engine.figures.theme import Theme, Words
from engine.views import View


@dataclass(frozen=True, eq=False)
class Context:
    """What a picture is drawn from.

    Attributes:
        att: the attention shown. head, row: chosen.
        qkv, mechanism: what was attended and how; None for a person's own weights.
        look, t: theme and words.
    """

    att: Attention
    head: int
    row: int
    qkv: QKV | None
    mechanism: Mechanism | None
    look: Theme
    t: Words

    @property
    def tokens(self) -> tuple[str, ...] | None:
        """What the keys are called."""
        return self.att.frame.tokens


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture with its words, `picture.<key>.title` and `picture.<key>.caption`.

    Attributes:
        facts: numbers for the caption.
        figure: a Plotly figure, or None where `labels` tint the text itself.
        labels: group of every key (−1 for none), drawn as the text in one tint a group.
        names: what the groups are called. wide: takes the whole width.
    """

    key: str
    figure: go.Figure | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    labels: Sequence[int] | None = None
    names: Sequence[str] = ()
    wide: bool = False


BY_VIEW: dict[type, Callable[[Any, Context], Iterator[Picture]]] = {}
"""View -> the pictures that show it."""
BY_ATTENTION: list[Callable[[Context], Iterator[Picture]]] = []
"""Pictures of attentions that have no view of their own; each decides by itself."""


def pictures(context: Context) -> list[Picture]:
    """All pictures of an attention's own structure, in the order in which they are shown."""
    views: tuple[View, ...] = context.att.views
    found = [
        p for view in views if type(view) in BY_VIEW for p in BY_VIEW[type(view)](view, context)
    ]
    return found + [p for draw in BY_ATTENTION for p in draw(context)]
