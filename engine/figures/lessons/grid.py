"""A small matrix as the lessons draw it: cells of one colour scale, named rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from engine.figures.base.theme import Theme, array, colour_at, figure, scale
from engine.text.tokens import escaped, shortened

MOST_NAMES, MOST_ACROSS = 26, 18
"""Down and across; more would overlap on a phone."""
WRITTEN = 100
"""Up to so many cells have their shares written in."""
SIZE = 13  # of the numbers in cells
MIDDLE = 0.18
"""Luminance that black and white stand out from alike."""
BOX = {"showline": True, "mirror": True}


def names(given: Sequence[str] | None, total: int, most: int) -> dict[str, Any]:
    """Tick marks: these names, thinned out where they are many."""
    if given is None:
        return {"nticks": 7, "tickformat": "d"}
    step = max(1, -(-total // most))
    at = list(range(0, total, step))
    text = [escaped(given[i]) for i in at]
    return {"tickmode": "array", "tickvals": at, "ticktext": text}


def tokens_of(tokens: Sequence[str]) -> list[str]:
    """Tokens as names: made visible, and cut."""
    return [shortened(token, 8) for token in tokens]


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, 0 … 1 (WCAG 2)."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def upon(colour: str) -> str:
    """Black or white, whichever #rrggbb sets off."""
    return "#000000" if luminance(colour) > MIDDLE else "#ffffff"


def numbers(
    values: np.ndarray,
    form: str,
    top: float,
    *,
    theme: Theme,
    signed: bool = False,
    shown: np.ndarray | None = None,
    left: int = 0,
    above: int = 0,
) -> go.Scatter:
    """Numbers in the cells of a matrix, black or white, whichever the cell's colour sets off.

    Args:
        top: where the cells' colours end. shown: cells that have one; all if None.
        left, above: column and row of the first cell.
    """
    stops = theme.signed if signed else theme.weight
    x, y, text, colours = [], [], [], []
    for row, col in np.argwhere(np.ones_like(values) if shown is None else shown).tolist():
        value = float(values[row, col])
        share = (value / top + 1) / 2 if signed else value / top
        x.append(left + col)
        y.append(above + row)
        text.append(f"{value:{form}}".replace("-", "−"))
        colours.append(upon(colour_at(stops, share)))
    return go.Scatter(
        x=x, y=y, text=text, mode="text", textfont={"size": SIZE, "color": colours},
        hoverinfo="skip", showlegend=False,
    )  # fmt: skip


def grid(
    values: Tensor | np.ndarray,
    *,
    theme: Theme,
    title: str,
    rows: Sequence[str] | None = None,
    cols: Sequence[str] | None = None,
    across: str = "",
    down: str = "",
    signed: bool = False,
    top: float | None = None,
    hidden: Tensor | np.ndarray | None = None,
    chosen: int | None = None,
    between: Sequence[float] = (),
    beneath: Sequence[float] = (),
    percent: bool = False,
    bar: bool = False,
    height: int = 340,
) -> go.Figure:
    """The matrix, its first row on top.

    Args:
        across, down: what columns and rows are. signed: about 0. top: where colours end; the
            largest value if None. hidden: cells that may not carry anything, grey.
        chosen: a row that the person chose. between, beneath: where lines part columns and rows.
        percent: values are shares. bar: with the scale of its colours.
    """
    cells = array(values)
    top = float(np.abs(cells).max(initial=0.0)) if top is None else top
    top = top or 1.0
    form = ".0%" if percent else ".2g"
    off = np.zeros(cells.shape, dtype=bool) if hidden is None else array(hidden)
    shape = figure(theme, height)
    shape.add_trace(
        go.Heatmap(
            z=cells.astype(np.float32), zmin=-top if signed else 0.0, zmax=top,
            colorscale=scale(theme.signed if signed else theme.weight), showscale=bar,
            colorbar={"thickness": 8, "outlinewidth": 0, "len": 0.8, "nticks": 5},
            hovertemplate=f"%{{y}} · %{{x}}: %{{z:{form}}}<extra></extra>",
        )
    )  # fmt: skip
    if hidden is not None:
        shape.add_trace(
            go.Heatmap(
                z=np.where(off, 1.0, np.nan), zmin=0, zmax=1, showscale=False, hoverinfo="skip",
                colorscale=[[0, theme.grid], [1, theme.grid]], texttemplate="%{text}",
                text=np.where(off, "0", "").tolist(),
                textfont={"color": theme.faint, "size": SIZE},
            )
        )  # fmt: skip
    if percent and cells.size <= WRITTEN:
        shape.add_trace(numbers(cells, form, top, theme=theme, signed=signed, shown=~off))
    count, wide = cells.shape
    if chosen is not None:
        shape.add_shape(
            type="rect", x0=-0.5, x1=wide - 0.5, y0=chosen - 0.5, y1=chosen + 0.5,
            line={"color": theme.accent, "width": 2.5},
        )  # fmt: skip
    for x in between:
        shape.add_vline(x=x, line={"color": theme.faint, "width": 1})
    for y in beneath:
        shape.add_hline(y=y, line={"color": theme.faint, "width": 1})
    shape.update_xaxes(
        title_text=escaped(across), showgrid=False, **names(cols, wide, MOST_ACROSS), **BOX
    )
    shape.update_yaxes(
        title_text=escaped(down),
        showgrid=False,
        range=[count - 0.5, -0.5],
        **names(rows, count, MOST_NAMES),
        **BOX,
    )
    shape.update_layout(title_text=escaped(title), margin={"t": 40, "r": 12})
    return shape
