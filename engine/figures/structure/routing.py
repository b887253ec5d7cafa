"""Where queries were sent: paths, capsules, clusters and blocks."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from engine.contract.views import Routing
from engine.figures.attention.rows import stretches
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import array, figure, scale
from engine.kernels import selection
from engine.text.tokens import escaped, isolated

POINTS = 512
"""Keys on a map of clusters; longer texts are sampled evenly."""
LEAN = 0.01
"""Share of a path above its mean from which a token leans to it; less is noise."""
CELLS = 256
"""Stretches of a text, or of blocks, that a picture tells apart."""
MARK = "#00000000"


def pictures(view: Routing, context: Context) -> Iterator[Picture]:
    """The pictures of one kind of route, for the head that was chosen."""
    yield from KINDS[view.kind](view, context)


def _names(view: Routing, context: Context) -> list[str]:
    t = context.t
    if view.names:
        return [t(f"route.{name}") for name in view.names]
    kind = view.kind.removesuffix("s")
    return [t(f"route.{kind}", number=j) for j in range(view.load.shape[1])]


def _called(context: Context, starts: np.ndarray, stops: np.ndarray) -> list[str]:
    """Stretches of queries, named by their tokens and positions, for hover."""
    frame, tokens = context.att.frame, context.tokens
    found = []
    for a, b in zip(starts.tolist(), stops.tolist(), strict=True):
        at = a + frame.offset
        word = isolated(tokens[at]) + " " if tokens and 0 <= at < frame.m else ""
        found.append(escaped(f"{word}{a:,}" + (f" … {b - 1:,}" if b - a > 1 else "")))
    return found


def _cut(n: int, most: int = CELLS) -> tuple[np.ndarray, np.ndarray]:
    """Starts and stops of the stretches that `stretches` averages over."""
    edges = np.unique(np.linspace(0, n, min(n, most) + 1).astype(int))
    return edges[:-1], edges[1:]


def _along(context: Context, n: int) -> str:
    """The title of an axis of queries, with what was pooled."""
    t = context.t
    if n <= CELLS:
        return escaped(t("axis.position"))
    return escaped(t("route.axis.pooled", count=round(n / CELLS, 1)))


def _tint(context: Context, j: int, alpha: float = 1.0) -> str:
    colour = context.look.tints[j % len(context.look.tints)]
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},{alpha})"


def _entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(np.maximum(p, 1e-30))).sum(-1)


def _chosen(shape: go.Figure, context: Context) -> None:
    shape.add_vline(
        x=context.row, line={"color": context.look.accent, "width": 1.5, "dash": "dot"}
    )


def _bar(title: str) -> dict[str, Any]:
    """A colour bar and what it measures."""
    words = {"text": escaped(title), "side": "right"}
    return {"thickness": 10, "outlinewidth": 0, "title": words}


def shares(p: np.ndarray, names: Sequence[str], context: Context) -> go.Figure:
    """Probabilities of routes along the text, stacked.

    Args:
        p: (n routes), rows sum to 1, or 0 where a query is left out.
    """
    n = len(p)
    starts, stops = _cut(n)
    at, lines = stretches(p.T, CELLS)
    said = _called(context, starts, stops)
    shape = figure(context.look, 300, barmode="stack", bargap=0, hovermode="closest")
    for j, (name, line) in enumerate(zip(names, lines, strict=True)):
        shape.add_trace(
            go.Bar(
                x=at, y=line, width=stops - starts, name=escaped(name), customdata=said,
                marker={"color": _tint(context, j), "line": {"width": 0}},
                hovertemplate=f"%{{customdata}}<br>{escaped(name)} %{{y:.1%}}<extra></extra>",
            )
        )  # fmt: skip
    _chosen(shape, context)
    shape.update_layout(showlegend=True, legend={"traceorder": "normal"})
    shape.update_xaxes(title_text=_along(context, n), showgrid=False, range=[-0.5, n - 0.5])
    shape.update_yaxes(
        title_text=escaped(context.t("route.axis.probability")), tickformat=".0%", range=[0, 1]
    )
    return shape


def bars(
    series: Sequence[tuple[str, np.ndarray]],
    names: Sequence[str],
    lines: Sequence[tuple[str, float]],
    context: Context,
    title: str,
) -> go.Figure:
    """Shares by route, one bar a series, beside level lines of reference."""
    look, said = context.look, [escaped(name) for name in names]
    shape = figure(look, 320, barmode="group", bargap=0.3)
    for (name, values), colour in zip(series, (look.weight[5], look.weight[2]), strict=False):
        shape.add_trace(
            go.Bar(
                x=list(range(len(names))), y=values, name=escaped(name),
                marker={"color": colour, "line": {"width": 0}}, customdata=said,
                hovertemplate=f"%{{customdata}}<br>{escaped(name)} %{{y:.1%}}<extra></extra>",
            )
        )  # fmt: skip
    for (name, level), dash in zip(lines, ("dash", "dot"), strict=False):
        shape.add_trace(
            go.Scatter(
                x=[-0.5, len(names) - 0.5], y=[level, level], mode="lines", name=escaped(name),
                line={"color": look.ink, "width": 1.5, "dash": dash},
                hovertemplate=f"{escaped(name)} {level:.1%}<extra></extra>",
            )
        )  # fmt: skip
    named: dict[str, Any] = {"tickformat": "d"}
    if len(names) <= 12 and not title:
        named = {"tickvals": list(range(len(names))), "ticktext": said}
    shape.update_xaxes(
        showgrid=False, range=[-0.5, len(names) - 0.5], title_text=escaped(title), nticks=9,
        dtick=1 if len(names) <= 16 else None,
        **named,
    )  # fmt: skip
    shape.update_yaxes(
        title_text=escaped(context.t("route.axis.share")), tickformat=".0%", rangemode="tozero"
    )
    shape.update_layout(showlegend=True)
    return shape


KIND_OF_TOKENS = ("word", "part", "character", "number", "symbol", "space")


def kinds(tokens: Sequence[str]) -> np.ndarray:
    """What each token is, as an index of KIND_OF_TOKENS.

    The start of a word, the rest of one, characters of a script without spaces, a number, a
    symbol, or space.
    """

    def kind(token: str) -> int:
        body = token.lstrip(" ▁Ġ")
        if not body.strip():
            return 5
        if any(c.isdigit() for c in body):
            return 3
        if not any(c.isalpha() for c in body):
            return 4
        if any(unicodedata.east_asian_width(c) == "W" for c in body):
            return 2
        return 0 if len(body) < len(token) else 1

    return np.array([kind(token) for token in tokens])


def _sources(view: Routing, context: Context) -> tuple[np.ndarray, list[str]]:
    """Group of each query for the flow, and the groups' names: kinds of tokens, or stretches."""
    frame, t = context.att.frame, context.t
    at = np.arange(frame.n) + frame.offset
    if context.tokens and at[0] >= 0 and at[-1] < frame.m:
        found = kinds(context.tokens)[at]
        here = np.unique(found)
        name = [t(f"route.kind.{KIND_OF_TOKENS[k]}", count=int((found == k).sum())) for k in here]
        return np.searchsorted(here, found), name
    starts, stops = _cut(frame.n, 6)
    label = np.repeat(np.arange(len(starts)), stops - starts)
    return label, [f"{a:,} … {b - 1:,}" for a, b in zip(starts, stops, strict=True)]


