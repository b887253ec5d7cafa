"""Multi-head attention: each head's map, how far it looks, concatenation, W_o, a head left out."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import torch

from engine.figures.attention.mosaic import mosaic
from engine.figures.base.theme import Theme, Words, array, figure
from engine.figures.lessons.grid import grid, tokens_of
from engine.lessons.heads import Parts
from engine.text.tokens import escaped


def maps(found: Parts, off: int | None, *, theme: Theme, t: Words) -> go.Figure:
    """Every head's weights, each to its own largest."""
    heads = len(found.maps)
    columns = min(heads, 3 if heads <= 6 else 4)
    return mosaic(found.maps, theme=theme, t=t, chosen=off, columns=columns, height=430)


def distances(found: Parts, off: int | None, *, theme: Theme, t: Words) -> go.Figure:
    """Mean distance that each head looks, beside that of a head that looks evenly."""
    heads = len(found.distance)
    shape = figure(theme, 430, showlegend=False)
    shape.add_trace(
        go.Bar(
            x=array(found.distance), y=[t("head.name", head=i) for i in range(heads)],
            orientation="h", texttemplate="%{x:.1f}", textposition="inside", textangle=0,
            insidetextanchor="start", insidetextfont={"size": 15, "color": theme.paper},
            marker={"color": [theme.accent if i == off else theme.quiet for i in range(heads)]},
            hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        )
    )  # fmt: skip
    shape.add_vline(x=found.even, line={"color": theme.faint, "width": 1.5, "dash": "dot"})
    shape.add_annotation(
        x=found.even, y=1, yref="paper", xanchor="right", yanchor="bottom", showarrow=False,
        text=escaped(t("lesson.heads.even", distance=found.even)),
        font={"size": 12, "color": theme.faint},
    )  # fmt: skip
    shape.update_xaxes(
        title_text=escaped(t("lesson.heads.distance")),
        range=[0, 1.04 * max(float(found.distance.max()), found.even)],
    )
    shape.update_yaxes(autorange="reversed", showgrid=False, type="category", ticklabelstandoff=6)
    shape.update_layout(title_text=escaped(t("lesson.heads.distance.title")), margin={"t": 58})
    return shape


def flow(
    found: Parts, off: int | None, tokens: Sequence[str], *, theme: Theme, t: Words
) -> tuple[go.Figure, go.Figure, go.Figure]:
    """The heads side by side, W_oᵀ, and their product; a head that is off is blank."""
    names = tokens_of(tokens)
    heads, each = len(found.heads), found.heads.shape[-1]
    concat, output = found.left(off)
    edges = [i * each - 0.5 for i in range(1, heads)]
    words = {key: t(f"lesson.heads.{key}") for key in ("concat", "w_o", "output", "width")}
    top = float(found.output.abs().quantile(0.999))
    left = grid(
        concat, theme=theme, title=words["concat"], rows=names, across=words["width"], signed=True,
        top=float(found.concat.abs().quantile(0.999)), between=edges, bar=True, height=420,
    )  # fmt: skip
    middle = grid(
        found.w_o.mT, theme=theme, title=words["w_o"], across=words["width"], signed=True,
        top=float(found.w_o.abs().quantile(0.999)), beneath=edges, bar=True, height=420,
    )  # fmt: skip
    right = grid(
        output, theme=theme, title=words["output"], rows=names, across=words["width"], signed=True,
        top=top, bar=True, height=420,
    )  # fmt: skip
    if off is not None:
        left.add_vrect(
            x0=off * each - 0.5, x1=(off + 1) * each - 0.5, fillcolor="rgba(0,0,0,0)",
            line={"color": theme.accent, "width": 2.5},
        )  # fmt: skip
        middle.add_hrect(
            y0=off * each - 0.5, y1=(off + 1) * each - 0.5, fillcolor="rgba(0,0,0,0)",
            line={"color": theme.accent, "width": 2.5},
        )  # fmt: skip
    return left, middle, right


def changes(
    found: Parts, off: int | None, tokens: Sequence[str], *, theme: Theme, t: Words
) -> go.Figure:
    """What each token's output changes by without each head, relative to its norm."""
    heads = range(len(found.heads))
    return grid(
        torch.stack([found.without(head) for head in heads]), theme=theme,
        title=t("lesson.heads.changes"), rows=[t("head.name", head=i) for i in heads],
        cols=tokens_of(tokens), chosen=off, percent=True, bar=True, height=110 + 32 * len(heads),
    )  # fmt: skip
