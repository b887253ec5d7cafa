"""What is inside two remedies: a temperature for each row, and two softmaxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from engine.figures.attention.heatmap import ticks
from engine.figures.attention.strips import furthest
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import Theme, Words, figure
from engine.figures.structure.remedy_curves import POINTS
from engine.measure.cells import Cells
from engine.mechanisms.adaptive_temperature import sharpening
from engine.mechanisms.differential import Differential
from engine.structure.remedies import Halves, Temperatures, beta_curve
from engine.text.tokens import escaped


def temperatures(found: Temperatures, context: Context) -> Picture:
    """β of rows by their entropy."""
    return Picture(
        "remedy_beta", betas(found, context.theme, context.t),
        {"row": context.row, "entropy": float(found.entropy[found.here]),
         "beta": float(found.beta[found.here]), "end": sharpening()[1],
         "sharpened": float((found.beta > 1).mean()), "rows": len(found.rows)},
    )  # fmt: skip


def betas(found: Temperatures, theme: Theme, t: Words) -> go.Figure:
    """β against the entropy of softmax, with a text's rows on the curve."""
    entropies, values, here = found.entropy, found.beta, found.here
    x = np.linspace(0, max(8.0, float(entropies.max(initial=0)) + 0.3), POINTS)
    shape = figure(theme, 320, showlegend=False)
    shape.add_trace(
        go.Scatter(
            x=x, y=beta_curve(x), mode="lines", hoverinfo="skip",
            line={"color": theme.faint, "width": 2},
        )
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=entropies, y=values, mode="markers", text=[f"{r:,}" for r in found.rows.tolist()],
            marker={"color": theme.quiet, "size": 7, "opacity": 0.5},
            hovertemplate=escaped(t("axis.position")) + " %{text}<br>H = %{x:.2f}, "
            "β = %{y:.2f}<extra></extra>",
        )
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=entropies[here : here + 1], y=values[here : here + 1], mode="markers",
            marker={"color": theme.accent, "size": 12}, hoverinfo="skip",
        )
    )  # fmt: skip
    low, high = sharpening()
    for a, b in ((0, low), (high, x[-1])):
        shape.add_vrect(
            x0=a, x1=b, fillcolor=theme.grid, opacity=0.45, line_width=0, layer="below"
        )
    shape.add_annotation(
        x=(high + x[-1]) / 2, y=0.5, yref="paper", text=escaped(t("remedy.nothing")),
        showarrow=False, font={"size": 13, "color": theme.ink},
    )  # fmt: skip
    shape.update_xaxes(
        title_text=escaped(t("remedy.entropy")), showgrid=False, range=[0, x[-1]], dtick=1
    )
    shape.update_yaxes(title_text=escaped(t("remedy.beta")), range=[0.85, 2.6])
    return shape


def difference(found: Halves, context: Context) -> Picture:
    """The chosen row's two softmaxes, and what is left of the first."""
    taken = found.lambda_ * found.second
    after = found.first - taken
    second = isinstance(context.mechanism, Differential) and context.mechanism.second
    return Picture(
        "remedy_pair" if second else "remedy_halves",
        parts(found.first, taken, context.tokens, context.theme, context.t),
        {"row": context.row, "lambda_": found.lambda_, "total": after.sum(),
         "overlap": found.overlap, "negative": -after[after < 0].sum()},
        wide=True,
    )  # fmt: skip


def parts(
    first: np.ndarray, second: np.ndarray, keys: Sequence[str] | None, theme: Theme, t: Words
) -> go.Figure:
    """The first softmax up, what is taken off it down, and below the difference."""
    cells = Cells(0, len(first), 512)
    edges = cells.edges().numpy()
    at = (edges[:-1] + edges[1:] - 1) / 2
    after = furthest(first - second, cells)
    up, down = furthest(first, cells), furthest(second, cells)
    high, low = theme.signed[6], theme.signed[2]
    shape = figure(theme, 400, bargap=0, barmode="overlay")
    for y, name, colour, axis in (
        (up, t("remedy.first"), theme.quiet, "y"), (-down, t("remedy.second"), theme.faint, "y"),
        (np.where(after > 0, after, 0), t("remedy.positive"), high, "y2"),
        (np.where(after < 0, after, 0), t("remedy.negative"), low, "y2"),
    ):  # fmt: skip
        shape.add_trace(
            go.Bar(
                x=at, y=y, name=escaped(name), yaxis=axis,
                marker={"color": colour, "line": {"width": 0}}, hovertemplate="%{x:,}: %{y:.2%}",
            )
        )  # fmt: skip
    top = 1.05 * max(up.max(), after.max(), 1e-9)
    bottom = 1.05 * max(down.max(), -after.min(), 0.05 * top)
    common = {"range": [-bottom, top], "tickformat": ".0%", "zeroline": True,
              "zerolinecolor": theme.faint, "nticks": 5}  # fmt: skip
    shape.update_layout(
        yaxis={"domain": [0.53, 1], "title": {"text": escaped(t("remedy.weight"))}, **common},
        yaxis2={"domain": [0, 0.47], "title": {"text": escaped(t("remedy.difference"))}, **common},
        hovermode="closest",
    )  # fmt: skip
    shape.update_xaxes(
        title_text=escaped(t("axis.keys")), range=[-0.5, len(first) - 0.5], showgrid=False,
        anchor="y2", **ticks(keys, 0, len(first)),
    )  # fmt: skip
    return shape