def flow(
    mass: np.ndarray, sources: Sequence[str], names: Sequence[str], context: Context
) -> go.Figure:
    """From groups of tokens to routes; a band is as wide as the tokens it stands for.

    Args:
        mass: (groups routes) probabilities added over the group's tokens.
    """
    look = context.look
    a, b = np.nonzero(mass > 0)
    tints = [_tint(context, j) for j in range(len(names))]
    shape = figure(look, 340, margin={"l": 8, "r": 8, "t": 12, "b": 12})
    shape.add_trace(
        go.Sankey(
            arrangement="fixed",
            node={
                "label": [escaped(name) for name in (*sources, *names)],
                "color": [look.faint] * len(sources) + tints, "pad": 14, "thickness": 12,
                "line": {"width": 0}, "hovertemplate": "%{label}<br>%{value:,.1f}<extra></extra>",
            },
            link={
                "source": a, "target": b + len(sources), "value": mass[a, b],
                "color": [_tint(context, j, 0.55) for j in b.tolist()],
                "hovertemplate": "%{source.label} → %{target.label}<br>%{value:,.1f}"
                "<extra></extra>",
            },
            textfont={"color": look.ink, "size": 13, "shadow": "none"},
        )
    )  # fmt: skip
    return shape


def _paths(view: Routing, context: Context) -> Iterator[Picture]:
    assert view.probabilities is not None and view.gate is not None
    names, head = _names(view, context), context.head
    kept, gate = (array(x[head]).astype(float) for x in (view.probabilities, view.gate))
    mean, first = gate.mean(0), np.bincount(gate.argmax(1), minlength=len(names)) / len(gate)
    most = int(kept.mean(0).argmax())
    entropy = float(_entropy(gate).mean())
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
    group, sources = _sources(view, context)
    mass = np.stack([np.bincount(group, column, len(sources)) for column in kept.T], 1)
    per = mass / np.maximum(mass.sum(1, keepdims=True), 1e-12)
    wide = int((per.max(0) - per.min(0)).argmax())
    yield Picture(
        "routing_flow", flow(mass, sources, names, context), wide=True,
        facts={
            "path": names[wide], "most": sources[int(per[:, wide].argmax())],
            "least": sources[int(per[:, wide].argmin())], "high": float(per[:, wide].max()),
            "low": float(per[:, wide].min()),
        },
    )  # fmt: skip
    if view.labels is not None:
        # full attention holds every other path: what a token leans to is what tells it apart
        more = kept - kept.mean(0)
        leaning = np.where((kept.sum(1) > 0) & (more.max(1) >= LEAN), more.argmax(1), -1)
        if (leaning >= 0).any():
            yield Picture(
                "routing_text", labels=leaning.tolist(), names=names, wide=True,
                facts={"lean": LEAN},
            )  # fmt: skip


