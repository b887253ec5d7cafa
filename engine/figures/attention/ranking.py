"""Heads or layers in order of a number, a bar each."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from engine.figures.base.theme import Theme, figure
from engine.text.tokens import escaped

BAR = 26
"""Height of a bar with the room around it, in pixels."""
EDGES = 40
LETTER = 0.033
"""Of a phone's axis, what a letter of a number takes; a Chinese one takes two."""


def ranking(
    names: Sequence[str],
    values: Sequence[float],
    *,
    theme: Theme,
    numbers: Sequence[str],
    data: Sequence[Any] = (),
    chosen: int | None = None,
    least: float | None = None,
    end: float | None = None,
) -> go.Figure:
    """Bars from the top down.

    Args:
        values: at least 0. numbers: what is written beside each bar.
        data: of each bar, for the pointer. chosen: a bar. least: where a line stands; bars that
            don't reach it are pale.
        end: where the axis ends at the least.
    """
    shape = figure(theme, BAR * max(1, len(names)) + EDGES, showlegend=False)
    at = list(range(len(names)))
    top = max([*values, end or 0.0]) or 1.0
    shape.add_trace(
        go.Bar(
            x=list(values), y=at, orientation="h", customdata=list(data) or at,
            marker={
                "color": [
                    theme.accent if i == chosen
                    else theme.quiet if value >= (least or 0.0) else theme.grid
                    for i, value in enumerate(values)
                ],
                "line": {"width": 0},
            },
            text=[escaped(number) for number in numbers], textposition="outside",
            cliponaxis=False, selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
            hovertext=[escaped(f"{a} · {b}") for a, b in zip(names, numbers, strict=True)],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    )  # fmt: skip
    if least is not None:
        shape.add_vline(least, line={"color": theme.faint, "width": 1, "dash": "dot"})
    ends = [value / (1 - _room(number)) for value, number in zip(values, numbers, strict=True)]
    reach = max([1.2 * top, *ends])
    shape.update_xaxes(range=[0, reach], fixedrange=True, zeroline=False, nticks=5)
    shape.update_yaxes(
        tickmode="array", tickvals=at, ticktext=[escaped(name) for name in names],
        range=[len(names) - 0.4, -0.6], fixedrange=True, showgrid=False,
    )  # fmt: skip
    shape.update_layout(bargap=0.3)
    return shape


def _room(number: str) -> float:
    """Share of a phone's axis that a number takes beside its bar, at most half."""
    return min(0.5, LETTER * sum(2 if letter >= "\u2e80" else 1 for letter in number))
