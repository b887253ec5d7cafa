"""Paths that a router mixes: their shares along the text, balance, and who leans to which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import plotly.graph_objects as go

from engine.contract.views import Routing
from engine.figures.attention.rows import stretches
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import array, figure
from engine.figures.structure.routes import (
    CELLS,
    along,
    bars,
    called,
    mark_row,
    route_names,
    tint,
)
from engine.structure import routing
from engine.structure.routing import cut
from engine.text.tokens import escaped


def shares(p: np.ndarray, names: Sequence[str], context: Context) -> go.Figure:
    """Probabilities of routes along the text, stacked.

    Args:
        p: (n routes), rows sum to 1, or 0 where a query is left out.
    """
    n = len(p)
    starts, stops = cut(n)
    at, lines = stretches(p.T, CELLS)
    said = called(context, starts, stops)
    shape = figure(context.theme, 300, barmode="stack", bargap=0, hovermode="closest")
    for j, (name, line) in enumerate(zip(names, lines, strict=True)):
        shape.add_trace(
            go.Bar(
                x=at, y=line, width=stops - starts, name=escaped(name), customdata=said,
                marker={"color": tint(context, j), "line": {"width": 0}},
                hovertemplate=f"%{{customdata}}<br>{escaped(name)} %{{y:.1%}}<extra></extra>",
            )
        )  # fmt: skip
    mark_row(shape, context)
    shape.update_layout(showlegend=True, legend={"traceorder": "normal"})
    shape.update_xaxes(title_text=along(context, n), showgrid=False, range=[-0.5, n - 0.5])
    shape.update_yaxes(
        title_text=escaped(context.t("route.axis.probability")), tickformat=".0%", range=[0, 1]
    )
    return shape


def sources(context: Context) -> tuple[np.ndarray, list[str]]:
    """Group of each query for the flow, and the groups' names: kinds of tokens, or stretches."""
    frame, t = context.att.frame, context.t
    at = np.arange(frame.n) + frame.offset
    if context.tokens and at[0] >= 0 and at[-1] < frame.m:
        found = routing.kinds(context.tokens)[at]
        here = np.unique(found)
        name = [
            t(f"route.kind.{routing.KIND_OF_TOKENS[k]}", count=int((found == k).sum()))
            for k in here
        ]
        return np.searchsorted(here, found), name
    starts, stops = cut(frame.n, 6)
    label = np.repeat(np.arange(len(starts)), stops - starts)
    return label, [f"{a:,} … {b - 1:,}" for a, b in zip(starts, stops, strict=True)]


def flow(
    mass: np.ndarray, sources: Sequence[str], names: Sequence[str], context: Context
) -> go.Figure:
    """From groups of tokens to routes; a band is as wide as the tokens it stands for.

    Args:
        mass: (groups routes) probabilities added over the group's tokens.
    """
    theme = context.theme
    a, b = np.nonzero(mass > 0)
    tints = [tint(context, j) for j in range(len(names))]
    shape = figure(theme, 340, margin={"l": 8, "r": 8, "t": 12, "b": 12})
    shape.add_trace(
        go.Sankey(
            arrangement="fixed",
            node={
                "label": [escaped(name) for name in (*sources, *names)],
                "color": [theme.faint] * len(sources) + tints, "pad": 14, "thickness": 12,
                "line": {"width": 0}, "hovertemplate": "%{label}<br>%{value:,.1f}<extra></extra>",
            },
            link={
                "source": a, "target": b + len(sources), "value": mass[a, b],
                "color": [tint(context, j, 0.55) for j in b.tolist()],
                "hovertemplate": "%{source.label} → %{target.label}<br>%{value:,.1f}"
                "<extra></extra>",
            },
            textfont={"color": theme.ink, "size": 13, "shadow": "none"},
        )
    )  # fmt: skip
    return shape


def pictures(view: Routing, context: Context) -> Iterator[Picture]:
    assert view.probabilities is not None and view.gate is not None
    names, head = route_names(view, context), context.head
    kept, gate = (array(x[head]).astype(float) for x in (view.probabilities, view.gate))
    mean, first = routing.balance(gate)
    most = int(kept.mean(0).argmax())
    entropy = float(routing.entropy(gate).mean())
    yield Picture(
        "routing_paths", shares(kept, names, context),
        {
            "path": names[most], "share": float(kept.mean(0)[most]), "entropy": entropy,
            "limit": float(np.log(len(names))), "count": float((kept > 0).sum(1).mean()),
            "head": head,
        },
    )  # fmt: skip
    t = context.t
    yield Picture(
        "routing_balance",
        bars(
            [(t("route.first"), first), (t("route.mean"), mean)], names,
            [(t("route.even"), 1 / len(names))], context, "",
        ),
        {"value": float(len(names) * (first * mean).sum()), "paths": len(names)},
    )  # fmt: skip
    group, groups = sources(context)
    mass, per = routing.by_group(kept, group, len(groups))
    wide = int((per.max(0) - per.min(0)).argmax())
    yield Picture(
        "routing_flow", flow(mass, groups, names, context), wide=True,
        facts={
            "path": names[wide], "most": groups[int(per[:, wide].argmax())],
            "least": groups[int(per[:, wide].argmin())], "high": float(per[:, wide].max()),
            "low": float(per[:, wide].min()),
        },
    )  # fmt: skip
    if view.labels is not None:
        leaning = routing.leaning(kept)
        if (leaning >= 0).any():
            yield Picture(
                "routing_text", labels=leaning.tolist(), names=names, wide=True,
                facts={"lean": routing.LEAN},
            )  # fmt: skip