def _text(
    key: str, view: Routing, context: Context, names: Sequence[str], **facts: Any
) -> Iterator[Picture]:
    if view.labels is not None:
        labels = view.labels[context.head].tolist()
        yield Picture(key, labels=labels, names=names, facts=facts, wide=True)


def cluster_map(view: Routing, context: Context) -> tuple[go.Figure, float, int]:
    """Keys and centroids on the two directions in which keys differ most.

    Returns:
        the picture, the share of the keys' variance that it shows, and how many keys.
    """
    assert context.qkv is not None and view.labels is not None and view.centroids is not None
    look, t, head, qkv = context.look, context.t, context.head, context.qkv
    q, k = selection.features(qkv.head(head))
    at = selection.sample(qkv.m, POINTS)
    points = k[0].cpu()[at]
    _, s, axes = torch.linalg.svd(points, full_matrices=False)
    plane = axes[:2] if len(axes) > 1 else torch.cat([axes, torch.zeros_like(axes)])
    share = float(s[:2].square().sum() / s.square().sum().clamp_min(1e-30))
    xy, centres = array(points @ plane.T), array(view.centroids[head].cpu() @ plane.T)
    here = array(q[0, context.row].cpu() @ plane.T)
    labels = array(view.labels[head].cpu()[at])
    shape = figure(look, 420, margin={"t": 12})
    tokens = context.tokens
    said = np.array([escaped(f"{isolated(tokens[i])} {i:,}" if tokens else f"{i:,}") for i in at])
    for j in range(-1, len(centres)):
        mine = labels == j
        name = t("route.none") if j < 0 else t("route.cluster", number=j)
        colour = MARK if j < 0 else _tint(context, j)
        edge = {"color": look.faint, "width": 1 if j < 0 else 0}
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
            textfont={"size": 15, "color": look.ink},
        )
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=[here[0]], y=[here[1]], mode="markers",
            marker={"symbol": "diamond", "size": 12, "color": look.accent},
            hovertemplate=escaped(t("route.query", row=context.row)) + "<extra></extra>",
        )
    )  # fmt: skip
    shape.update_layout(showlegend=False)
    far = 1.1 * float(max(np.abs(part).max(initial=1e-9) for part in (xy, centres, here)))
    shape.update_xaxes(title_text=escaped(t("route.axis.first")), range=[-far, far], nticks=5)
    shape.update_yaxes(title_text=escaped(t("route.axis.second")), range=[-far, far], nticks=5)
    return shape, share, len(at)


