"""What pictures of all kinds of routes share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from engine.contract.views import Routing
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import figure
from engine.text.tokens import escaped, isolated

CELLS = 256
"""Stretches of a text, or of blocks, that a picture tells apart."""


def route_names(view: Routing, context: Context) -> list[str]:
    t = context.t
    if view.names:
        return [t(f"route.{name}") for name in view.names]
    kind = view.kind.removesuffix("s")
    return [t(f"route.{kind}", number=j) for j in range(view.load.shape[1])]


def called(context: Context, starts: np.ndarray, stops: np.ndarray) -> list[str]:
    """Stretches of queries, named by their tokens and positions, for hover."""
    frame, tokens = context.att.frame, context.tokens
    found = []
    for a, b in zip(starts.tolist(), stops.tolist(), strict=True):
        at = a + frame.offset
        word = isolated(tokens[at]) + " " if tokens and 0 <= at < frame.m else ""
        found.append(escaped(f"{word}{a:,}" + (f" … {b - 1:,}" if b - a > 1 else "")))
    return found


def along(context: Context, n: int) -> str:
    """The title of an axis of queries, with what was pooled."""
    t = context.t
    if n <= CELLS:
        return escaped(t("axis.position"))
    return escaped(t("route.axis.pooled", count=round(n / CELLS, 1)))


def tint(context: Context, j: int, alpha: float = 1.0) -> str:
    colour = context.theme.tints[j % len(context.theme.tints)]
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},{alpha})"


def mark_row(shape: go.Figure, context: Context) -> None:
    shape.add_vline(
        x=context.row, line={"color": context.theme.accent, "width": 1.5, "dash": "dot"}
    )


def colour_bar(title: str) -> dict[str, Any]:
    """A colour bar and what it measures."""
    words = {"text": escaped(title), "side": "right"}
    return {"thickness": 10, "outlinewidth": 0, "title": words}


def bars(
    series: Sequence[tuple[str, np.ndarray]],
    names: Sequence[str],
    lines: Sequence[tuple[str, float]],
    context: Context,
    title: str,
) -> go.Figure:
    """Shares by route, one bar a series, beside level lines of reference."""
    theme, said = context.theme, [escaped(name) for name in names]
    shape = figure(theme, 320, barmode="group", bargap=0.3)
    for (name, values), colour in zip(series, (theme.weight[5], theme.weight[2]), strict=False):
        shape.add_trace(
            go.Bar(
                x=list(range(len(names))), y=values, name=escaped(name),
                marker={"color": colour, "line": {"width": 0}}, customdata=said,
                hovertemplate=f"%{{customdata}}<br>{escaped(name)} %{{y:.1%}}<extra></extra>",
            )
        )  # fmt: skip
    for (name, level), dash in zip(lines, ("dash", "dot"), strict=False):
        shape.add_trace(
            go.Scatter(
                x=[-0.5, len(names) - 0.5], y=[level, level], mode="lines", name=escaped(name),
                line={"color": theme.ink, "width": 1.5, "dash": dash},
                hovertemplate=f"{escaped(name)} {level:.1%}<extra></extra>",
            )
        )  # fmt: skip
    named: dict[str, Any] = {"tickformat": "d"}
    if len(names) <= 12 and not title:
        named = {"tickvals": list(range(len(names))), "ticktext": said}
    shape.update_xaxes(
        showgrid=False, range=[-0.5, len(names) - 0.5], title_text=escaped(title), nticks=9,
        dtick=1 if len(names) <= 16 else None,
        **named,
    )  # fmt: skip
    shape.update_yaxes(
        title_text=escaped(context.t("route.axis.share")), tickformat=".0%", rangemode="tozero"
    )
    shape.update_layout(showlegend=True)
    return shape


def tinted(
    key: str, view: Routing, context: Context, names: Sequence[str], **facts: Any
) -> Iterator[Picture]:
    if view.labels is not None:
        labels = view.labels[context.head].tolist()
        yield Picture(key, labels=labels, names=names, facts=facts, wide=True)
