"""Scores and what a softmax makes of them: small maps, histograms beside theory, growth with d."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from torch import Tensor

from engine.figures.base.theme import Theme, Words, array, figure, scale, template
from engine.figures.lessons.grid import numbers
from engine.lessons.scoring import Spread
from engine.text.tokens import escaped

BINS = 48
REACH = 4.0
"""Standard deviations that a histogram shows."""


def weights(values: Tensor, *, theme: Theme, t: Words, height: int = 250) -> go.Figure:
    """Weights of a few queries over a few keys, with the numbers in the cells."""
    shape = figure(theme, height)
    shape.add_trace(
        go.Heatmap(
            z=array(values).astype(float).tolist(), zmin=0, zmax=1, colorscale=scale(theme.weight),
            showscale=False, xgap=1, ygap=1,
            hovertemplate="%{y} → %{x}<br>%{z:.4f}<extra></extra>",
        )
    )  # fmt: skip
    shape.add_trace(numbers(array(values), ".2f", 1.0, theme=theme))
    shape.update_xaxes(
        title_text=escaped(t("axis.keys")),
        showgrid=False,
        fixedrange=True,
        dtick=1,
        tickformat="d",
    )
    shape.update_yaxes(
        title_text=escaped(t("axis.queries")), showgrid=False, fixedrange=True, dtick=1,
        autorange="reversed", tickformat="d",
    )  # fmt: skip
    return shape


def histograms(one: Spread, *, theme: Theme, t: Words, height: int = 320) -> go.Figure:
    """Densities of q·k and of q·k/√d as they were counted, each beside the normal density that it
    has for large d; on one axis, which shows what the scale does."""
    shape = make_subplots(
        rows=1, cols=2, horizontal_spacing=0.07,
        subplot_titles=[escaped(t(f"lesson.scoring.{key}")) for key in ("raw", "scaled")],
    )  # fmt: skip
    raw = array(one.raw).ravel()
    for col, factor, sd in ((1, 1.0, one.d**0.5), (2, one.d**-0.5, 1.0)):
        edges = np.linspace(-REACH * sd, REACH * sd, BINS + 1)
        count, _ = np.histogram(raw * factor, edges)
        height_of = count / raw.size / np.diff(edges)
        x = np.linspace(-REACH * sd, REACH * sd, 401)
        shape.add_trace(
            go.Bar(
                x=((edges[1:] + edges[:-1]) / 2).tolist(), y=height_of.tolist(),
                width=float(edges[1] - edges[0]), marker={"color": theme.quiet},
                name=escaped(t("lesson.scoring.counted")), showlegend=col == 1,
                hovertemplate="%{x:.2f}: %{y:.3f}<extra></extra>",
            ),
            row=1, col=col,
        )  # fmt: skip
        shape.add_trace(
            go.Scatter(
                x=x.tolist(), y=normal(x, sd).tolist(), mode="lines", showlegend=col == 1,
                name=escaped(t("lesson.scoring.theory")), hoverinfo="skip",
                line={"color": theme.ink, "width": 2},
            ),
            row=1, col=col,
        )  # fmt: skip
    shape.update_layout(
        template=template(theme), height=height, bargap=0, margin={"t": 64, "r": 8},
        legend={"orientation": "h", "y": 1.13, "x": 0, "yanchor": "bottom"},
    )  # fmt: skip
    shape.update_xaxes(title_text=escaped(t("lesson.scoring.score")))
    shape.update_xaxes(fixedrange=True, range=[-REACH * one.d**0.5, REACH * one.d**0.5])
    shape.update_yaxes(fixedrange=True, showticklabels=False, showgrid=False, rangemode="tozero")
    return shape


def normal(x: np.ndarray, sd: float) -> np.ndarray:
    """Density of N(0, sd²)."""
    return np.exp(-((x / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))


def growth(
    found: Sequence[Spread], what: str, d: int, *, theme: Theme, t: Words, height: int = 300
) -> go.Figure:
    """One figure over d, without the scale and with it: "variance" (beside theory, d and 1),
    "largest" or "entropy"."""
    shape = figure(theme, height)
    widths = [one.d for one in found]
    values = list(zip(*(getattr(one, what) for one in found), strict=True))
    for i, key in enumerate(("without", "with")):
        colour = theme.lines[(0, 1)[i]]
        shape.add_trace(
            go.Scatter(
                x=widths, y=values[i], name=escaped(t(f"lesson.scoring.{key}")),
                mode="markers" if what == "variance" else "lines+markers",
                line={"color": colour, "width": 2.2}, marker={"size": 8, "color": colour},
                hovertemplate="d = %{x}<br>%{y:.3g}<extra></extra>",
            )
        )  # fmt: skip
        if what == "variance":
            shape.add_trace(
                go.Scatter(
                    x=widths, y=widths if i == 0 else [1] * len(widths), mode="lines",
                    showlegend=False, hoverinfo="skip",
                    line={"color": colour, "width": 1.5, "dash": "dot"},
                )
            )  # fmt: skip
    shape.add_vline(x=d, line={"color": theme.accent, "width": 1.5, "dash": "dot"})
    ticks = widths[::2]
    shape.update_xaxes(
        type="log", tickvals=ticks, ticktext=[str(n) for n in ticks], title_text="d",
        fixedrange=True,
    )  # fmt: skip
    shape.update_yaxes(fixedrange=True, title_text=escaped(t(f"lesson.scoring.{what}")))
    if what == "variance":
        shape.update_yaxes(type="log", dtick=1)
    else:
        shape.update_yaxes(range=[0, 1.03], tickformat=".0%")
    shape.update_layout(margin={"r": 8})
    return shape
