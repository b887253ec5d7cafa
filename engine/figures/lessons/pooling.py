"""Attention pooling as matrices of small numbers, placed as one multiplies them."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from torch import Tensor

from engine.figures.base.theme import Theme, Words, array, figure, scale
from engine.figures.lessons.grid import numbers
from engine.lessons.pooling import WIDTH, Pooled
from engine.text.tokens import escaped

CELL, EDGE = 46, 64  # pixels


@dataclass(frozen=True, eq=False)
class Block:
    """A matrix in the picture: its words' key, numbers, and the column and row of its corner.

    Attributes:
        signed: it may be below 0. mark: a row that the person chose.
    """

    name: str
    values: Tensor
    left: int
    top: int
    signed: bool = True
    mark: int | None = None


def scoring(found: Pooled, query: int, *, theme: Theme, t: Words) -> go.Figure:
    """Queries beside the scores, keys above them: a score stands where its row and column meet."""
    top, left = WIDTH + 1, WIDTH + 1
    return blocks(
        [
            Block("keys", found.k.T, left, 0),
            Block("queries", found.q, 0, top, mark=query),
            Block("scores", found.scores, left, top, mark=query),
        ],
        theme=theme, t=t,
    )  # fmt: skip


def summing(found: Pooled, query: int, *, theme: Theme, t: Words) -> go.Figure:
    """Weights beside the output, values above it."""
    keys = len(found.k)
    return blocks(
        [
            Block("values", found.v, keys + 1, 0),
            Block("weights", found.weights, 0, keys + 1, signed=False, mark=query),
            Block("output", found.output, keys + 1, keys + 1, mark=query),
        ],
        theme=theme, t=t,
    )  # fmt: skip


def blocks(these: Sequence[Block], *, theme: Theme, t: Words) -> go.Figure:
    """Matrices with their numbers in the cells; signed ones on one scale each, about 0."""
    across = max(b.left + b.values.shape[1] for b in these)
    down = max(b.top + b.values.shape[0] for b in these)
    shape = figure(theme, EDGE + CELL * down)
    for b in these:
        values = array(b.values).astype(float)
        wide = values.shape[1]
        most = max(float(abs(values).max()), 1e-9)
        shape.add_trace(
            go.Heatmap(
                z=values.round(6).tolist(), x0=b.left, y0=b.top, dx=1, dy=1, xgap=2, ygap=2,
                zmin=-most if b.signed else 0, zmax=most if b.signed else 1, showscale=False,
                colorscale=scale(theme.signed if b.signed else theme.weight),
                hovertemplate="%{z:.4f}<extra></extra>",
            )
        )  # fmt: skip
        digits = ".1f" if b.name in GIVEN else ".2f"
        shape.add_trace(
            numbers(
                values, digits, most if b.signed else 1.0, theme=theme, signed=b.signed,
                left=b.left, above=b.top,
            )
        )  # fmt: skip
        shape.add_annotation(
            x=b.left - 0.5, y=b.top - 0.52, text=escaped(t(f"lesson.pooling.block.{b.name}")),
            showarrow=False, xanchor="left", yanchor="bottom",
            font={"size": 15, "color": theme.faint},
        )  # fmt: skip
        if b.mark is not None:
            shape.add_shape(
                type="rect", x0=b.left - 0.5, x1=b.left + wide - 0.5, y0=b.top + b.mark - 0.5,
                y1=b.top + b.mark + 0.5, line={"color": theme.accent, "width": 2.5},
            )  # fmt: skip
    shape.update_xaxes(range=[-0.55, max(across, 7) - 0.45], visible=False, fixedrange=True)
    shape.update_yaxes(range=[down - 0.45, -1.1], visible=False, fixedrange=True)
    shape.update_layout(margin={"l": 0, "r": 0, "t": 0, "b": 0})
    return shape


GIVEN = ("keys", "queries", "values")
"""Matrices of numbers with one decimal."""
