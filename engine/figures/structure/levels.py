"""Attention down a hierarchy of units: shares inside shares, and how evenly each level shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from unicodedata import east_asian_width

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from engine.contract.views import Levels
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import Theme, Words, array, colour_at, figure, scale
from engine.figures.lessons.grid import upon
from engine.text.tokens import MARKS, escaped, isolated, joined
from engine.text.tree import Tree

MOST_NODES = 1500
"""Cells of an icicle; smaller units of one parent are drawn as one."""
LEAST = 1e-4
"""Share of the row below which a unit is drawn with its like."""
GRAIN = 2.0**40
"""Weights are drawn in multiples of 1/GRAIN, so that parts add up to their whole exactly."""
DARKEST = 0.75
"""How far along the scale the largest unit is drawn, so that large cells don't shout."""
MOST_BARS = 200
LITTLE = 0.01
"""Differences below a tenth of this are rounding, and are drawn as the line that they are."""
MOST_ROWS = 128
"""Queries whose shares are drawn; of longer texts an even sample."""
MOST_UNITS = 256
"""Units across a map; of more, neighbours are one cell, the largest share standing for all."""
SHOWN = 60  # characters of a unit's text


def icicle(
    weights: Tensor | np.ndarray,
    tree: Tree,
    tokens: Sequence[str] | None,
    *,
    query: int,
    theme: Theme,
    t: Words,
    height: int = 420,
) -> go.Figure:
    """Any row's weight by unit, units inside units from left to right, the text from top down.

    Args:
        weights: (m) the row's weights, none below 0. tree: the units. tokens: the keys' names.
        query: the key at the query's own position, which names the whole.
    """
    whole = np.round(array(weights).astype(np.float64) * GRAIN) / GRAIN
    masses = [x.numpy() for x in tree.masses(torch.from_numpy(whole))]
    levels = [i for i in range(len(masses)) if i == len(masses) - 1 or len(masses[i]) > 1]
    total = float(whole.sum())
    sizes = np.sort(np.concatenate([masses[i] for i in levels]))[::-1]
    least = max(LEAST * total, sizes[MOST_NODES - 1] if len(sizes) > MOST_NODES else 0.0)
    root = quoted(unit_name(tokens, query, query + 1), 18)
    ids, labels, parents, values, hover = ["0"], [root], [""], [total], [[root, ""]]
    above = {0: "0"}  # units drawn at the level above -> their ids
    edges = None  # where the units of the level above begin
    for level in levels:
        starts = tree.edges[level].tolist()
        of = np.zeros(len(starts) - 1, int)
        if edges is not None:
            of = np.searchsorted(edges, starts[:-1], side="right") - 1
        drawn, rest = {}, {}
        words = escaped(t(f"group.{tree.names[level]}"))
        for unit, value in enumerate(masses[level].tolist()):
            parent = int(of[unit])
            if parent not in above or value == 0:
                continue
            if value < least:
                count, mass = rest.get(parent, (0, 0.0))
                rest[parent] = (count + 1, mass + value)
                continue
            name = unit_name(tokens, starts[unit], starts[unit + 1])
            drawn[unit] = f"{level}.{unit}"
            ids.append(drawn[unit])
            labels.append(quoted(name, 18))
            parents.append(above[parent])
            values.append(value)
            hover.append([quoted(name, SHOWN), words])
        for parent, (count, mass) in rest.items():
            label = escaped(t("levels.rest", count=count))
            ids.append(f"{level}.rest.{parent}")
            labels.append(label)
            parents.append(above[parent])
            values.append(mass)
            hover.append([label, words])
        above, edges = drawn, np.array(starts[:-1])
    top = max(values[1:], default=0.0) or 1.0
    colours = [theme.grid, *(colour_at(theme.weight, DARKEST * x / top) for x in values[1:])]
    shape = figure(theme, height, uniformtext={"minsize": 11, "mode": "hide"})
    shape.add_trace(
        go.Icicle(
            ids=ids, labels=labels, parents=parents, values=values, customdata=hover,
            branchvalues="total", sort=False, leaf={"opacity": 1},
            tiling={"orientation": "h", "pad": 1},
            pathbar={"thickness": 22, "edgeshape": "|"},
            marker={
                "colors": colours,
                "line": {"width": 1, "color": theme.paper},
            },
            texttemplate="%{label}  %{value:.0%}", textposition="middle left",
            textfont={"color": [upon(colour) for colour in colours]},
            hovertemplate="%{customdata[0]}<br>%{customdata[1]} %{value:.2%}<br>"
            + escaped(t("levels.inside")) + " %{percentParent:.1%}<extra></extra>",
        )
    )  # fmt: skip
    shape.update_layout(margin={"l": 0, "r": 0, "t": 4, "b": 4})
    return shape


