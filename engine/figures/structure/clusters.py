"""Clusters of keys: where they lie, how many queries each serves, who is left out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go

from engine.contract.views import Routing
from engine.figures.attention.rows import stretches
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import array, figure, scale
from engine.figures.structure.routes import (
    CELLS,
    along,
    bars,
    called,
    colour_bar,
    route_names,
    tint,
    tinted,
)
from engine.structure import routing
from engine.structure.routing import cut
from engine.text.tokens import escaped, isolated

MARK = "#00000000"


def cluster_map(found: routing.ClusterMap, context: Context) -> go.Figure:
    """Keys and centroids on the two directions in which keys differ most."""
    theme, t, tokens = context.theme, context.t, context.tokens
    labels, xy, centres, here = found.labels, found.keys, found.centroids, found.query
    shape = figure(theme, 420, margin={"t": 12})
    said = np.array(
        [escaped(f"{isolated(tokens[i])} {i:,}" if tokens else f"{i:,}") for i in found.at]
    )
    for j in range(-1, len(centres)):
        mine = labels == j
        name = t("route.none") if j < 0 else t("route.cluster", number=j)
        colour = MARK if j < 0 else tint(context, j)
        edge = {"color": theme.faint, "width": 1 if j < 0 else 0}
        shape.add_trace(
            go.Scatter(
                x=xy[mine, 0], y=xy[mine, 1], mode="markers", customdata=said[mine],
                marker={"color": colour, "size": 7, "line": edge}, name=escaped(name),
                hovertemplate=f"%{{customdata}}<br>{escaped(name)}<extra></extra>",
            )
        )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=centres[:, 0], y=centres[:, 1], mode="text", hoverinfo="skip",
            text=[f"{j}" for j in range(len(centres))],
            textfont={"size": 15, "color": theme.ink},
        )
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=[here[0]], y=[here[1]], mode="markers",
            marker={"symbol": "diamond", "size": 12, "color": theme.accent},
            hovertemplate=escaped(t("route.query", row=context.row)) + "<extra></extra>",
        )
    )  # fmt: skip
    shape.update_layout(showlegend=False)
    far = 1.1 * float(max(np.abs(part).max(initial=1e-9) for part in (xy, centres, here)))
    shape.update_xaxes(title_text=escaped(t("route.axis.first")), range=[-far, far], nticks=5)
    shape.update_yaxes(title_text=escaped(t("route.axis.second")), range=[-far, far], nticks=5)
    return shape


def left_out(queries: np.ndarray, keys: np.ndarray, context: Context) -> go.Figure:
    """Share of queries and of keys that no cluster holds, along the text.

    Args:
        queries: (n) and keys: (m), True where left out.
    """
    theme, t = context.theme, context.t
    shape = figure(theme, 190, margin={"t": 12})
    for y, missing in enumerate((queries, keys)):
        at, lines = stretches(missing[None].astype(float), CELLS)
        starts, stops = cut(len(missing))
        shape.add_trace(
            go.Heatmap(
                z=lines.astype(np.float32), x=at, y=[y], zmin=0, zmax=1,
                colorscale=scale(theme.weight), showscale=y == 0, customdata=np.array(
                    called(context, starts, stops)
                )[None],
                colorbar={**colour_bar(t("route.axis.left")), "tickformat": ".0%", "nticks": 3},
                hovertemplate="%{customdata}<br>%{z:.0%}<extra></extra>",
            )
        )  # fmt: skip
    words = [escaped(t("route.queries")), escaped(t("route.keys"))]
    shape.update_yaxes(tickvals=[0, 1], ticktext=words, autorange="reversed", showgrid=False)
    n = max(len(queries), len(keys))
    shape.update_xaxes(title_text=along(context, n), showgrid=False)
    return shape


def pictures(view: Routing, context: Context) -> Iterator[Picture]:
    assert view.dropped is not None and view.labels is not None
    assert view.probabilities is not None
    t, head, frame = context.t, context.head, context.att.frame
    names = route_names(view, context)
    window = getattr(context.mechanism, "window", frame.n)
    if context.qkv is not None:
        found = routing.cluster_map(view, context, context.qkv)
        yield Picture(
            "cluster_map", cluster_map(found, context),
            {"share": found.share, "count": len(found.at), "keys": frame.m,
             "clusters": len(names)},
        )  # fmt: skip
    load = array(view.load[head])
    room = min(1.0, window / frame.n)
    yield Picture(
        "cluster_load",
        bars(
            [(t("route.nearest"), load)], names,
            [(t("route.even"), 1 / len(names)), (t("route.room"), room)],
            context, t("route.axis.clusters"),
        ),
        {"most": float(load.max()), "least": float(load.min()), "room": room,
         "over": int((load > room + 1e-9).sum()), "clusters": len(names)},
    )  # fmt: skip
    dropped, lost = array(view.dropped[head]), array(view.labels[head]) < 0
    served = array((view.probabilities[head] > 0).sum(-1))
    if dropped.any() or lost.any():
        yield Picture(
            "cluster_left", left_out(dropped, lost, context), wide=True,
            facts={
                "queries": int(dropped.sum()), "n": frame.n, "share": float(dropped.mean()),
                "keys": int(lost.sum()), "m": frame.m, "several": int((served > 1).sum()),
            },
        )  # fmt: skip
    yield from tinted("cluster_text", view, context, names, keys=int(lost.sum()))
