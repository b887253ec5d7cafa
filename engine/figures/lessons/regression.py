"""Kernel regression: the fit and one query's weights, all weights, training, more data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from engine.figures.base.theme import Theme, Words, array, figure, scale, template
from engine.lessons import regression
from engine.lessons.regression import SPAN, Consistency, Data, Step
from engine.text.tokens import escaped

FINE = torch.linspace(0, SPAN, 251, dtype=torch.float64)
BARS = 0.24  # of the height, that the largest weight takes
STILL = {"automargin": False}  # margins that are worked out anew at every step take half its time
MOST_CELLS = 120
"""Rows or columns of the matrix beyond which every second, third, … is drawn."""


@dataclass(frozen=True)
class Fit:
    """What is fitted, and the query that is looked at."""

    data: Data
    query: float
    kernel: str = "gaussian"

    def changing(self, w: float, theme: Theme) -> list[dict[str, Any]]:
        """What of each trace of `fit` depends on w."""
        data, at = self.data, torch.tensor([self.query], dtype=torch.float64)
        line = array(regression.predict(data, FINE, w, self.kernel)).tolist()
        weights = array(
            regression.attention(at, data.x, data.y, w, self.kernel).weights()[0, 0]
        ).astype(float)
        value = array(regression.predict(data, at, w, self.kernel)).tolist()
        top = max(float(weights.max()), 1e-12)
        shares = weights / top
        sizes = (7 + 9 * np.sqrt(shares)).round(1).tolist()
        return [
            {},
            {"y": line},
            {"y": (shares * BARS).round(4).tolist(), "customdata": weights.tolist()},
            {"marker": self.dots(theme, sizes), "customdata": weights.tolist()},
            {},
            {"y": value},
        ]

    def dots(self, theme: Theme, sizes: list[float]) -> dict[str, Any]:
        """Training points, larger where the query reads them."""
        return {"size": sizes, "color": theme.faint, "line": {"width": 1, "color": theme.paper}}


def fit(one: Fit, w: float, *, theme: Theme, t: Words, height: int = 430) -> go.Figure:
    """Truth, training points and prediction; below them the weights of one query as bars, scaled
    so that the largest is as high as in every picture."""
    data, moving = one.data, one.changing(w, theme)
    x, y = array(data.x).tolist(), array(data.y).tolist()
    low, high = min(0.0, *y), max(3.6, *y)
    ticks = list(range(math.ceil(low), math.floor(high) + 1))
    high += 0.06 * (high - low)
    low -= 0.35 * (high - low)  # room for the bars

    def name(key: str) -> str:
        return escaped(t(f"lesson.regression.{key}"))

    shape = figure(theme, height)
    shape.add_traces(
        [
            go.Scatter(
                x=FINE.tolist(), y=array(regression.truth(FINE)).tolist(), mode="lines",
                name=name("truth"), hoverinfo="skip",
                line={"color": theme.faint, "width": 1.5, "dash": "dash"},
            ),
            go.Scatter(
                x=FINE.tolist(), mode="lines", name=name("fit"), connectgaps=False,
                line={"color": theme.lines[1], "width": 3}, hovertemplate="%{y:.2f}", **moving[1],
            ),
            go.Bar(
                x=x, width=0.035, yaxis="y2", name=name("bars"), marker={"color": theme.accent},
                hovertemplate="%{customdata:.1%}<extra></extra>", **moving[2],
            ),
            go.Scatter(
                x=x, y=y, mode="markers", name=name("points"),
                hovertemplate="%{y:.2f} · %{customdata:.1%}<extra></extra>", **moving[3],
            ),
            go.Scatter(
                x=[one.query, one.query], y=[low, high], mode="lines", showlegend=False,
                hoverinfo="skip", line={"color": theme.accent, "width": 1, "dash": "dot"},
            ),
            go.Scatter(
                x=[one.query], mode="markers", name=name("answer"),
                marker={"size": 13, "color": theme.accent,
                        "line": {"width": 2, "color": theme.paper}},
                hovertemplate="%{y:.3f}<extra></extra>", **moving[5],
            ),
        ]
    )  # fmt: skip
    shape.update_layout(
        yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
        bargap=0, barmode="overlay", legend={"font": {"size": 13}},
    )  # fmt: skip
    shape.update_xaxes(title_text="x", range=[-0.05, SPAN + 0.05], fixedrange=True)
    shape.update_xaxes(**STILL).update_yaxes(**STILL)
    shape.update_layout(margin={"l": 44, "r": 8, "t": 52, "b": 44})
    shape.update_layout(
        yaxis={"range": [low, high], "title": {"text": "y"}, "fixedrange": True, "tickvals": ticks}
    )
    return shape


def cells(data: Data, w: float, kernel: str) -> tuple[list[list[float]], int, int]:
    """The attention of test points over training points, and every which of each is there."""
    weights = array(regression.attention(data.at, data.x, data.y, w, kernel).weights()[0])
    down, across = (-(-size // MOST_CELLS) for size in weights.shape)
    return weights[::down, ::across].astype(float).round(4).tolist(), down, across


def shares(found: list[list[float]]) -> dict[str, Any]:
    """Cells and where their colours end: at 0 and at the largest."""
    return {"z": found, "zmin": 0, "zmax": max(map(max, found)) or 1}


def matrix(
    data: Data, w: float, kernel: str, query: float, *, theme: Theme, t: Words, height: int = 430
) -> go.Figure:
    """Test points down, training points across, both in the order of x; the scale ends at the
    largest weight. The test point that is nearest to the query is marked."""
    found, down, across = cells(data, w, kernel)
    shape = figure(theme, height)
    shape.add_trace(
        go.Heatmap(
            **shares(found), dy=down, dx=across, y0=0, x0=0, colorscale=scale(theme.weight),
            hovertemplate="%{y} → %{x}<br>%{z:.3f}<extra></extra>",
            colorbar={"thickness": 10, "outlinewidth": 0, "len": 0.7,
                      "title": {"text": escaped(t("stat.weight")), "side": "right"}},
        )
    )  # fmt: skip
    row = int((data.at - query).abs().argmin()) // down * down
    shape.add_shape(
        type="rect", x0=-0.5 * across, x1=across * (len(found[0]) - 0.5), y0=row - 0.5 * down,
        y1=row + 0.5 * down, line={"color": theme.accent, "width": 1.5},
    )  # fmt: skip
    shape.update_xaxes(
        title_text=escaped(t("lesson.regression.keys.axis")), showgrid=False, fixedrange=True,
        nticks=6, tickformat="d",
    )  # fmt: skip
    shape.update_yaxes(
        title_text=escaped(t("lesson.regression.queries.axis")), showgrid=False, fixedrange=True,
        autorange="reversed", nticks=6, tickformat="d",
    )  # fmt: skip
    shape.update_xaxes(**STILL).update_yaxes(**STILL)
    shape.update_layout(margin={"l": 52, "r": 72, "t": 8, "b": 44})
    return shape


def walk(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """What of each trace of `descent` depends on the steps taken."""
    at, w = [s.step for s in steps], [abs(s.w) for s in steps]
    losses = [s.loss for s in steps]
    return [{}, {"x": at, "y": losses}, {"x": w, "y": losses}, {"x": w[-1:], "y": losses[-1:]}]


def descent(
    landscape: tuple[list[float], list[float]],
    steps: Sequence[Step],
    total: int,
    *,
    theme: Theme,
    t: Words,
    height: int = 280,
) -> go.Figure:
    """The loss by step, and beside it the same losses over w, on the loss of every w."""
    ws, losses = landscape
    shape = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.05)
    moving = walk(steps)
    pen = {"color": theme.accent, "width": 2.5}
    shape.add_trace(
        go.Scatter(x=ws, y=losses, mode="lines", line={"color": theme.lines[1], "width": 2},
                   hovertemplate="w = %{x:.3g}<br>%{y:.3f}<extra></extra>"),
        row=1, col=2,
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(mode="lines", line=pen, hovertemplate="%{x} · %{y:.3f}<extra></extra>",
                   **moving[1]),
        row=1, col=1,
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(mode="lines+markers", line={"color": theme.accent, "width": 1},
                   marker={"size": 5, "color": theme.accent}, hoverinfo="skip", **moving[2]),
        row=1, col=2,
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(mode="markers", marker={"size": 12, "color": theme.accent},
                   hovertemplate="w = %{x:.3g}<br>%{y:.3f}<extra></extra>", **moving[3]),
        row=1, col=2,
    )  # fmt: skip
    shape.update_layout(
        template=template(theme), height=height, showlegend=False, margin={"t": 8, "r": 12}
    )
    shape.update_yaxes(fixedrange=True, rangemode="tozero")
    shape.update_yaxes(title_text=escaped(t("lesson.regression.loss")), col=1)
    shape.update_xaxes(
        title_text=escaped(t("lesson.regression.step")), range=[-1, total + 1], col=1,
        fixedrange=True,
    )  # fmt: skip
    shape.update_xaxes(title_text="w", type="log", dtick=1, col=2, fixedrange=True)
    shape.update_xaxes(**STILL).update_yaxes(**STILL)
    shape.update_layout(margin={"l": 52, "r": 12, "t": 8, "b": 44})
    return shape


def more_data(found: Consistency, *, theme: Theme, t: Words, height: int = 360) -> go.Figure:
    """Error against the truth over the number of training points, both on logarithmic axes."""
    shape = figure(theme, height)
    for which, colour in (("fixed", theme.lines[0]), ("shrinking", theme.lines[1])):
        shape.add_trace(
            go.Scatter(
                x=found.sizes, y=getattr(found, which), mode="lines+markers",
                name=escaped(t(f"lesson.regression.more.{which}")),
                line={"color": colour, "width": 2.5}, marker={"size": 7},
                hovertemplate="n = %{x:,}<br>%{y:.3f}<extra></extra>",
            )
        )  # fmt: skip
    low, high = min(found.fixed + found.shrinking), max(found.fixed + found.shrinking)
    ticks = [n for n in found.sizes if n.bit_length() % 2]
    marks = [e for e in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if low / 2 < e < high * 2]
    shape.update_xaxes(
        type="log", tickvals=ticks, ticktext=[f"{n:,}" for n in ticks], fixedrange=True,
        title_text=escaped(t("lesson.regression.more.axis")),
    )  # fmt: skip
    shape.update_yaxes(
        type="log", tickvals=marks, ticktext=[f"{e:g}" for e in marks], fixedrange=True,
        title_text=escaped(t("lesson.regression.more.error")),
        range=[np.log10(low) - 0.1, np.log10(high) + 0.1],
    )  # fmt: skip
    return shape
