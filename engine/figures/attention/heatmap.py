"""Attention as a picture: queries down, keys across, one cell a pair or a pool of pairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from engine.figures.base.theme import Theme, Words, array, figure, scale
from engine.text.tokens import escaped, isolated, shortened

BELOW = 20
"""Pixels under a map for a line of words, which a talk shows larger."""
NAMED_CELLS = 160 * 160
"""Beyond this many cells hover gives positions and weight, and no token names: text is heavy."""
MOST_TICKS = 48
FLOOR = 1e-4
"""Weights at or below this have the first colour of the logarithmic scale."""


def values(cells: np.ndarray, colour: str, signed: bool = False) -> tuple[np.ndarray, dict]:
    """What is drawn for a colour mode, and how the scale is labelled.

    Args:
        cells: pooled weights, already scaled by row for "uniform" and "row".
        signed: weights may be below 0, and are drawn about 0.

    Returns:
        cells and the trace's zmin, zmax, tickvals and ticktext.
    """
    top = float(np.abs(cells).max(initial=0.0)) or 1.0
    if signed:
        return cells, {"zmin": -top, "zmax": top}
    if colour == "log":
        low, high = np.log10(FLOOR), max(0.0, np.log10(top))
        at = np.arange(np.ceil(low), np.floor(high) + 1)
        bar = {"tickvals": at.tolist(), "ticktext": [f"{10.0**x:g}" for x in at]}
        return np.log10(np.maximum(cells, FLOOR)), {"zmin": low, "zmax": high, "colorbar": bar}
    if colour == "uniform":
        low, high = -1.0, max(1.0, np.log10(top))
        at = np.arange(low, np.floor(high) + 1)
        bar = {"tickvals": at.tolist(), "ticktext": [f"×{10.0**x:g}" for x in at]}
        return np.log10(np.maximum(cells, 0.1)), {"zmin": low, "zmax": high, "colorbar": bar}
    return cells, {"zmin": 0.0, "zmax": 1.0 if colour == "row" else top}


def ticks(tokens: Sequence[str] | None, start: int, stop: int) -> dict[str, Any]:
    """Tick marks for positions start … stop: tokens where there is room, else positions."""
    total = stop - start
    if tokens is None or total > MOST_TICKS:
        return {"nticks": 9, "tickformat": ",d"}
    at = list(range(start, stop))
    return {
        "tickmode": "array",
        "tickvals": at,
        "ticktext": [escaped(shortened(tokens[i], 10)) for i in at],
    }


def heatmap(
    cells: Tensor | np.ndarray,
    *,
    theme: Theme,
    t: Words,
    rows: tuple[int, int],
    cols: tuple[int, int],
    queries: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    colour: str = "weight",
    pool: str = "max",
    signed: bool = False,
    query: int | None = None,
    height: int = 640,
) -> go.Figure:
    """A window of attention, at most 512 cells a side.

    Args:
        cells: (a b), a window pooled by `Attention.heatmap`.
        rows, cols: the window's positions, half-open. queries, keys: all tokens' names.
        query: the row that the person chose.
    """
    cells = array(cells)
    high, wide = -(-(rows[1] - rows[0]) // len(cells)), -(-(cols[1] - cols[0]) // cells.shape[1])
    drawn, marks = values(cells, colour, signed)
    bar = {
        "title": {"text": escaped(t(f"colour.{colour}.bar")), "side": "right"},
        "thickness": 10,
        "outlinewidth": 0,
        "len": 0.6,
        **marks.pop("colorbar", {}),
    }
    trace = go.Heatmap(
        z=drawn.astype(np.float32),
        x0=cols[0] + (wide - 1) / 2,
        dx=wide,
        y0=rows[0] + (high - 1) / 2,
        dy=high,
        colorscale=scale(theme.signed if signed else theme.weight),
        colorbar=bar,
        **marks,
        **_hover(cells, rows, cols, queries, keys, (high, wide), t),
    )
    shape = figure(theme, height)
    shape.add_trace(trace)
    pooled = high > 1 or wide > 1
    shape.update_xaxes(
        title_text=escaped(t("axis.keys")), side="top", showgrid=False, **ticks(keys, *cols)
    )
    shape.update_yaxes(
        title_text=escaped(t("axis.queries")),
        range=[rows[1] - 0.5, rows[0] - 0.5],
        showgrid=False,
        **ticks(queries, *rows),
    )
    if pooled:
        words = t(f"pool.{pool}.caption", rows=high, cols=wide)
        shape.add_annotation(
            text=escaped(words), showarrow=False, xref="paper", yref="paper", x=0, y=0,
            yanchor="top", xanchor="left", font={"color": theme.faint, "size": 12},
        )  # fmt: skip
        shape.update_layout(margin_b=BELOW)
    if query is not None:
        shape.add_shape(
            type="rect", x0=cols[0] - 0.5, x1=cols[1] - 0.5,
            y0=query - high / 2, y1=query + high / 2, line={"color": theme.accent, "width": 1.5},
        )  # fmt: skip
    return shape


def _hover(
    cells: np.ndarray,
    rows: tuple[int, int],
    cols: tuple[int, int],
    queries: Sequence[str] | None,
    keys: Sequence[str] | None,
    cell: tuple[int, int],
    t: Words,
) -> dict[str, Any]:
    """Hover that names query, key and weight; the weight itself, whatever the colour scale."""
    if queries is None or keys is None or cells.size > NAMED_CELLS:
        return {"hovertemplate": "%{y:,d} → %{x:,d}<br>%{z:.3g}<extra></extra>"}

    def names(tokens: Sequence[str], start: int, stop: int, step: int) -> list[str]:
        first = range(start, stop, step)
        last = [min(i + step, stop) - 1 for i in first]
        return [
            escaped(f"{isolated(tokens[a])} {a:,}" + (f" … {b:,}" if b > a else ""))
            for a, b in zip(first, last, strict=True)
        ]

    down, across = names(queries, *rows, cell[0]), names(keys, *cols, cell[1])
    text = [
        [f"{q} → {k}<br>{w:.4g}" for k, w in zip(across, line, strict=True)]
        for q, line in zip(down, cells.tolist(), strict=True)
    ]
    return {"text": text, "hovertemplate": "%{text}<extra></extra>"}
