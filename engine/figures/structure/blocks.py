"""Blocks of keys: which queries chose which, and what the chosen query may read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go

from engine.contract.views import Routing
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import array, figure, scale
from engine.figures.structure.routes import (
    CELLS,
    bars,
    colour_bar,
)
from engine.structure import routing
from engine.structure.routing import cut
from engine.text.tokens import escaped


def choices(view: Routing, context: Context) -> go.Figure:
    """Queries down, blocks across: the share of queries that chose each."""
    assert view.choices is not None
    theme, t, frame = context.theme, context.t, context.att.frame
    chosen = array(view.choices[context.head])
    count, n = view.load.shape[1], len(chosen)
    starts, stops = cut(n)
    cells, wide = routing.choice_shares(chosen, count, CELLS)
    shape = figure(theme, 420)
    shape.add_trace(
        go.Heatmap(
            z=cells.astype(np.float32), y=(starts + stops - 1) / 2, x0=(wide - 1) / 2, dx=wide,
            zmin=0, zmax=1, colorscale=scale(theme.weight),
            colorbar={**colour_bar(t("route.axis.chosen")), "len": 0.6, "tickformat": ".0%"},
            hovertemplate="%{y:,.0f} → " + escaped(t("route.axis.block")) + " %{x:,.0f}"
            "<br>%{z:.0%}<extra></extra>",
        )
    )  # fmt: skip
    own = routing.own_blocks(view, frame)
    step = np.flatnonzero(np.diff(own, prepend=own[0] - 1) > 0)
    outline_x, outline_y = own[starts], (starts + stops - 1) / 2
    if len(step) <= CELLS:
        ends = [*step[1:].tolist(), n]
        outline_x, outline_y = [], []
        for a, b in zip(step.tolist(), ends, strict=True):
            left, right = own[a] - 0.5, own[a] + 0.5
            outline_x += [left, right, right, left, left, None]
            outline_y += [a - 0.5, a - 0.5, b - 0.5, b - 0.5, a - 0.5, None]
    shape.add_trace(
        go.Scatter(
            x=outline_x, y=outline_y, mode="lines", name=escaped(t("route.own")),
            line={"color": theme.faint, "width": 1}, hoverinfo="skip", showlegend=True,
        )
    )  # fmt: skip
    tall = max(1.0, n / CELLS)
    shape.add_shape(
        type="rect", x0=-0.5, x1=count - 0.5, y0=context.row - tall / 2, y1=context.row + tall / 2,
        line={"color": theme.accent, "width": 1.5},
    )  # fmt: skip
    shape.update_layout(showlegend=True)
    shape.update_xaxes(
        title_text=escaped(t("route.axis.blocks", size=view.size)), showgrid=False, zeroline=False,
        range=[-0.5, count - 0.5], tickformat="d",
        dtick=1 if count <= 16 else None, nticks=9,
    )  # fmt: skip
    shape.update_yaxes(title_text=escaped(t("axis.queries")), showgrid=False, zeroline=False)
    shape.update_yaxes(range=[n - 0.5, -0.5])
    return shape


def pictures(view: Routing, context: Context) -> Iterator[Picture]:
    assert view.choices is not None
    t, head, frame = context.t, context.head, context.att.frame
    chosen, count = array(view.choices[head]), view.load.shape[1]
    own = routing.own_blocks(view, frame)
    mine = sorted({int(b) for b in chosen[context.row] if b >= 0} - {int(own[context.row])})
    yield Picture(
        "block_choices", choices(view, context),
        {
            "row": context.row, "own": int(own[context.row]), "head": head, "count": count,
            "chosen": ", ".join(str(b) for b in mine) or t("route.nothing"),
        },
    )  # fmt: skip
    rate, even = routing.block_rates(view, frame, head)
    best = int(rate.argmax())
    yield Picture(
        "block_load",
        bars(
            [(t("route.choice"), rate)], [t("route.block", number=b) for b in range(count)],
            [(t("route.average"), even)], context, t("route.axis.blocks", size=view.size),
        ),
        {"block": best, "share": float(rate[best]), "even": even,
         "start": best * view.size, "stop": min(frame.m, (best + 1) * view.size) - 1},
    )  # fmt: skip
    labels = routing.blocks_read(view, context)
    yield Picture(
        "block_text", labels=labels.tolist(), wide=True,
        names=[t("route.own"), t("route.chosen")],
        facts={"row": context.row, "keys": int((labels >= 0).sum()), "m": frame.m},
    )  # fmt: skip
