"""One picture of a mechanism's own structure, and what it is drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from engine.figures.base.theme import Theme, Words
from engine.structure.shown import Shown


@dataclass(frozen=True, eq=False)
class Context(Shown):
    """What a picture is drawn from. theme, t: colours and words."""

    theme: Theme
    t: Words


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture with its words, `picture.<key>.title` and `picture.<key>.caption`.

    Attributes:
        facts: numbers for the caption.
        figure: a Plotly figure; None where `labels` tint the text, or where `formulas` say it all.
        labels: group of every key (−1 for none), drawn as the text in one tint a group.
        names: what the groups are called. own: the group of the chosen query, if it has one.
        wide: takes the whole width.
        beside: further figures of a wide picture; under the first where the page is narrow.
        formulas: of its words, `picture.<key>.<formula>.formula`, in LaTeX above the caption.
    """

    key: str
    figure: go.Figure | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    labels: Sequence[int] | None = None
    names: Sequence[str] = ()
    own: int | None = None
    wide: bool = False
    formulas: Sequence[str] = ()
    beside: Sequence[go.Figure] = ()