def left_out(queries: np.ndarray, keys: np.ndarray, context: Context) -> go.Figure:
    """Share of queries and of keys that no cluster holds, along the text.

    Args:
        queries: (n) and keys: (m), True where left out.
    """
    look, t = context.look, context.t
    shape = figure(look, 190, margin={"t": 12})
    for y, missing in enumerate((queries, keys)):
        at, lines = stretches(missing[None].astype(float), CELLS)
        starts, stops = _cut(len(missing))
        shape.add_trace(
            go.Heatmap(
                z=lines.astype(np.float32), x=at, y=[y], zmin=0, zmax=1,
                colorscale=scale(look.weight), showscale=y == 0, customdata=np.array(
                    _called(context, starts, stops)
                )[None],
                colorbar={**_bar(t("route.axis.left")), "tickformat": ".0%", "nticks": 3},
                hovertemplate="%{customdata}<br>%{z:.0%}<extra></extra>",
            )
        )  # fmt: skip
    words = [escaped(t("route.queries")), escaped(t("route.keys"))]
    shape.update_yaxes(tickvals=[0, 1], ticktext=words, autorange="reversed", showgrid=False)
    n = max(len(queries), len(keys))
    shape.update_xaxes(title_text=_along(context, n), showgrid=False)
    return shape


