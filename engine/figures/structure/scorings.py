"""Scores that are no dot products: a fitted network's, and a kernel's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go

from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import Theme, Words, figure, scale
from engine.structure.scorings import Kernel, following, kernel_of
from engine.text.tokens import escaped, isolated

POINTS = 1500
"""Keys of a row that are drawn one by one."""
CELLS = 60
"""Cells a side of a density."""


def pictures(context: Context) -> Iterator[Picture]:
    """Of additive scores and of a Gaussian kernel; none of other mechanisms."""
    t, head = context.t, context.head
    if (fit := following(context)) is not None:
        quality = "good" if fit.r2 >= 0.9 else "fair" if fit.r2 >= 0.5 else "poor"
        yield Picture(
            "additive_scores", density(fit.own, fit.made, theme=context.theme, t=t),
            {"head": head, "r2": fit.r2, "pairs": len(fit.own), "rows": fit.rows,
             "hidden": fit.hidden, "quality": t(f"additive.{quality}")},
        )  # fmt: skip
    if (found := kernel_of(context)) is not None:
        near = found.far[found.seen]
        yield Picture(
            "gaussian_kernel", kernel(found, context),
            {"row": context.row, "head": head, "width": found.width, "near": near.min(),
             "typical": float(np.median(near)), "n": len(near), "effective": found.effective,
             "largest": found.weights.max(), "drawn": min(POINTS, len(near))},
        )  # fmt: skip


def density(x: np.ndarray, y: np.ndarray, *, theme: Theme, t: Words) -> go.Figure:
    """Pairs by their own score and the network's, as counts in cells; equal ones on the line."""
    low, high = (float(f(np.quantile(z, share) for z in (x, y))) for f, share in
                 ((min, 0.0005), (max, 0.9995)))  # fmt: skip
    low, high = low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1)
    counts, edges, _ = np.histogram2d(x, y, bins=CELLS, range=[[low, high]] * 2)
    middle = (edges[1:] + edges[:-1]) / 2
    powers = range(int(np.log10(max(counts.max(), 1))) + 1)
    shape = figure(theme, 380, showlegend=False)
    shape.add_trace(
        go.Heatmap(
            x=middle, y=middle, z=np.where(counts.T > 0, np.log10(np.maximum(counts.T, 1)) + 0.3,
                                           np.nan),
            customdata=counts.T, zmin=0, colorscale=scale(theme.weight),
            colorbar={"thickness": 10, "outlinewidth": 0, "len": 0.7,
                      "tickvals": [p + 0.3 for p in powers],
                      "ticktext": [f"{10**p:,}" for p in powers],
                      "title": {"text": escaped(t("additive.pairs")), "side": "right"}},
            hovertemplate="%{x:.2f} → %{y:.2f}: %{customdata:,d}<extra></extra>",
        )
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=[low, high], y=[low, high], mode="lines", hoverinfo="skip",
            line={"color": theme.faint, "width": 1.5, "dash": "dot"},
        )
    )  # fmt: skip
    shape.update_xaxes(title_text=escaped(t("additive.own")), range=[low, high])
    shape.update_yaxes(
        title_text=escaped(t("additive.made")),
        range=[low, high],
        scaleanchor="x",
        constrain="domain",
    )
    shape.update_xaxes(constrain="domain")
    return shape


def kernel(found: Kernel, context: Context) -> go.Figure:
    """Weights of one row's keys by their distance, on the kernel; of many, the heaviest, and
    others at even steps of distance."""
    theme, t, keys = context.theme, context.t, context.tokens
    far, weights = found.far, found.weights
    at = np.flatnonzero(found.seen)
    if len(at) > POINTS:
        order = at[np.argsort(-weights[at])]
        rest = order[POINTS // 2 :]
        rest = rest[np.argsort(far[rest])]
        even = np.linspace(0, len(rest) - 1, POINTS - POINTS // 2).astype(int)
        at = np.concatenate([order[: POINTS // 2], rest[even]])
    near, wide = float(far[at].min()), float(far[at].max())
    x = np.linspace(near, max(wide, near + 1e-6), 300)
    shape = figure(theme, 340, showlegend=False)
    shape.add_trace(
        go.Scatter(
            x=x, y=found.weight(x), mode="lines",
            line={"color": theme.faint, "width": 1.5}, hoverinfo="skip",
        )
    )  # fmt: skip
    names = [escaped(f"{isolated(keys[i])} {i:,}" if keys else f"{i:,}") for i in at.tolist()]
    shape.add_trace(
        go.Scatter(
            x=far[at], y=weights[at], mode="markers", text=names,
            marker={"color": theme.accent, "size": 7, "opacity": 0.55},
            hovertemplate="%{text}<br>|q − k| = %{x:.2f}<br>%{y:.4f}<extra></extra>",
        )
    )  # fmt: skip
    shape.update_xaxes(title_text=escaped(t("gaussian.distance")), showgrid=False)
    shape.update_yaxes(
        title_text=escaped(t("colour.weight")), rangemode="tozero", exponentformat="none"
    )
    return shape