def unit_name(tokens: Sequence[str] | None, start: int, stop: int) -> str:
    """A unit's text, as far as it is shown, or its positions."""
    if tokens is None:
        return f"{start:,}" + (f"–{stop - 1:,}" if stop > start + 1 else "")
    text = joined(tokens[start : min(stop, start + SHOWN)]) if stop > start + 1 else tokens[start]
    return text.strip() or text


def said(name: str, longest: int = 40) -> str:
    """A unit's text for a sentence, its spaces as they are; a Han character takes two places."""
    room, keep = longest, 0
    for character in name:
        room -= 2 if east_asian_width(character) in "WF" else 1
        keep += room >= 0
    words = isolated(name, max(1, keep))
    return words if name == " " else words.replace(MARKS[" "], " ")


def quoted(name: str, longest: int) -> str:
    """The same for a figure, inert."""
    return escaped(said(name, longest))


def entropies(
    rows: Sequence[tuple[str, Tensor]], tree: Tree, *, theme: Theme, t: Words
) -> go.Figure:
    """Entropy of rows, level by level: the parts are the chain rule's and add up.

    Args:
        rows: names and weights, (m) each.
    """
    parts = [tree.entropies(w) for _, w in rows]
    whole = [float(part.sum()) for part in parts]
    names = [
        f"{escaped(name)}<br>"
        + escaped(t("levels.total", nats=total, effective=float(np.exp(total))))
        for (name, _), total in zip(rows, whole, strict=True)
    ]
    shape = figure(theme, 110 + 64 * len(rows), barmode="stack", bargap=0.35)
    depth = len(tree.names)
    for level, name in enumerate(tree.names):
        nats = [float(part[level]) for part in parts]
        tint = colour_at(theme.weight, 0.22 + 0.5 * level / max(1, depth - 1))
        inside = f"levels.{'among' if level == 0 else 'within'}"
        outer = t(f"group.{tree.names[level - 1]}")
        words = t(inside, units=t(f"group.{name}"), outer=outer)
        shape.add_trace(
            go.Bar(
                x=nats, y=names, orientation="h", name=escaped(words), marker={"color": tint},
                text=[f"{x:.2f}" for x in nats], textposition="inside", insidetextanchor="middle",
                constraintext="inside", textangle=0, insidetextfont={"color": upon(tint)},
                hovertemplate=escaped(words) + " %{x:.3f}<extra></extra>",
            )
        )  # fmt: skip
    shape.update_layout(
        legend={"traceorder": "normal"}, uniformtext={"minsize": 11, "mode": "hide"}
    )
    shape.update_xaxes(
        title_text=escaped(t("axis.nats")), range=[0, 1.02 * (max(whole, default=0.0) or 1.0)]
    )
    shape.update_yaxes(autorange="reversed", tickfont={"color": theme.ink, "size": 13})
    return shape


def differences(
    weights: Tensor, full: Tensor, tree: Tree, tokens: Sequence[str] | None, theme: Theme, t: Words
) -> tuple[go.Figure, str]:
    """What each unit has more or less of than in full attention, along the text, and the units."""
    level = max((i for i in range(len(tree.names)) if tree.count(i) <= MOST_BARS), default=0)
    change = (tree.masses(weights)[level] - tree.masses(full)[level]).numpy()
    edges = array(tree.edges[level])
    top = float(np.abs(change).max(initial=0)) or 1.0
    names = [
        quoted(unit_name(tokens, a, b), SHOWN)
        for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]
    shape = figure(theme, 260, bargap=0)
    shape.add_trace(
        go.Bar(
            x=(edges[:-1] + edges[1:] - 1) / 2, y=change, width=np.diff(edges) * 0.9,
            customdata=names, marker={
                "color": change, "colorscale": scale(theme.signed), "cmin": -top, "cmax": top,
                "line": {"width": 0},
            },
            hovertemplate="%{customdata}<br>%{y:+.2%}<extra></extra>",
        )
    )  # fmt: skip
    shape.update_xaxes(
        title_text=escaped(t("axis.position")), showgrid=False, range=[-0.5, tree.m - 0.5]
    )
    shape.update_yaxes(
        title_text=escaped(t("axis.more_than_full")), nticks=5, zeroline=True,
        tickformat="+.0%" if top >= 0.05 else "+.2~%",
        range=[-LITTLE, LITTLE] if np.abs(change).max(initial=0) < LITTLE / 10 else None,
    )  # fmt: skip
    return shape, tree.names[level]