def _clusters(view: Routing, context: Context) -> Iterator[Picture]:
    assert view.dropped is not None and view.labels is not None
    assert view.probabilities is not None
    t, head, frame = context.t, context.head, context.att.frame
    names = _names(view, context)
    window = getattr(context.mechanism, "window", frame.n)
    if context.qkv is not None:
        drawn, share, count = cluster_map(view, context)
        yield Picture(
            "cluster_map", drawn,
            {"share": share, "count": count, "keys": frame.m, "clusters": len(names)},
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
    yield from _text("cluster_text", view, context, names, keys=int(lost.sum()))


def choices(view: Routing, context: Context) -> go.Figure:
    """Queries down, blocks across: the share of queries that chose each."""
    assert view.choices is not None
    look, t, frame = context.look, context.t, context.att.frame
    chosen = array(view.choices[context.head])
    count, n = view.load.shape[1], len(chosen)
    starts, stops = _cut(n)
    wide = -(-count // CELLS)
    row = np.repeat(np.arange(len(starts)), stops - starts)
    cells = np.zeros((len(starts), -(-count // wide)))
    rows, slots = np.nonzero(chosen >= 0)
    np.add.at(cells, (row[rows], chosen[rows, slots] // wide), 1)
    cells /= (stops - starts)[:, None] * wide
    shape = figure(look, 420)
    shape.add_trace(
        go.Heatmap(
            z=cells.astype(np.float32), y=(starts + stops - 1) / 2, x0=(wide - 1) / 2, dx=wide,
            zmin=0, zmax=1, colorscale=scale(look.weight),
            colorbar={**_bar(t("route.axis.chosen")), "len": 0.6, "tickformat": ".0%"},
            hovertemplate="%{y:,.0f} → " + escaped(t("route.axis.block")) + " %{x:,.0f}"
            "<br>%{z:.0%}<extra></extra>",
        )
    )  # fmt: skip
    own = np.clip((np.arange(n) + frame.offset) // view.size, 0, count - 1)
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
            line={"color": look.faint, "width": 1}, hoverinfo="skip", showlegend=True,
        )
    )  # fmt: skip
    tall = max(1.0, n / CELLS)
    shape.add_shape(
        type="rect", x0=-0.5, x1=count - 0.5, y0=context.row - tall / 2, y1=context.row + tall / 2,
        line={"color": look.accent, "width": 1.5},
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


def _blocks(view: Routing, context: Context) -> Iterator[Picture]:
    assert view.choices is not None
    t, head, frame = context.t, context.head, context.att.frame
    chosen, count = array(view.choices[head]), view.load.shape[1]
    at = np.arange(frame.n) + frame.offset
    own = np.clip(at // view.size, 0, count - 1)
    mine = sorted({int(b) for b in chosen[context.row] if b >= 0} - {int(own[context.row])})
    yield Picture(
        "block_choices", choices(view, context),
        {
            "row": context.row, "own": int(own[context.row]), "head": head, "count": count,
            "chosen": ", ".join(str(b) for b in mine) or t("route.nothing"),
        },
    )  # fmt: skip
    # of the queries for which a block is another block, and causally past, the share that chose it
    other = (chosen >= 0) & (chosen != own[:, None])
    votes = np.bincount(chosen[other], minlength=count)
    may = np.bincount(own, minlength=count)
    could = frame.n - np.cumsum(may) if frame.causal else frame.n - may
    rate = votes / np.maximum(could, 1)
    even = float(votes.sum() / max(1, could.sum()))
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
    read = np.full(count, -1)
    read[mine], read[own[context.row]] = 1, 0
    last = context.row + frame.offset if frame.causal else frame.m - 1
    key = np.arange(frame.m)
    labels = np.where(key <= last, read[key // view.size], -1)
    yield Picture(
        "block_text", labels=labels.tolist(), wide=True,
        names=[t("route.own"), t("route.chosen")],
        facts={"row": context.row, "keys": int((labels >= 0).sum()), "m": frame.m},
    )  # fmt: skip


def couplings(steps: np.ndarray, names: Sequence[str], context: Context) -> go.Figure:
    """Couplings of one token's heads to capsules, a frame an iteration.

    Args:
        steps: (t h capsules), each row sums to 1.
    """
    look, t = context.look, context.t
    heads = [escaped(t("head.name", head=i)) for i in range(steps.shape[1])]
    few = steps[0].size <= 160

    def cells(step: np.ndarray) -> go.Heatmap:
        return go.Heatmap(
            z=step.astype(np.float32), zmin=0, zmax=1, colorscale=scale(look.weight),
            x=list(map(escaped, names)), y=heads,
            text=np.round(step * 100).astype(int) if few else None,
            texttemplate="%{text}%" if few else None,
            colorbar={**_bar(t("route.axis.coupling")), "len": 0.8, "tickformat": ".0%"},
            hovertemplate="%{y} → %{x}<br>%{z:.1%}<extra></extra>",
        )  # fmt: skip

    shape = figure(look, 400)
    shape.add_trace(cells(steps[-1]))
    words = [f"{i + 1}" for i in range(len(steps))]
    shape.frames = [
        go.Frame(data=[cells(step)], name=w) for w, step in zip(words, steps, strict=True)
    ]
    quick = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}}
    slow = {"frame": {"duration": 900, "redraw": True}, "transition": {"duration": 0}}
    shape.update_layout(
        sliders=[
            {
                "active": len(steps) - 1, "pad": {"t": 34}, "x": 0.14, "len": 0.86,
                "currentvalue": {"prefix": escaped(t("route.iteration")) + " ", "xanchor": "left"},
                "font": {"color": look.ink}, "bgcolor": look.grid, "activebgcolor": look.accent,
                "bordercolor": look.grid, "tickcolor": look.faint,
                "steps": [
                    {"label": w, "method": "animate", "args": [[w], quick]} for w in words
                ],
            }
        ],
        updatemenus=[
            {
                "type": "buttons", "x": 0, "y": 0, "xanchor": "left", "yanchor": "top",
                "pad": {"t": 58, "r": 8}, "showactive": False, "bgcolor": look.paper,
                "bordercolor": look.faint, "font": {"color": look.ink},
                "buttons": [
                    {"label": escaped(t("route.play")), "method": "animate",
                     "args": [words, {**slow, "fromcurrent": False}]}
                ],
            }
        ],
    )  # fmt: skip
    shape.update_xaxes(showgrid=False, side="top")
    shape.update_yaxes(showgrid=False, autorange="reversed")
    return shape


def entropies(values: np.ndarray, limit: float, context: Context) -> go.Figure:
    """Mean entropy of each head's couplings by iteration.

    Args:
        values: (t h) nats. limit: that of even couplings.
    """
    look, t = context.look, context.t
    shape = figure(look, 400, showlegend=False, margin={"t": 12})
    at = list(range(1, len(values) + 1))
    shape.add_hline(y=limit, line={"color": look.ink, "width": 1.5, "dash": "dash"})
    shape.add_annotation(
        text=escaped(t("route.even_entropy", limit=limit)), x=at[-1], y=limit, showarrow=False,
        xanchor="right", yanchor="bottom", font={"color": look.faint, "size": 13},
    )  # fmt: skip
    for h in sorted(range(values.shape[1]), key=lambda h: h == context.head):
        mine = h == context.head
        shape.add_trace(
            go.Scatter(
                x=at, y=values[:, h], mode="lines+markers", name=escaped(t("head.name", head=h)),
                line={"color": look.accent if mine else look.quiet, "width": 2.5 if mine else 1.5},
                marker={"size": 8 if mine else 5},
                hovertemplate="%{fullData.name} %{y:.3f}<extra></extra>",
            )
        )  # fmt: skip
    shape.update_xaxes(title_text=escaped(t("route.iteration")), dtick=1, showgrid=False)
    shape.update_yaxes(
        title_text=escaped(t("route.axis.entropy")),
        rangemode="tozero",
        range=[0, limit * 1.12 or 1],
    )
    return shape


def presence(lengths: np.ndarray, names: Sequence[str], context: Context) -> go.Figure:
    """Lengths of capsules along the text.

    Args:
        lengths: (n capsules), 0 … 1.
    """
    look = context.look
    starts, stops = _cut(len(lengths))
    at, lines = stretches(lengths.T, CELLS)
    shape = figure(look, max(200, min(400, 90 + 34 * len(names))), margin={"t": 12})
    shape.add_trace(
        go.Heatmap(
            z=lines.astype(np.float32), x=at, y=list(range(len(names))), zmin=0, zmax=1,
            colorscale=scale(look.weight),
            customdata=np.array([_called(context, starts, stops)] * len(names)),
            colorbar={**_bar(context.t("route.axis.length")), "nticks": 3},
            hovertemplate="%{customdata}<br>%{z:.2f}<extra></extra>",
        )
    )  # fmt: skip
    _chosen(shape, context)
    shape.update_xaxes(title_text=_along(context, len(lengths)), showgrid=False)
    shape.update_yaxes(
        tickvals=list(range(len(names))), ticktext=list(map(escaped, names)),
        autorange="reversed", showgrid=False,
    )  # fmt: skip
    return shape


def _capsules(view: Routing, context: Context) -> Iterator[Picture]:
    assert view.iterations is not None and view.presence is not None
    names, head = _names(view, context), context.head
    limit = float(np.log(len(names)))
    steps = array(view.iterations[:, :, context.row]).astype(float)
    here = steps[-1, head]
    yield Picture(
        "capsule_couplings", couplings(steps, names, context),
        {
            "row": context.row, "head": head, "capsule": names[int(here.argmax())],
            "share": float(here.max()), "even": 1 / len(names), "iterations": len(steps),
        },
    )  # fmt: skip
    p = view.iterations.double()
    values = array(-(p * p.clamp_min(1e-30).log()).sum(-1).mean(-1))
    yield Picture(
        "capsule_entropy", entropies(values, limit, context),
        {"first": float(values[0, head]), "last": float(values[-1, head]), "head": head,
         "iterations": len(values)},
    )  # fmt: skip
    lengths = array(view.presence).astype(float)
    most = int(lengths.mean(0).argmax())
    kept = (array(view.iterations[-1, head]).astype(float) * lengths).sum(-1)
    yield Picture(
        "capsule_presence", presence(lengths, names, context), wide=True,
        facts={"capsule": names[most], "mean": float(lengths.mean(0)[most]), "head": head,
               "kept": float(kept.mean())},
    )  # fmt: skip
    yield from _text("capsule_text", view, context, names, head=head)


KINDS: dict[str, Callable[[Routing, Context], Iterator[Picture]]] = {
    "paths": _paths,
    "clusters": _clusters,
    "blocks": _blocks,
    "capsules": _capsules,
}
