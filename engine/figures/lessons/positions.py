"""Positions: outputs of a permuted sentence, encodings and what they say, and costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from engine.figures.base.theme import POWERS, Theme, Words, array, figure
from engine.figures.dilution.curves import pen, powers
from engine.figures.lessons.grid import grid, tokens_of
from engine.lessons.positions import LAYERS, Permuted, cost
from engine.text.tokens import escaped


def outputs(
    found: Permuted, tokens: Sequence[str], *, theme: Theme, t: Words
) -> tuple[go.Figure, go.Figure, go.Figure]:
    """Outputs as written, those of the permuted sentence put back, and the difference, on one
    scale."""
    top = float(found.before.abs().max())
    triple = (
        ("before", found.before), ("after", found.after), ("gap", found.after - found.before)
    )  # fmt: skip
    before, after, gap = (
        grid(
            values, theme=theme, title=t(f"lesson.positions.{name}"), signed=True,
            rows=tokens_of(tokens), across=t("lesson.positions.dimension"), top=top, height=380,
            bar=name == "gap",
        )
        for name, values in triple
    )  # fmt: skip
    return before, after, gap


def encoding(table: Tensor, dimension: int, *, theme: Theme, t: Words) -> go.Figure:
    """The table, a row a position, the chosen dimension and its partner framed."""
    shape = grid(
        table, theme=theme, title=t("lesson.positions.table"), signed=True, top=1.0, bar=True,
        across=t("lesson.positions.dimension"), down=t("lesson.positions.position"), height=400,
    )  # fmt: skip
    first = dimension // 2 * 2
    shape.add_vrect(
        x0=first - 0.5, x1=first + 1.5, fillcolor="rgba(0,0,0,0)",
        line={"color": theme.accent, "width": 2.5},
    )  # fmt: skip
    return shape


def curves(table: Tensor, dimension: int, *, theme: Theme, t: Words) -> go.Figure:
    """The chosen dimension, its partner, and the first and last pair, over positions."""
    width, first = table.shape[1], dimension // 2 * 2
    shape = figure(theme, 400)
    shown = {first: -1, first + 1: -1} | {
        d: i for i, d in enumerate((0, width - 2), 1) if d != first
    }
    for d, i in shown.items():
        line = pen(theme, i) | ({"dash": "dash"} if d == first + 1 else {})
        shape.add_trace(
            go.Scatter(
                y=array(table[:, d]), mode="lines", name=escaped(t("lesson.positions.one", d=d)),
                line=line, hovertemplate="%{x}: %{y:.3f}<extra></extra>",
            )
        )  # fmt: skip
    shape.update_xaxes(title_text=escaped(t("lesson.positions.position")))
    shape.update_yaxes(range=[-1.08, 1.08])
    shape.update_layout(
        title_text=escaped(t("lesson.positions.curves")), margin={"t": 40, "r": 12},
        legend={"y": -0.2, "yanchor": "top"},
    )  # fmt: skip
    return shape


def likeness(scores: Tensor, name: str, offset: int, *, theme: Theme, t: Words) -> go.Figure:
    """Scores of pairs of positions by position alone, the chosen distance marked."""
    n = len(scores)
    shape = grid(
        scores, theme=theme, title=t(f"lesson.positions.{name}"), signed=True, height=330,
        down=t("lesson.positions.position"), across=t("lesson.positions.position"), bar=True,
    )  # fmt: skip
    if offset < n:
        shape.add_trace(
            go.Scatter(
                x=[0, n - 1 - offset], y=[offset, n - 1], mode="lines", hoverinfo="skip",
                line={"color": theme.accent, "width": 2.5}, showlegend=False,
            )
        )  # fmt: skip
    return shape


def costs(
    n: int, width: int, kernel: int, longest: int, *, theme: Theme, t: Words
) -> dict[str, go.Figure]:
    """Operations, steps and path of each kind of layer over length, the chosen length marked."""
    lengths = np.geomspace(1, longest, 80)
    found = {}
    for what in ("operations", "steps", "path"):
        shape = figure(theme, 400)
        for i, layer in enumerate(LAYERS):
            y = [getattr(cost(layer, x, width, kernel), what) for x in lengths.tolist()]
            shape.add_trace(
                go.Scatter(
                    x=lengths, y=y, mode="lines", name=escaped(t(f"lesson.positions.{layer}")),
                    line=pen(theme, i) | {"dash": ("solid", "dash", "dot", "dashdot")[i]},
                    hovertemplate="n = %{x:,.0f}: %{y:,.3s}<extra></extra>",
                )
            )  # fmt: skip
        shape.add_vline(x=n, line={"color": theme.accent, "width": 2})
        ticks = powers(1, longest)[::2]
        shape.update_xaxes(
            type="log", title_text=escaped(t("lesson.positions.n")), tickvals=ticks,
            ticktext=[f"{x:,}" for x in ticks],
        )  # fmt: skip
        shape.update_yaxes(POWERS, type="log")
        if what == "operations":
            shape.update_yaxes(dtick=2)
        shape.update_layout(
            title_text=escaped(t(f"lesson.positions.{what}")), margin={"t": 40, "r": 12},
            legend={"orientation": "h", "y": -0.2, "yanchor": "top"},
        )  # fmt: skip
        found[what] = shape
    return found