def shares(
    weights: Tensor, rows: Tensor, tree: Tree, row: int, theme: Theme, t: Words
) -> list[go.Figure]:
    """Each level's own softmax, a figure each: queries down, the level's units along the text.

    Args:
        weights: (r m) of these rows. row: the chosen query.
    """
    masses = tree.masses(weights)
    levels = [i for i in range(len(tree.names)) if tree.count(i) > 1]
    at = array(rows)
    half = max(0.5, float(np.diff(at).max(initial=0)) / 2)
    figures = []
    for level in levels:
        edges, step = array(tree.edges[level]), -(-tree.count(level) // MOST_UNITS)
        share = masses[level]
        if level:
            whole = masses[level - 1][:, tree.parents[level - 1]]
            share = torch.where(whole > 0, share / whole, 0)
        cells = np.maximum.reduceat(array(share), np.arange(0, tree.count(level), step), axis=1)
        words = t(f"group.{tree.names[level]}")
        if level:
            words = t("levels.within", units=words, outer=t(f"group.{tree.names[level - 1]}"))
        shape = figure(theme, 380, title_text=escaped(words), margin={"t": 36})
        shape.add_trace(
            go.Heatmap(
                z=cells.astype(np.float32), x=np.append(edges[:-1:step], edges[-1]) - 0.5, y=at,
                zmin=0, zmax=1, colorscale=scale(theme.weight),
                hovertemplate="%{y:,d} → %{x:,d}<br>%{z:.1%}<extra></extra>",
                colorbar={
                    "title": {"text": escaped(t("levels.share")), "side": "right"},
                    "thickness": 10, "outlinewidth": 0, "len": 0.7, "tickformat": ".0%",
                }, showscale=level == levels[-1],
            )
        )  # fmt: skip
        shape.update_xaxes(
            title_text=escaped(t("axis.keys")), showgrid=False, nticks=6, tickformat=",d",
            range=[-0.5, tree.m - 0.5],
        )  # fmt: skip
        shape.update_yaxes(
            title_text=escaped(t("axis.queries")), showgrid=False, tickformat=",d",
            range=[at[-1] + half, at[0] - half],
        )  # fmt: skip
        shape.add_shape(
            type="rect", x0=-0.5, x1=tree.m - 0.5, y0=row - half, y1=row + half,
            line={"color": theme.accent, "width": 1.5},
        )  # fmt: skip
        figures.append(shape)
    return figures


def pictures(view: Levels, context: Context) -> Iterator[Picture]:
    """Shares inside shares, entropy by level, and where full attention differs."""
    att, theme, t, tokens = context.att, context.theme, context.t, context.tokens
    if tokens is not None and att.hidden_keys is not None:  # what is set aside names nothing
        aside = set(att.hidden_keys.tolist())
        tokens = ["" if i in aside else token for i, token in enumerate(tokens)]
    tree = Tree.nested(view.units)
    row = context.weights(context.here())[0].cpu()
    key = min(max(0, context.row + max(0, att.frame.m - att.frame.n)), att.frame.m - 1)
    query = unit_name(tokens, key, key + 1)
    masses = tree.masses(row)
    first = next((i for i, mass in enumerate(masses) if len(mass) > 1), 0)
    best = int(masses[first].argmax())
    yield Picture(
        "levels_icicle",
        icicle(row, tree, tokens, query=key, theme=theme, t=t),
        {
            "query": said(query), "units": t(f"group.{tree.names[first]}"),
            "count": tree.count(first), "share": float(masses[first][best]),
            "inside": said(unit_name(tokens, *tree.spans(first)[best].tolist())),
        },
        wide=True,
    )  # fmt: skip
    if context.qkv is None:
        return
    full = context.full().weights(context.here())[0, 0].cpu()
    key = "hierarchical" if context.mechanism is None else context.mechanism.key
    ours = t(f"mechanism.{key}.name")
    both = [(ours, row), (t("mechanism.softmax.name"), full)]
    yield Picture(
        "levels_entropy",
        entropies(both, tree, theme=theme, t=t),
        {
            "ours": float(tree.entropies(row).sum()), "full": float(tree.entropies(full).sum()),
            "visible": int(context.seen(context.here()).sum()),
        },
    )  # fmt: skip
    shape, level = differences(row, full, tree, tokens, theme, t)
    yield Picture(
        "levels_difference",
        shape,
        {
            "moved": float((row.double() - full.double()).abs().sum() / 2),
            "units": t(f"group.{level}"),
        },
    )
    rows = torch.linspace(0, att.frame.n - 1, min(att.frame.n, MOST_ROWS)).long().unique()
    weights = context.weights(rows).cpu()
    pooled = max(tree.count(i) for i in range(len(tree.names))) > MOST_UNITS
    figures = shares(weights, rows, tree, context.row, theme, t)
    yield Picture(
        "levels_shares",
        next(iter(figures), None),
        {
            "head": context.head, "rows": len(rows), "n": att.frame.n,
            "score": t(f"levels.score.{getattr(context.mechanism, 'aggregate', 'mean')}"),
            "notes": t("levels.pooled") if pooled else "",
        },
        wide=True,
        beside=figures[1:],
    )  # fmt: skip
    if key != "hierarchical":
        return
    yield Picture(
        "levels_gather",
        facts={"units": tree.siblings, "tokens": tree.m**2},
        wide=True,
        formulas=("down", "up", "gather"),
    )
