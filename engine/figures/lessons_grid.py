"""A small matrix as the lessons draw it: cells of one colour scale, named rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from engine.figures.theme import Theme, array, figure, scale
from engine.tokens import escaped, shortened

MOST_NAMES = 40
WRITTEN = 100
"""Up to so many cells have their numbers written in."""
BOX = {"showline": True, "mirror": True}


def names(given: Sequence[str] | None, total: int) -> dict[str, Any]:
    """Tick marks: these names, thinned out where they are many."""
    if given is None:
        return {"nticks": 7, "tickformat": "d"}
    step = max(1, -(-total // MOST_NAMES))
    at = list(range(0, total, step))
    text = [escaped(given[i]) for i in at]
    return {"tickmode": "array", "tickvals": at, "ticktext": text}


def tokens_of(tokens: Sequence[str]) -> list[str]:
    """Tokens as names: made visible, and cut."""
    return [shortened(token, 8) for token in tokens]


def grid(
    values: Tensor | np.ndarray,
    *,
    look: Theme,
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
        percent: numbers are shares. bar: with the scale of its colours.
    """
    cells = array(values)
    top = float(np.abs(cells).max(initial=0.0)) if top is None else top
    top = top or 1.0
    form = ".0%" if percent else ".2g"
    off = np.zeros(cells.shape, dtype=bool) if hidden is None else array(hidden)
    written = cells.size <= WRITTEN

    def numbers(shown: np.ndarray, form: str) -> dict[str, Any]:
        """Values written into the cells that are shown."""
        if not written:
            return {}
        pairs = zip(cells.tolist(), shown.tolist(), strict=True)
        text = [[f"{x:{form}}" if on else "" for x, on in zip(*p, strict=True)] for p in pairs]
        return {"text": text, "texttemplate": "%{text}"}

    shape = figure(look, height)
    shape.add_trace(
        go.Heatmap(
            z=cells.astype(np.float32), zmin=-top if signed else 0.0, zmax=top,
            colorscale=scale(look.signed if signed else look.weight), showscale=bar,
            colorbar={"thickness": 8, "outlinewidth": 0, "len": 0.8, "nticks": 5},
            textfont={"size": 13}, **numbers(~off, form),
            hovertemplate=f"%{{y}} · %{{x}}: %{{z:{form}}}<extra></extra>",
        )
    )  # fmt: skip
    if hidden is not None:
        shape.add_trace(
            go.Heatmap(
                z=np.where(off, 1.0, np.nan), zmin=0, zmax=1, showscale=False, hoverinfo="skip",
                colorscale=[[0, look.grid], [1, look.grid]], **numbers(off, "g"),
                textfont={"color": look.faint, "size": 13},
            )
        )  # fmt: skip
    count, wide = cells.shape
    if chosen is not None:
        shape.add_shape(
            type="rect", x0=-0.5, x1=wide - 0.5, y0=chosen - 0.5, y1=chosen + 0.5,
            line={"color": look.accent, "width": 2.5},
        )  # fmt: skip
    for x in between:
        shape.add_vline(x=x, line={"color": look.faint, "width": 1})
    for y in beneath:
        shape.add_hline(y=y, line={"color": look.faint, "width": 1})
    shape.update_xaxes(title_text=escaped(across), showgrid=False, **names(cols, wide), **BOX)
    shape.update_yaxes(
        title_text=escaped(down),
        showgrid=False,
        range=[count - 0.5, -0.5],
        **names(rows, count),
        **BOX,
    )
    shape.update_layout(title_text=escaped(title), margin={"t": 40, "r": 12})
    return shape
