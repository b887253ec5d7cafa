"""What a recurrent memory reaches, holds and loses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from engine.contract import QKV
from engine.contract.views import Memory, Slots
from engine.figures.attention.heatmap import FLOOR
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import array, figure, scale
from engine.kernels import patterns
from engine.kernels.composed import Composed
from engine.measure import ages
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism
from engine.text.tokens import escaped, isolated

PARTS = 32
"""Segments told apart; of a longer text neighbours are taken together."""
CELLS = 128
"""Stretches of keys told apart."""
LAYERS = 12
"""Layers that the reach is followed through, unless it comes to the first key before."""
OUT, KEPT, OWN, LATER = range(4)
"""What a key is to a row: out of reach, in memory, of its own segment, not yet there."""


@dataclass(frozen=True, eq=False)
class Scene:
    """The chosen head alone, its sampled rows, and full attention's beside them."""

    view: Memory
    context: Context
    qkv: QKV
    mechanism: Mechanism

    @cached_property
    def rows(self) -> torch.Tensor:
        """Sampled rows that see something, (r)."""
        rows = self.view.rows.to(self.qkv.device)
        return rows[self.qkv.frame.seen(rows)[0] > 0]

    @cached_property
    def here(self) -> np.ndarray:
        """Effective weights of the sampled rows, (r m)."""
        return self.weights(self.rows)

    @cached_property
    def full(self) -> np.ndarray:
        """Full attention's, (r m)."""
        return self.weights(self.rows, full=True)

    @cached_property
    def alone(self) -> Attention:
        """This mechanism on the chosen head."""
        return self.mechanism.attend(self.qkv.head(self.context.head))

    def weights(self, rows: torch.Tensor, full: bool = False) -> np.ndarray:
        """(r m), of this mechanism or of full attention."""
        att = self.alone
        if full:
            att = Composed(self.qkv.head(self.context.head), patterns.Everything())
        return array(att.weights(rows)[0])

    def segment_of(self, row: int) -> int:
        """The segment that a row lies in."""
        return (row + self.qkv.frame.offset) // self.view.segment

    @cached_property
    def count(self) -> int:
        """Segments that hold a key or a query."""
        return max(-(-self.qkv.m // self.view.segment), self.segment_of(self.qkv.n - 1) + 1)

    @cached_property
    def per(self) -> int:
        """Segments taken together."""
        return -(-self.count // PARTS)

    def parts(self, rows: torch.Tensor) -> np.ndarray:
        """The part (segment, or neighbours together) of each row, (r)."""
        at = array(rows) + self.qkv.frame.offset
        return at // (self.view.segment * self.per)

    def key_parts(self) -> np.ndarray:
        """Where parts of the keys begin."""
        return np.arange(0, self.qkv.m, self.view.segment * self.per)

    def kinds(self, rows: Sequence[int]) -> np.ndarray:
        """What each key is to one or other of the rows, (m)."""
        reach = array(self.view.reach)[list(rows)]
        at, begin = np.arange(self.qkv.m), self.segment_of(min(rows)) * self.view.segment
        kind = np.where(at < begin, KEPT, OWN)
        kind[at < reach[:, 0].min()] = OUT
        kind[at >= reach[:, 1].max()] = LATER
        return kind

    def title(self, part: int) -> str:
        """A part's number, or its first and last segment."""
        first = part * self.per
        last = min(first + self.per, self.count) - 1
        return f"{first + 1:,}" if first == last else f"{first + 1:,}–{last + 1:,}"


def pictures(view: Memory, context: Context) -> Iterator[Picture]:
    """The pictures of one memory, for the head and row that were chosen."""
    if context.qkv is None or context.mechanism is None:
        return
    scene = Scene(view, context, context.qkv, context.mechanism)
    if len(scene.rows) == 0:
        return
    yield moving(scene)
    yield by_age(scene)
    if view.slots is None:
        if view.length:
            yield depth(scene)
    else:
        if scene.segment_of(context.row) > 0 and view.slots.held.shape[-1]:
            yield composition(scene, view.slots)
        if view.slots.drift.shape[1] > 1:
            yield drift(scene, view.slots)
    yield segments(scene)
    yield text(scene)


def _past(scene: Scene) -> np.ndarray:
    """Keys of earlier segments than the sampled rows' own, (r m)."""
    begin = (array(scene.rows) + scene.qkv.frame.offset) // scene.view.segment
    return np.arange(scene.qkv.m) < (begin * scene.view.segment)[:, None]


def _reached(scene: Scene) -> np.ndarray:
    """Keys within the sampled rows' reach, (r m)."""
    reach = array(scene.view.reach[scene.rows.to(scene.view.reach.device)])
    at = np.arange(scene.qkv.m)
    return (at >= reach[:, :1]) & (at < reach[:, 1:])


def _classes(scene: Scene) -> tuple[list[str], list[str]]:
    """Names and colours of what keys are to a row."""
    t, look = scene.context.t, scene.context.look
    kept = "memory.in_slots" if scene.view.slots is not None else "memory.kept"
    names = [t("memory.out"), t(kept), t("memory.own"), t("memory.later")]
    return names, [look.faint, look.tints[0], look.tints[1], look.grid]


def _steps(colours: Sequence[str]) -> list[list[float | str]]:
    """A colour scale of flat steps."""
    n = len(colours)
    return [[x, c] for i, c in enumerate(colours) for x in (i / n, (i + 1) / n)]


def moving(scene: Scene) -> Picture:
    """Segment after segment: what its rows can reach, and where their mass goes."""
    context, qkv, view = scene.context, scene.qkv, scene.view
    t, look = context.t, context.look
    width = max(1, -(-qkv.m // CELLS))
    starts = np.arange(0, qkv.m, width)
    middle = (starts + np.minimum(starts + width, qkv.m) - 1) / 2
    here, full = (np.add.reduceat(w, starts, axis=1) for w in (scene.here, scene.full))
    lost = (scene.full * ~_reached(scene)).sum(1)
    past, theirs = ((w * _past(scene)).sum(1) for w in (scene.here, scene.full))
    of = scene.parts(scene.rows)
    parts = np.unique(of)
    names, colours = _classes(scene)
    low = float(np.log10(FLOOR))

    def frame(part: int) -> tuple[list[go.Heatmap], str]:
        mine = of == part
        cells = np.stack([here[mine].mean(0), full[mine].mean(0)])
        first = part * scene.per * view.segment - qkv.frame.offset
        among = range(max(first, 0), min(first + scene.per * view.segment, qkv.n))
        kinds = scene.kinds(among)[np.minimum(starts + width // 2, qkv.m - 1)]
        said = t(
            "memory.frame" if view.slots is None else "memory.frame_slots",
            segment=scene.title(part), past=float(past[mine].mean()),
            lost=float(lost[mine].mean()), full=float(theirs[mine].mean()),
        )  # fmt: skip
        strips = go.Heatmap(
            x=middle, y=[t("memory.here"), t("memory.full")],
            z=np.log10(np.maximum(cells, FLOOR)).astype(np.float32), customdata=cells.round(5),
            zmin=low, zmax=0, colorscale=scale(look.weight), xgap=0, ygap=6,
            colorbar={
                "title": {"text": escaped(t("memory.axis.mass")), "side": "right"},
                "thickness": 10, "outlinewidth": 0, "len": 0.9,
                "tickvals": [-4, -3, -2, -1, 0],
                "ticktext": ["≤0.01%", "0.1%", "1%", "10%", "100%"],
            },
            hovertemplate="%{y}<br>%{x:,d}: %{customdata:.2%}<extra></extra>",
        )  # fmt: skip
        classes = go.Heatmap(
            x=middle, y=[t("memory.axis.reach")], z=kinds[None], zmin=-0.5, zmax=3.5,
            colorscale=_steps(colours), showscale=False, yaxis="y2",
            text=[[names[k] for k in kinds]], hovertemplate="%{x:,d}: %{text}<extra></extra>",
        )  # fmt: skip
        return [strips, classes], said

    made = [(int(p), *frame(int(p))) for p in parts]
    chosen = int(np.argmin(np.abs(parts - scene.segment_of(context.row) // scene.per)))
    shape = figure(look, 330)
    shape.add_traces(made[chosen][1])
    shown = [k for k in (OUT, KEPT, OWN, LATER) if k != OUT or view.slots is None]
    for k in shown:
        shape.add_trace(
            go.Scatter(
                x=[None], y=[None], mode="markers", name=escaped(names[k]), yaxis="y2",
                marker={"symbol": "square", "size": 12, "color": colours[k]},
            )
        )  # fmt: skip
    shape.frames = [
        go.Frame(data=traces, name=str(part), traces=[0, 1]) for part, traces, _ in made
    ]
    still = {"mode": "immediate", "frame": {"duration": 0, "redraw": True},
             "transition": {"duration": 0}}  # fmt: skip
    run = {"fromcurrent": True, "frame": {"duration": 600, "redraw": True},
           "transition": {"duration": 0}}  # fmt: skip
    button = {"bgcolor": look.paper, "bordercolor": look.grid, "font": {"color": look.ink}}
    shape.update_layout(
        legend={"y": 1.03, "itemclick": False, "itemdoubleclick": False},
        xaxis={"title": {"text": _keys(scene, width)}, "showgrid": False, "anchor": "y2",
               "range": [-0.5, qkv.m - 0.5], "tickformat": ",d"},
        yaxis={"domain": [0.34, 1.0], "showgrid": False, "autorange": "reversed"},
        yaxis2={"domain": [0.0, 0.24], "showgrid": False, "fixedrange": True},
        sliders=[{
            "active": chosen, "x": 0.16, "len": 0.84, "pad": {"t": 58, "b": 0},
            "currentvalue": {"font": {"size": 14, "color": look.ink}, "xanchor": "left"},
            "bgcolor": look.grid, "activebgcolor": look.accent, "bordercolor": look.grid,
            "font": {"color": "rgba(0,0,0,0)", "size": 1}, "ticklen": 0, "minorticklen": 0,
            "steps": [
                {"label": escaped(said), "method": "animate", "args": [[str(part)], still]}
                for part, _, said in made
            ],
        }],
        updatemenus=[{
            "type": "buttons", "direction": "left", "showactive": False, "x": 0, "y": 0,
            "xanchor": "left", "yanchor": "top", "pad": {"t": 68, "r": 8}, **button,
            "buttons": [
                {"label": escaped(t("memory.play")), "method": "animate", "args": [None, run]},
                {"label": escaped(t("memory.pause")), "method": "animate",
                 "args": [[None], still]},
            ],
        }],
        margin={"b": 8},
    )  # fmt: skip
    key = "memory_moving" if view.slots is None else "memory_slots_moving"
    facts = {"head": context.head, "rows": len(scene.rows), "lost": float(lost.mean()),
             "past": float(past.mean()), "full": float(theirs.mean()),
             "segment": view.segment, "count": scene.count,
             "length": view.length or 0}  # fmt: skip
    return Picture(key, shape, facts=facts, wide=True)


def _keys(scene: Scene, width: int) -> str:
    t = scene.context.t
    return escaped(t("axis.keys") if width == 1 else t("memory.axis.keys", count=width))


def by_age(scene: Scene) -> Picture:
    """Mass by how long ago, beside full attention's."""
    context, view, qkv = scene.context, scene.view, scene.qkv
    t, look = context.t, context.look
    at = array(scene.rows)[:, None] + qkv.frame.offset
    age = np.abs(at - np.arange(qkv.m))
    edges = array(view.ages)
    bins = np.clip(np.searchsorted(edges, age, side="right") - 1, 0, len(edges) - 2)
    full = np.bincount(bins.ravel(), scene.full.ravel(), len(edges) - 1) / len(at)
    here = array(view.mass[context.head])
    last = int(np.flatnonzero(np.maximum(here, full) > 0).max(initial=0)) + 1
    names = [
        f"{a:,}" if b == a + 1 else f"{a:,}–{b - 1:,}" for a, b in pairwise(edges[: last + 1])
    ]
    x = list(range(last))
    shape = figure(look, 330, bargap=0.15, hovermode="x unified")
    shape.add_trace(
        go.Bar(
            x=x, y=here[:last], name=escaped(t("memory.here")),
            marker={"color": look.quiet, "line": {"width": 0}}, hovertemplate="%{y:.2%}",
        )
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=x, y=full[:last], name=escaped(t("memory.full")), mode="lines+markers",
            line={"color": look.ink, "width": 1.5, "dash": "dot"}, marker={"size": 5},
            hovertemplate="%{y:.2%}",
        )
    )  # fmt: skip
    if view.length is not None:
        # the oldest key that any row reaches is memory + segment − 1 tokens away
        edge = float(np.log2(view.length + view.segment)) + 0.5
        if edge < last - 0.5:
            shape.add_vrect(
                x0=edge, x1=last - 0.5, fillcolor=look.faint, opacity=0.16, line_width=0,
                layer="below", annotation_text=escaped(t("memory.out")),
                annotation_position="top right", annotation_font_color=look.faint,
            )  # fmt: skip
    shape.update_xaxes(
        title_text=escaped(t("memory.axis.age")), showgrid=False, tickvals=x, ticktext=names,
        range=[-0.5, last - 0.5], tickfont={"size": 11}, tickangle=0 if last <= 8 else None,
    )  # fmt: skip
    shape.update_yaxes(
        title_text=escaped(t("memory.axis.mass")), tickformat=".0%", rangemode="tozero"
    )
    past = _past(scene)
    facts = {
        "head": context.head, "rows": len(at), "length": view.length or 0,
        "segment": view.segment, "limit": (view.length or 0) + view.segment - 1,
        "lost": float((scene.full * ~_reached(scene)).sum(1).mean()),
        "past": float((scene.here * past).sum(1).mean()),
        "full": float((scene.full * past).sum(1).mean()),
    }  # fmt: skip
    return Picture("memory_age" if view.slots is None else "memory_slots_age", shape, facts)


def segments(scene: Scene) -> Picture:
    """Mean mass from segment to segment, full attention's beside it."""
    context, view = scene.context, scene.view
    t, look = context.t, context.look
    of, begins = scene.parts(scene.rows), scene.key_parts()
    rows = np.unique(of)
    found = []
    reached = np.add.reduceat(_reached(scene), begins, axis=1) > 0
    seen = np.stack([reached[of == p].any(0) for p in rows])
    gone = ~seen & (np.arange(len(begins)) < rows[:, None])
    for w in (scene.here, scene.full):
        cells = np.add.reduceat(w, begins, axis=1)
        found.append(np.stack([cells[of == p].mean(0) for p in rows]))
    top = float(max(x.max() for x in found)) or 1.0
    down, across = ([scene.title(int(p)) for p in x] for x in (rows, range(len(begins))))
    shape = figure(look, 420)
    for i, (cells, name) in enumerate(zip(found, ("memory.here", "memory.full"), strict=True)):
        axes = {"xaxis": f"x{i + 1}", "yaxis": f"y{i + 1}"}
        shape.add_trace(
            go.Heatmap(
                z=np.where(cells > 0, cells, np.nan).astype(np.float32),
                x=list(range(len(across))), y=list(range(len(down))), zmin=0, zmax=top,
                colorscale=scale(look.weight), showscale=i == 1, hoverongaps=False, **axes,
                colorbar={"title": {"text": escaped(t("memory.axis.mass")), "side": "right"},
                          "thickness": 10, "outlinewidth": 0, "len": 0.7, "tickformat": ".0%"},
                customdata=[[f"{a} → {b}" for b in across] for a in down],
                hovertemplate="%{customdata}<br>%{z:.1%}<extra></extra>",
            )
        )  # fmt: skip
        shape.add_annotation(
            text=escaped(t(name)), showarrow=False, xref="x domain" if i == 0 else "x2 domain",
            yref="y domain", x=0, y=1.02, yanchor="bottom", xanchor="left",
            font={"size": 14, "color": look.ink},
        )  # fmt: skip
    if gone.any():
        shape.add_trace(
            go.Heatmap(
                z=np.where(gone, 1.0, np.nan).astype(np.float32), hoverinfo="skip",
                colorscale=[[0, look.faint], [1, look.faint]], opacity=0.16, showscale=False,
            )
        )  # fmt: skip
        y, x = np.nonzero(gone)
        shape.add_trace(
            go.Scatter(
                x=x, y=y, mode="markers", hoverinfo="skip", xaxis="x2", yaxis="y2",
                name=escaped(t("memory.out")),
                marker={"symbol": "line-ne-open", "size": max(6, 150 // len(across)),
                        "color": look.faint, "opacity": 0.55, "line": {"width": 1}},
            )
        )  # fmt: skip
    common: dict[str, Any] = {"showgrid": False, "zeroline": False, "tickmode": "array"}
    step = -(-len(across) // 8)
    ticks = {"tickvals": list(range(0, len(across), step)), "ticktext": across[::step]}
    high = -(-len(down) // 8)
    shape.update_layout(
        showlegend=False,
        xaxis={"domain": [0, 0.47], "range": [-0.5, len(across) - 0.5], **common, **ticks,
               "title": {"text": escaped(t("memory.axis.read"))}},
        xaxis2={"domain": [0.53, 1], "anchor": "y2", **common, **ticks,
                "range": [-0.5, len(across) - 0.5],
                "title": {"text": escaped(t("memory.axis.read"))}},
        yaxis={"range": [len(down) - 0.5, -0.5], **common,
               "tickvals": list(range(0, len(down), high)), "ticktext": down[::high],
               "title": {"text": escaped(t("memory.axis.reading"))}},
        yaxis2={"range": [len(down) - 0.5, -0.5], **common, "showticklabels": False,
                "anchor": "x2"},
        margin={"t": 40},
    )  # fmt: skip
    own = np.array([found[0][i, p] if p < len(begins) else 0.0 for i, p in enumerate(rows)])
    theirs = np.array([found[1][i, p] if p < len(begins) else 0.0 for i, p in enumerate(rows)])
    facts = {"head": context.head, "rows": len(scene.rows), "per": scene.per,
             "count": scene.count, "segment": view.segment, "own": float(own.mean()),
             "full": float(theirs.mean()),
             "lost": float((found[1] * gone).sum(1).mean())}  # fmt: skip
    key = "memory_segments" if view.slots is None else "memory_slots_segments"
    return Picture(key, shape, facts, wide=True)


def reaches(row: int, segment: int, memory: int, layers: int) -> list[int]:
    """First position that the row at `row` (on the keys' axis) can have heard of, by layers.

    What a row reads in memory had itself read its own segment and the memory before that.
    """
    found, first = [], row
    for _ in range(layers):
        first = max(0, first // segment * segment - memory)
        found.append(first)
    return found


def depth(scene: Scene) -> Picture:
    """How far back the chosen row hears through more and more layers."""
    context, view, qkv = scene.context, scene.view, scene.qkv
    t, look = context.t, context.look
    row, length = context.row + qkv.frame.offset, view.length or 0
    row = min(max(row, 0), qkv.m - 1)
    found = reaches(row, view.segment, length, LAYERS)
    enough = next((i + 1 for i, x in enumerate(found) if x == 0), LAYERS)
    found = found[: max(enough, min(4, LAYERS))]
    layers = list(range(1, len(found) + 1))
    end = row if qkv.causal else min(qkv.m, (row // view.segment + 1) * view.segment) - 1
    tokens = context.tokens
    said = [f"{isolated(tokens[x])} {x:,}" if tokens is not None else f"{x:,}" for x in found]
    shape = figure(look, 330, bargap=0.35)
    shape.add_trace(
        go.Bar(
            orientation="h", y=layers, base=found, x=[end + 1 - x for x in found],
            marker={"color": look.quiet, "line": {"width": 0}}, showlegend=False,
            customdata=[escaped(x) for x in said],
            hovertemplate=escaped(t("memory.axis.layers")) + " %{y}<br>%{customdata}"
            "<extra></extra>",
        )
    )  # fmt: skip
    begin = row // view.segment * view.segment
    rule = [max(0, begin - k * length) for k in layers]
    shape.add_trace(
        go.Scatter(
            x=rule, y=layers, mode="markers", name=escaped(t("memory.rule")),
            marker={"symbol": "line-ns-open", "size": 16, "color": look.ink, "line": {"width": 2}},
            hovertemplate=escaped(t("memory.rule")) + " %{x:,d}<extra></extra>",
        )
    )  # fmt: skip
    shape.add_vline(x=row, line={"color": look.accent, "width": 1.5})
    shape.update_xaxes(
        title_text=escaped(t("axis.position")),
        tickformat=",d",
        range=[-0.5, end + 0.5 + max(1, end // 20)],
    )
    shape.update_yaxes(
        title_text=escaped(t("memory.axis.layers")), autorange="reversed", dtick=1, showgrid=False
    )
    shape.update_layout(showlegend=True)
    step = -(-length // view.segment) * view.segment
    facts = {"row": row, "first": found[0], "layers": layers[-1], "last": found[-1],
             "step": step, "length": length, "segment": view.segment}  # fmt: skip
    return Picture("memory_depth", shape, facts)


def _held(scene: Scene, slots: Slots, segment: int) -> np.ndarray:
    """Slot that holds each key as a segment begins, for the chosen head, (m); −1 for none."""
    group = scene.context.head * scene.qkv.groups // scene.qkv.heads
    t = min(segment, slots.merged.shape[1])
    ways = ages.holders(slots.taken[group : group + 1], slots.merged[group : group + 1],
                        scene.view.segment)  # fmt: skip
    return array(next(islice(ways, t, None))[0])


def composition(scene: Scene, slots: Slots) -> Picture:
    """What each slot stands for as the chosen row's segment begins, and what the row gives it."""
    context, qkv = scene.context, scene.qkv
    t, look = context.t, context.look
    segment = scene.segment_of(context.row)
    held = _held(scene, slots, segment)
    past = min(segment * scene.view.segment, qkv.m)
    width = max(1, -(-past // CELLS))
    starts = np.arange(0, past, width)
    row = torch.tensor([context.row], device=qkv.device)
    here, full = (scene.weights(row, x)[0] for x in (False, True))
    at = np.arange(qkv.m)
    names = [int(c) for c in np.unique(held[held >= 0])]
    names.sort(key=lambda c: float(at[held == c].mean()))
    shares, counts, mine, theirs = [], [], [], []
    for c in names:
        member = (held == c).astype(float)
        counts.append(int(member.sum()))
        shares.append(np.add.reduceat(member[:past], starts) / member.sum())
        mine.append(float(here @ member))
        theirs.append(float(full @ member))
    y = list(range(len(names)))
    called = [t("memory.slot", number=i + 1, count=c) for i, c in enumerate(counts)]
    shape = figure(look, max(300, min(420, 120 + 22 * len(names))), bargap=0.25)
    shape.add_trace(
        go.Heatmap(
            z=[(x / x.max()).astype(np.float32) for x in shares],
            x=(starts + np.minimum(starts + width, past) - 1) / 2, y=y, zmin=0, ygap=2,
            colorscale=scale(look.weight), showscale=False,
            customdata=[x.round(4) for x in shares],
            text=[[name] * len(starts) for name in map(escaped, called)],
            hovertemplate="%{text}<br>%{x:,d}: %{customdata:.1%}<extra></extra>",
        )
    )  # fmt: skip
    for values, name, colour in (
        (mine, "memory.here", look.quiet), (theirs, "memory.full", look.faint)
    ):  # fmt: skip
        shape.add_trace(
            go.Bar(
                orientation="h", y=y, x=values, xaxis="x2", name=escaped(t(name)),
                marker={"color": colour, "line": {"width": 0}},
                customdata=[escaped(x) for x in called],
                hovertemplate="%{customdata}<br>%{x:.1%}<extra>" + escaped(t(name)) + "</extra>",
            )
        )  # fmt: skip
    few = len(names) <= 16
    shape.update_layout(
        barmode="group",
        xaxis={"domain": [0, 0.62], "title": {"text": _keys(scene, width)}, "showgrid": False,
               "tickformat": ",d", "range": [-0.5, past - 0.5]},
        xaxis2={"domain": [0.66, 1], "title": {"text": escaped(t("memory.axis.row_mass"))},
                "tickformat": ".0%", "rangemode": "tozero", "anchor": "y", "nticks": 4},
        yaxis={"autorange": "reversed", "showgrid": False,
               **({"tickvals": y, "ticktext": list(map(escaped, called))} if few
                  else {"title": {"text": escaped(t("memory.axis.slot"))}})},
    )  # fmt: skip
    facts = {"row": context.row, "segment": segment + 1, "held": int(sum(counts)),
             "slots": len(names), "mass": float(sum(mine)), "full": float(sum(theirs)),
             "largest": max(counts, default=0)}  # fmt: skip
    return Picture("memory_slots_held", shape, facts)


def drift(scene: Scene, slots: Slots) -> Picture:
    """How much the slots' keys turn as each segment is taken in."""
    context = scene.context
    t, look = context.t, context.look
    group = context.head * scene.qkv.groups // scene.qkv.heads
    cosine = array(slots.drift[group])
    held = array(slots.held[group, :-1])
    some = ~np.isnan(cosine)
    kept = some.any(1)
    at = np.flatnonzero(kept) + 1
    weight = np.where(some, held, 0)[kept]
    values = np.where(some, cosine, 0)[kept]
    mean = (weight * values).sum(1) / np.maximum(weight.sum(1), 1)
    low = np.where(some, cosine, np.inf).min(1)[kept]
    high = np.where(some, cosine, -np.inf).max(1)[kept]
    shape = figure(look, 300, hovermode="x unified")
    shape.add_trace(
        go.Scatter(
            x=[*at, *at[::-1]], y=[*high, *low[::-1]], fill="toself", mode="lines",
            line={"width": 0}, fillcolor=look.weight[2], opacity=0.6, hoverinfo="skip",
            name=escaped(t("memory.spread")),
        )
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=at, y=mean, mode="lines+markers", line={"color": look.weight[6], "width": 2},
            name=escaped(t("memory.mean")), hovertemplate="%{y:.3f}",
        )
    )  # fmt: skip
    shape.update_xaxes(
        title_text=escaped(t("memory.axis.ended")), showgrid=False, tickformat=",d",
        dtick=1 if len(at) <= 16 else None,
    )  # fmt: skip
    shape.update_yaxes(title_text=escaped(t("memory.axis.cosine")))
    facts = {"first": float(mean[0]), "last": float(mean[-1]), "least": float(low.min()),
             "count": len(at)}  # fmt: skip
    return Picture("memory_drift", shape, facts)


def text(scene: Scene) -> Picture:
    """The text by what each key is to the chosen row, or by the slot that holds it."""
    context, view, qkv = scene.context, scene.view, scene.qkv
    segment, row = scene.segment_of(context.row), context.row
    kinds = scene.kinds([row])
    counts = np.bincount(kinds, minlength=4)
    if view.slots is None:
        names = _classes(scene)[0]
        facts = {"row": row, "own": int(counts[OWN]), "kept": int(counts[KEPT]),
                 "out": int(counts[OUT])}  # fmt: skip
        order = {KEPT: 0, OWN: 1}  # in the colours of the moving window
        labels = [order.get(k, -1) for k in kinds.tolist()]
        called = [names[KEPT], names[OWN]]
        return Picture("memory_text", facts=facts, labels=labels, names=called, wide=True)
    held = _held(scene, view.slots, segment)
    at = np.arange(qkv.m)
    names = [int(c) for c in np.unique(held[held >= 0])]
    names.sort(key=lambda c: float(at[held == c].mean()))
    place = {c: i for i, c in enumerate(names)}
    labels = [place.get(c, -1) for c in held.tolist()]
    called = [
        context.t("memory.slot", number=i + 1, count=int((held == c).sum()))
        for i, c in enumerate(names)
    ]
    facts = {"row": row, "own": int(counts[OWN]), "held": int((held >= 0).sum()),
             "slots": len(names)}  # fmt: skip
    return Picture("memory_slots_text", facts=facts, labels=labels, names=called, wide=True)
