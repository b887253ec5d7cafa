"""Masked softmax: weights before and after, and one row three ways."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from engine.figures.base.theme import Theme, Words, array, figure
from engine.figures.lessons.grid import grid
from engine.lessons.masking import SENTENCES, SIDE, Masked
from engine.text.tokens import escaped


def row_names(kind: str) -> list[str]:
    """Rows of a batch by sentence (A, B, …) and query, else by position; from 1."""
    if kind != "lengths":
        return [str(i + 1) for i in range(SIDE)]
    each = SIDE // SENTENCES
    return [f"{chr(ord('A') + i // each)}{i % each + 1}" for i in range(SIDE)]


def sides(
    found: Masked, kind: str, row: int, *, theme: Theme, t: Words
) -> tuple[go.Figure, go.Figure]:
    """Weights without the mask and with it, on one scale."""
    top = max(float(found.before.max()), float(found.after.max()))
    each = SIDE // SENTENCES
    common = {
        "theme": theme, "rows": row_names(kind), "cols": [str(j + 1) for j in range(SIDE)],
        "across": t("axis.keys"), "down": t("axis.queries"), "top": top, "percent": True,
        "chosen": row,
        "beneath": [i - 0.5 for i in range(each, SIDE, each)] if kind == "lengths" else (),
    }  # fmt: skip
    before = grid(found.before, title=t("lesson.masking.before"), **common)
    after = grid(found.after, title=t("lesson.masking.after"), hidden=~found.mask, **common)
    for i in np.flatnonzero(array(found.empty)):
        after.add_annotation(
            x=(SIDE - 1) / 2, y=int(i), text=escaped(t("lesson.masking.empty")), showarrow=False,
            bgcolor=theme.grid, font={"size": 12, "color": theme.ink}, borderpad=6,
        )  # fmt: skip
    return before, after


def row(
    weights: Tensor, before: Tensor, *, title: str, top: float, theme: Theme, t: Words
) -> go.Figure:
    """One row under one way, its weights without the mask behind; NaN is said, not drawn."""
    shape = figure(theme, 210, barmode="overlay", showlegend=False, bargap=0.25)
    keys = [str(j + 1) for j in range(len(before))]
    shape.add_trace(
        go.Bar(
            x=keys, y=array(before), marker={"color": theme.grid}, hoverinfo="skip",
            name=escaped(t("lesson.masking.before")),
        )
    )  # fmt: skip
    broken = not bool(weights.isfinite().all())
    shape.add_trace(
        go.Bar(
            x=keys, y=[] if broken else array(weights), width=0.45,
            marker={"color": theme.accent}, hovertemplate="%{x}: %{y:.1%}<extra></extra>",
            name=escaped(t("lesson.masking.after")),
        )
    )  # fmt: skip
    if broken:
        shape.add_annotation(
            text="NaN", x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False,
            font={"size": 34, "color": theme.ink},
        )  # fmt: skip
    shape.update_xaxes(title_text=escaped(t("axis.keys")), type="category", showgrid=False)
    shape.update_yaxes(range=[0, top * 1.05], tickformat=".0%", nticks=4)
    shape.update_layout(title_text=escaped(title), margin={"t": 36})
    return shape


def ways(found: Masked, at: int, *, theme: Theme, t: Words) -> dict[str, go.Figure]:
    """One row the engine's way, with −10⁶ and with −∞, on one scale."""
    drawn = found.ways(at)
    top = max(float(x.nan_to_num().max()) for x in (*drawn.values(), found.before[at]))
    return {
        name: row(
            x, found.before[at], title=t(f"lesson.masking.way.{name}"), top=top, theme=theme, t=t
        )
        for name, x in drawn.items()
    }
