"""Hash buckets: who fell where, in which order, and what of full attention is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import plotly.graph_objects as go

from engine.contract.views import Buckets
from engine.figures.attention.groups import groups
from engine.figures.attention.heatmap import ticks
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import array, figure
from engine.structure.buckets import Growth, Hashes, hashes
from engine.text.tokens import escaped, isolated

POINTS = 1024
"""Keys on the plane and in the sorted order."""
AROUND = 256
"""Tokens whose buckets are told for every round; of longer texts, those around the chosen."""
EDGES = 128
"""Boundaries of chunks or buckets that are drawn."""


def pictures(view: Buckets, context: Context) -> Iterator[Picture]:
    """All pictures of hashed attention, for the head and the query that were chosen."""
    h, t, found = context.head, context.t, hashes(view, context)
    if found is None:
        return
    ids, mine = array(view.ids[h]), array(view.queries[h, :, context.row])
    first, own = ids[0], int(mine[0])
    yield Picture(
        "buckets_text", labels=first.tolist(), names=_names(view, context), own=own,
        facts={
            "head": h, "row": context.row, "bucket": own, "buckets": view.count,
            "mates": int((first == own).sum()), "keys": int((first >= 0).sum()),
        },
    )  # fmt: skip
    read = found.read
    strip, (a, b) = rounds(ids, mine, read, context)
    met = np.stack([ids[r] == mine[r] for r in range(view.rounds)])
    yield Picture(
        "buckets_rounds", strip, wide=True,
        facts={
            "head": h, "start": a, "stop": b - 1, "row": context.row, "rounds": view.rounds,
            "once": int(met[0].sum()), "ever": int(met.any(0).sum()),
            "read": int(read.sum()),
        },
    )  # fmt: skip
    low, high = found.span
    yield Picture(
        "buckets_order" if view.chunk is None else "buckets_chunks",
        order(view, context, (low, high)),
        facts={"head": h, "row": context.row, "count": high - low, "chunk": view.chunk or 0,
               "shown": min(POINTS, int((first >= 0).sum())), "keys": int((first >= 0).sum())},
    )  # fmt: skip
    count = np.bincount(first[first >= 0], minlength=view.count)
    yield Picture(
        "buckets_load", load(view, context),
        facts={
            "head": h, "buckets": view.count, "bucket": int(count.argmax()),
            "most": int(count.max()), "even": count.sum() / view.count,
            "empty": int((count == 0).sum()),
        },
    )  # fmt: skip
    table, inside = found.by_bucket()
    yield Picture(
        "buckets_mass",
        groups(
            table, names=[str(i) for i in range(view.count)], row=own, theme=context.theme, t=t
        ),
        facts={"head": h, "share": inside, "even": found.evenly(), "rows": len(found.rows)},
    )  # fmt: skip
    grown = found.by_rounds()
    now = grown.rounds.index(view.rounds)
    yield Picture(
        "buckets_recall", growth(grown, view.rounds, context),
        facts={
            "head": h, "rounds": view.rounds, "mass": grown.mass[now],
            "recall": grown.recall[now], "cost": grown.cost[now], "last": grown.rounds[-1],
            "more": grown.mass[-1], "rows": len(found.rows),
        },
    )  # fmt: skip
    if view.count // 2 > 1:
        drawn, inside, mates = plane(found, context)
        yield Picture(
            "buckets_plane", drawn,
            facts={"head": h, "row": context.row, "bucket": own, "mates": mates, "inside": inside,
                   "axes": view.rotations.shape[-1], "buckets": view.count},
        )  # fmt: skip


def _names(view: Buckets, context: Context) -> list[str]:
    return [context.t("buckets.name", number=i) for i in range(view.count)]


def _tint(context: Context, bucket: int) -> str:
    return context.theme.tints[bucket % len(context.theme.tints)]


def _called(context: Context, keys: Sequence[int]) -> list[str]:
    """Keys for hover: what they say and where they are."""
    tokens = context.tokens
    return [(escaped(isolated(tokens[j])) + " " if tokens else "") + f"{j:,}" for j in keys]


def rounds(
    ids: np.ndarray, mine: np.ndarray, read: np.ndarray, context: Context
) -> tuple[go.Figure, tuple[int, int]]:
    """The bucket of each key in each round, and below whom the chosen query reads.

    Args:
        ids: (R m) buckets of keys, −1 where hidden. mine: (R) buckets of the query.
        read: (m) keys that it reads.

    Returns:
        the figure, and the span of keys that it shows.
    """
    theme, t, (count, m) = context.theme, context.t, ids.shape
    middle = min(max(context.row + context.att.frame.offset, 0), m - 1)
    start = max(0, min(middle - AROUND // 2, m - AROUND))
    stop = min(m, start + AROUND)
    part, some = ids[:, start:stop], read[start:stop]
    # a colour a number: tints, then the accent for what is read
    kinds = len(theme.tints)
    z = np.where(part >= 0, part % kinds, np.nan)
    z = np.vstack([z, np.where(some, kinds, np.nan)])
    colours = [*theme.tints, theme.accent]
    edges = np.linspace(0, 1, len(colours) + 1)
    steps = [[float(e), c] for i, c in enumerate(colours) for e in edges[i : i + 2]]
    names = _called(context, range(start, stop))
    said = [
        [
            f"{name}<br>{escaped(t('buckets.round', number=r + 1))}: "
            + escaped(t("buckets.name", number=int(b)) if b >= 0 else t("buckets.hidden"))
            for name, b in zip(names, line, strict=True)
        ]
        for r, line in enumerate(part)
    ]
    said.append(
        [
            f"{n}<br>{escaped(t('buckets.read' if s else 'buckets.unread'))}"
            for n, s in zip(names, some, strict=True)
        ]
    )
    shape = figure(theme, min(420, 110 + 26 * (count + 1)))
    shape.add_trace(
        go.Heatmap(
            z=z, x0=start, dx=1, zmin=-0.5, zmax=kinds + 0.5, colorscale=steps, showscale=False,
            text=said, hovertemplate="%{text}<extra></extra>", ygap=2, hoverongaps=False,
        )
    )  # fmt: skip
    for r in range(count):  # where the query's own bucket is
        here = (np.flatnonzero(part[r] == mine[r]) + start).tolist()
        shape.add_trace(
            go.Scatter(
                x=here, y=[r] * len(here), mode="markers", hoverinfo="skip", showlegend=False,
                marker={"size": 5, "color": theme.ink},
            )
        )  # fmt: skip
    shape.add_vline(x=middle, line={"color": theme.accent, "width": 1.5, "dash": "dot"})
    words = [escaped(t("buckets.round", number=r + 1)) for r in range(count)]
    shape.update_yaxes(
        range=[count + 0.5, -0.5], showgrid=False, tickvals=list(range(count + 1)),
        ticktext=[*words, escaped(t("buckets.read"))],
    )  # fmt: skip
    shape.update_xaxes(
        range=[start - 0.5, stop - 0.5], showgrid=False, title_text=escaped(t("axis.keys")),
        **ticks(context.tokens, start, stop),
    )  # fmt: skip
    return shape, (start, stop)


def order(view: Buckets, context: Context, span: tuple[int, int]) -> go.Figure:
    """Where each key stands once sorted, against where it was; what one query reads is marked."""
    theme, t, h = context.theme, context.t, context.head
    turn, ids = array(view.order[h, 0]), array(view.ids[h, 0])
    shown = int((ids >= 0).sum())
    turn = turn[:shown]
    some = np.unique(np.linspace(0, max(0, shown - 1), min(shown, POINTS)).astype(int))
    keys = turn[some]
    shape = figure(theme, 400, showlegend=False)
    if span[0] < span[1]:
        shape.add_vrect(
            x0=span[0] - 0.5, x1=span[1] - 0.5, line_width=0, fillcolor=theme.accent, opacity=0.18,
            layer="below",
        )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=some, y=keys, mode="markers",
            marker={"size": 5, "color": [_tint(context, int(b)) for b in ids[keys]],
                    "line": {"width": 0.5, "color": theme.faint}},
            customdata=_called(context, keys.tolist()),
            text=[escaped(t("buckets.name", number=int(b))) for b in ids[keys]],
            hovertemplate="%{customdata}<br>%{text}<br>%{x:,}<extra></extra>",
        )
    )  # fmt: skip
    if view.chunk is None:
        edges = np.cumsum(np.bincount(ids[ids >= 0], minlength=view.count))[:-1]
    else:
        edges = np.arange(view.chunk, shown, view.chunk)
    if len(edges) <= EDGES:
        shape.add_trace(  # lines as one trace: Plotly takes its time over each shape
            go.Scatter(
                x=np.repeat(edges - 0.5, 3),
                y=np.tile([len(ids), -1, np.nan], len(edges)), mode="lines",
                line={"color": theme.grid, "width": 1}, hoverinfo="skip",
                zorder=-1,
            )
        )  # fmt: skip
    middle = context.row + context.att.frame.offset
    shape.add_hline(y=middle, line={"color": theme.accent, "width": 1.5, "dash": "dot"})
    shape.update_xaxes(title_text=escaped(t("buckets.axis.place")), showgrid=False)
    shape.update_yaxes(
        title_text=escaped(t("axis.position")), range=[len(ids), -1], showgrid=False
    )
    return shape


def load(view: Buckets, context: Context) -> go.Figure:
    """Keys and queries in each bucket of the first round, beside the even share."""
    theme, t, h = context.theme, context.t, context.head
    shape = figure(theme, 320, barmode="group", bargap=0.25)
    for name, x, colour in (
        ("buckets.keys", view.ids[h, 0], theme.weight[5]),
        ("buckets.queries", view.queries[h, 0], theme.weight[2]),
    ):
        x = array(x)
        shape.add_trace(
            go.Bar(
                x=list(range(view.count)), y=np.bincount(x[x >= 0], minlength=view.count),
                name=escaped(t(name)), marker={"color": colour, "line": {"width": 0}},
                customdata=[escaped(x) for x in _names(view, context)],
                hovertemplate="%{customdata}<br>%{y:,}",
            )
        )  # fmt: skip
    even = int((view.ids[h, 0] >= 0).sum()) / view.count
    shape.add_trace(
        go.Scatter(
            x=[-0.5, view.count - 0.5], y=[even, even], mode="lines",
            name=escaped(t("buckets.even")), hoverinfo="skip",
            line={"color": theme.ink, "width": 1.5, "dash": "dash"},
        )
    )  # fmt: skip
    shape.update_xaxes(
        title_text=escaped(t("buckets.axis.bucket")), showgrid=False,
        range=[-0.5, view.count - 0.5], dtick=1 if view.count <= 16 else None, nticks=12,
    )  # fmt: skip
    shape.update_yaxes(title_text=escaped(t("buckets.axis.tokens")), rangemode="tozero")
    return shape


def growth(grown: Growth, now: int, context: Context) -> go.Figure:
    """What rounds buy: mass and largest weights kept, beside the keys looked at."""
    theme, t = context.theme, context.t
    shape = figure(theme, 340, hovermode="x unified")
    for name, values, line in (
        ("buckets.mass", grown.mass, {"color": theme.weight[5], "width": 2.5}),
        ("buckets.recall", grown.recall, {"color": theme.weight[3], "width": 2.5}),
        ("buckets.cost", grown.cost, {"color": theme.faint, "width": 1.5, "dash": "dot"}),
    ):
        shape.add_trace(
            go.Scatter(
                x=[str(x) for x in grown.rounds], y=values, mode="lines+markers",
                name=escaped(t(name)), line=line, marker={"size": 7}, hovertemplate="%{y:.1%}",
            )
        )  # fmt: skip
    shape.add_vline(
        x=grown.rounds.index(now), line={"color": theme.accent, "width": 1.5, "dash": "dot"}
    )
    shape.update_xaxes(
        title_text=escaped(t("buckets.axis.rounds")), type="category", showgrid=False
    )
    shape.update_yaxes(
        title_text=escaped(t("buckets.axis.share")), tickformat=".0%", range=[0, 1.02]
    )
    return shape


def plane(found: Hashes, context: Context) -> tuple[go.Figure, int, int]:
    """Keys on the axis that decided the chosen query's bucket and on the runner-up.

    Returns:
        the figure; how many keys lie in the query's sector of this plane, and how many of them
        are in its bucket.
    """
    theme, t, h = context.theme, context.t, context.head
    placed, ids = found.plane(), array(found.view.ids[h, 0])
    at, bucket, same = placed.keys, placed.bucket, placed.mates
    shape = figure(theme, 400)
    sizes = [int(((ids >= 0) & ~same).sum()), int(same.sum())]
    for mates, size in zip((False, True), sizes, strict=True):
        here = np.flatnonzero(same if mates else (ids >= 0) & ~same)
        most = POINTS if mates else max(64, POINTS - sizes[1])
        if size > most:
            here = here[np.linspace(0, size - 1, most).astype(int)]
        shape.add_trace(
            go.Scatter(
                x=at[here, 0], y=at[here, 1], mode="markers",
                name=escaped(t("buckets.mates" if mates else "buckets.others")),
                marker={"size": 7 if mates else 5, "opacity": 0.9 if mates else 0.35,
                        "color": theme.weight[5] if mates else theme.faint, "line": {"width": 0}},
                customdata=_called(context, here.tolist()),
                text=[escaped(t("buckets.name", number=int(b))) for b in ids[here]],
                hovertemplate="%{customdata}<br>%{text}<extra></extra>",
            )
        )  # fmt: skip
    x, y = placed.query.tolist()
    far = 1.05 * max(float(np.abs(at).max(initial=1e-9)), abs(x), abs(y))
    shape.add_trace(
        go.Scatter(
            x=[x], y=[y], mode="markers", name=escaped(t("buckets.query", row=context.row)),
            marker={"size": 13, "symbol": "diamond", "color": theme.accent,
                    "line": {"width": 1, "color": theme.paper}},
            hovertemplate=escaped(t("buckets.query", row=context.row)) + "<extra></extra>",
        )
    )  # fmt: skip
    shape.add_shape(
        type="path", path=f"M 0 0 L {far} {far} L {far} {-far} Z", layer="below",
        line={"width": 0}, fillcolor=theme.accent, opacity=0.12,
    )  # fmt: skip
    for slope in (1, -1):
        shape.add_shape(
            type="line", x0=-far, y0=-slope * far, x1=far, y1=slope * far, layer="below",
            line={"color": theme.faint, "width": 1, "dash": "dot"},
        )  # fmt: skip
    shape.update_xaxes(
        title_text=escaped(t("buckets.axis.own", bucket=bucket)), range=[-far, far],
        zeroline=True, showgrid=False,
    )  # fmt: skip
    shape.update_yaxes(
        title_text=escaped(t("buckets.axis.next")), range=[-far, far], scaleanchor="x",
        zeroline=True, showgrid=False,
    )  # fmt: skip
    return shape, int(placed.inside.sum()), int((placed.inside & same).sum())
