"""What a temperature does to a row of softmax."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go

from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import Theme, Words, colour_at, figure
from engine.structure.temperature import at, effective, row
from engine.text.tokens import escaped

STEPS = (0.25, 0.5, 1.0, 2.0, 4.0)
RANGE = (0.1, 10.0)
FLOOR = 1e-8
"""Least weight that is drawn."""


def pictures(context: Context) -> Iterator[Picture]:
    """The row at other temperatures; none for other mechanisms."""
    if context.qkv is None or (found := row(context)) is None:
        return
    z, now = found
    facts = {"half": now / 2, "now": now, "double": 2 * now}
    spread = {f"over_{name}": effective(at(z, x)) for name, x in facts.items()}
    yield Picture(
        "temperature", curves(z, now, context.theme, context.t), wide=True,
        beside=(spread_over(z, now, context.theme, context.t),),
        facts={"row": context.row, "head": context.head, "n": len(z), **facts, **spread},
    )  # fmt: skip


def curves(logits: np.ndarray, now: float, theme: Theme, t: Words) -> go.Figure:
    """The row's weights, sorted, at several temperatures.

    Args:
        logits: (m) of the keys that the row may see. now: the temperature that was chosen.
    """
    n = len(logits)
    shape = figure(theme, 340, margin={"t": 44})
    for k, x in enumerate(sorted({*STEPS, now})):
        w = np.sort(at(logits, x))[::-1]
        chosen = x == now
        colour = theme.accent if chosen else colour_at(theme.weight, 0.75 - 0.45 * k / len(STEPS))
        shape.add_trace(
            go.Scatter(
                x=np.arange(1, n + 1), y=np.where(w >= FLOOR, w, np.nan), mode="lines",
                name=f"T = {x:g}", line={"color": colour, "width": 3 if chosen else 1.8},
                hovertemplate=f"T = {x:g}<br>%{{x:,d}}: %{{y:.2%}}<extra></extra>",
            )
        )  # fmt: skip
    shape.update_layout(
        xaxis={"type": "log", "dtick": 1, "title": {"text": escaped(t("remedy.rank", n=n))},
               "showgrid": False},
        yaxis={"type": "log", "title": {"text": escaped(t("remedy.weight"))},
               "range": [np.log10(FLOOR), 0.1], "tickvals": [1, 1e-2, 1e-4, 1e-6, 1e-8],
               "ticktext": ["100%", "1%", "0.01%", "10<sup>−6</sup>", "10<sup>−8</sup>"]},
    )  # fmt: skip
    return shape


def spread_over(logits: np.ndarray, now: float, theme: Theme, t: Words) -> go.Figure:
    """Over how many keys the row spreads, by temperature."""
    n = len(logits)
    shape = figure(theme, 340, margin={"t": 44})
    grid = np.geomspace(min(RANGE[0], now), max(RANGE[1], now), 80)
    line = {"mode": "lines", "showlegend": False}
    shape.add_trace(
        go.Scatter(
            x=grid, y=[effective(at(logits, x)) for x in grid],
            line={"color": theme.weight[5], "width": 2.5},
            hovertemplate="T = %{x:.2f}<br>%{y:,.1f}<extra></extra>", **line,
        )
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=[grid[0], grid[-1]], y=[n, n], hoverinfo="skip",
            line={"color": theme.faint, "width": 1, "dash": "dash"}, **line,
        )
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=[now], y=[effective(at(logits, now))], hoverinfo="skip",
            marker={"size": 11, "color": theme.accent}, **line | {"mode": "markers"},
        )
    )  # fmt: skip
    log = {"type": "log", "dtick": 1}
    shape.update_layout(
        xaxis={**log, "showgrid": False, "title": {"text": escaped(t("temperature.axis"))}},
        yaxis={**log, "title": {"text": escaped(t("stat.effective_tokens"))},
               "range": [-0.05, np.log10(max(n, 2)) * 1.08]},
    )  # fmt: skip
    shape.add_annotation(
        text=escaped(t("temperature.even", n=n)), x=np.log10(grid[0]) + 0.02, y=np.log10(n),
        xanchor="left", yanchor="bottom", showarrow=False,
        font={"size": 12, "color": theme.faint},
    )  # fmt: skip
    return shape
