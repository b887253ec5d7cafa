"""What is put in softmax's place, beside softmax: one row, and what rows add up to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go

from engine.figures.attention.rows import stretches
from engine.figures.attention.strips import AROUND, strips
from engine.figures.attention.strips import POINTS as BARS
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import Theme, Words, figure
from engine.figures.structure import remedy_curves, remedy_parts
from engine.figures.structure.remedy_ranks import ranks, signed_ranks
from engine.measure.cells import Cells
from engine.mechanisms.base import Mechanism
from engine.structure import remedies
from engine.text.tokens import escaped


def pictures(context: Context) -> Iterator[Picture]:
    """All pictures of a remedy's attention; none for other mechanisms."""
    mechanism, qkv = context.mechanism, context.qkv
    if mechanism is None or qkv is None or mechanism.family != "remedies":
        return
    found = remedies.row(context)
    if found.seen.any():
        yield from one_row(found, context, mechanism)
    if mechanism.follows_entropy:
        yield remedy_parts.temperatures(remedies.temperatures(context, qkv), context)
    if (pair := remedies.two_parts(context)) is not None:
        yield remedy_parts.difference(pair, context)
    if context.att.row_kind in ("substochastic", "positive"):
        yield sums(context)
    yield from remedy_curves.pictures(found, context, mechanism)


def one_row(found: remedies.Row, context: Context, mechanism: Mechanism) -> Iterator[Picture]:
    """The chosen row's weights, from the largest down and along the text."""
    before, after, seen = found.before, found.after, found.seen
    theme, t = context.theme, context.t
    names = remedy_curves.lines(t, mechanism)
    facts: dict[str, Any] = {
        "row": context.row, "n": int(seen.sum()), "before": before.max(), "after": after.max(),
    }  # fmt: skip
    if context.att.row_kind == "signed":
        facts |= {"negative": int((after[seen] < 0).sum()), "mass": -after[after < 0].sum()}
        yield Picture(
            "remedy_rank_signed", signed_ranks(before[seen], after[seen], names, theme, t), facts
        )
    else:
        meant = mechanism.exact_zeros or mechanism.selects  # not just too small for a number
        zeros = int((after[seen] == 0).sum()) if meant else 0
        half = remedies.halves
        facts |= {"zeros": zeros, "half_before": half(before), "half_after": half(after)}
        shape = ranks(before[seen], after[seen], names, theme, t, zeros=zeros)
        kind = "" if not zeros else "_pattern" if mechanism.selects else "_sparse"
        yield Picture(f"remedy_rank{kind}", shape, facts)
    shape = strips(
        [(names[1], after)], before, theme=theme, t=t, keys=context.tokens, query=context.row,
        height=240 - AROUND,
    )  # fmt: skip
    most, width = int(np.abs(after - before).argmax()), Cells(0, len(before), BARS).width
    yield Picture(
        "remedy_text_pooled" if width > 1 else "remedy_text", shape,
        {"row": context.row, "key": most, "before": before[most], "after": after[most],
         "stretch": width},
    )  # fmt: skip


def sums(context: Context) -> Picture:
    """What each row's weights add up to."""
    found = remedies.kept(context)
    shape = kept(found.mass, found.at, context.head, context.row, context.theme, context.t)
    own = found.mass[context.head]
    key = "remedy_kept" if context.att.row_kind == "substochastic" else "remedy_sum"
    return Picture(
        key, shape,
        {"row": context.row, "here": found.here(context), "mean": own.mean(), "least": own.min(),
         "most": own.max(), "rows": len(own), "head": context.head},
    )  # fmt: skip


def kept(
    mass: np.ndarray, at: np.ndarray, head: int, row: int, theme: Theme, t: Words
) -> go.Figure:
    """What each row's weights add up to, one line a head.

    Args:
        mass: (h rows), at positions `at`.
    """
    where, *values = stretches(np.concatenate([at[None].astype(float), mass]))[1]
    shape = figure(theme, 320, hovermode="x unified", showlegend=False)
    for h in sorted(range(len(values)), key=lambda h: h == head):
        chosen = h == head
        shape.add_trace(
            go.Scatter(
                x=where, y=values[h], mode="lines", name=escaped(t("head.name", head=h)),
                opacity=1 if chosen else 0.55, hovertemplate="%{y:.2f}",
                line={
                    "color": theme.accent if chosen else theme.quiet,
                    "width": 2 if chosen else 1,
                },
            )
        )  # fmt: skip
    shape.add_hline(y=1, line={"color": theme.faint, "width": 1, "dash": "dot"})
    shape.add_annotation(
        x=1, xref="paper", y=1, text=escaped(t("remedy.one")), showarrow=False, xanchor="right",
        yanchor="bottom", yshift=2, font={"size": 12, "color": theme.ink}, bgcolor=theme.paper,
        opacity=0.85,
    )  # fmt: skip
    shape.add_vline(x=row, line={"color": theme.accent, "width": 1, "dash": "dot"})
    shape.update_xaxes(title_text=escaped(t("axis.position")), showgrid=False, hoverformat=",.0f")
    top = max(1.0, float(np.max(values)))
    shape.update_yaxes(title_text=escaped(t("remedy.sum")), range=[0, 1.12 * top])
    return shape
