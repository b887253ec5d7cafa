"""What segments cut off of full attention, and what summaries bring across."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract.views import Segments
from engine.figures.attention.groups import groups
from engine.figures.attention.heatmap import heatmap
from engine.figures.attention.rows import stretches
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import Theme, Words, figure
from engine.measure.attention import Attention
from engine.measure.cells import Cells
from engine.structure.highlights import group_names
from engine.text.tokens import escaped

WHOLE = 2048
"""Queries up to which all rows of full attention are worked out."""
SAMPLE = 256
CELLS = 256
MOST_SEGMENTS = 96
"""Segments that a picture tells apart; of more, neighbours are taken together."""


def sampled(n: int) -> Int[Tensor, " r"]:
    """All rows, or, of a long text, one in the middle of each of at most SAMPLE stretches."""
    step = 1 if n <= WHOLE else -(-n // SAMPLE)
    return (torch.arange(0, n, step) + step // 2).clamp_max(n - 1)


def bounded(
    cells: Float[Tensor, "a b"],
    bounds: Int[Tensor, "S 2"],
    frame: tuple[int, int, int],
    *,
    look: Theme,
    t: Words,
) -> go.Figure:
    """Full attention with what a row of each segment sees of it outlined.

    Args:
        cells: its pooled map. bounds: the segments. frame: n, m, and where query 0 stands.
    """
    n, m, offset = frame
    xs: list[float | None] = []
    ys: list[float | None] = []
    for start, stop in bounds.tolist():
        low, high = max(0, start - offset), min(n, stop - offset)
        if low < high:
            xs += [start - 0.5, stop - 0.5, stop - 0.5, start - 0.5, start - 0.5, None]
            ys += [low - 0.5, low - 0.5, high - 0.5, high - 0.5, low - 0.5, None]
    return outlined(cells, xs, ys, (n, m), look=look, t=t)


def outlined(
    cells: Float[Tensor, "a b"],
    xs: Sequence[float | None],
    ys: Sequence[float | None],
    size: tuple[int, int],
    *,
    look: Theme,
    t: Words,
) -> go.Figure:
    """Full attention's pooled map of n queries and m keys under lines of what a row sees."""
    n, m = size
    shape = heatmap(
        cells, look=look, t=t, rows=(0, n), cols=(0, m), colour="log", pool="max", height=420
    )
    shape.layout.annotations = ()  # rows may be a sample: the caption says what cells are
    shape.add_trace(
        go.Scatter(
            x=xs, y=ys, mode="lines", line={"color": look.accent, "width": 1.5}, hoverinfo="skip",
            showlegend=False,
        )
    )  # fmt: skip
    return shape


def lost(
    at: Int[Tensor, " r"], shares: dict[str, Float[Tensor, " r"]], *, look: Theme, t: Words
) -> go.Figure:
    """Full attention's mass along the text, by how the row may still read it: adds up to all.

    Args:
        at: query positions. shares: of each, by the names of the tints.
    """
    tints = {
        "own": look.quiet, "window": look.quiet, "sinks": look.weight[6],
        "summary": look.weight[2], "lost": look.grid,
    }  # fmt: skip
    along = stretches(at[None].double().numpy())[1][0]
    shape = figure(look, 300, hovermode="x unified")
    for name, share in shares.items():
        shape.add_trace(
            go.Scatter(
                x=along, y=stretches(share[None].double().numpy())[1][0], mode="lines",
                stackgroup="all", name=escaped(t(f"segments.{name}")), line={"width": 0},
                fillcolor=tints[name], hovertemplate="%{y:.1%}",
            )
        )  # fmt: skip
    shape.update_xaxes(title_text=escaped(t("axis.position")), showgrid=False)
    shape.update_yaxes(
        title_text=escaped(t("axis.full_mass")), range=[0, 1], tickformat=".0%", nticks=5
    )
    return shape


@dataclass(frozen=True, eq=False)
class Cut:
    """Full attention of one head, cut by segments; R rows were looked at.

    Attributes:
        rows: (R) which. map: pooled by the largest, at most CELLS a side.
        kept: (R) mass inside the row's own segment. reached: (R) mass in all.
        mass: (G G) mean mass by group, neighbouring segments together. label: (m) the group of a
            key. together: segments that make a group.
    """

    rows: Int[Tensor, " R"]
    map: Float[Tensor, "a b"]
    kept: Float[Tensor, " R"]
    reached: Float[Tensor, " R"]
    mass: Float[Tensor, "G G"]
    label: Int[Tensor, " m"]
    together: int


def cut(full: Attention, bounds: Int[Tensor, "S 2"]) -> Cut:
    """What segments leave of full attention's first head."""
    frame, ends = full.frame, bounds[:, 1].cpu().contiguous()
    of = torch.bucketize(torch.arange(frame.m), ends, right=True)
    together = -(-len(bounds) // MOST_SEGMENTS)
    label = of // together
    rows = sampled(frame.n)
    at = (rows + frame.offset).clamp_min(0)
    kept, reached = torch.zeros(len(rows)), torch.zeros(len(rows))
    count = int(label.max()) + 1
    mass = torch.zeros(count, count)

    def each(part: slice, w: Float[Tensor, "r m"]) -> None:
        kept[part] = (w * (of == of[at[part], None])).sum(1)
        reached[part] = w.sum(1)
        mass.index_add_(0, label[at[part]], w.new_zeros(len(w), count).index_add_(1, label, w))

    cells = pooled(full, rows, each)
    seen = torch.bincount(label[at], minlength=count).clamp_min(1)
    return Cut(rows, cells, kept, reached, mass / seen[:, None], label, together)


def pooled(
    full: Attention, rows: Int[Tensor, " R"], each: Callable[[slice, Float[Tensor, "r m"]], None]
) -> Float[Tensor, "a b"]:
    """The map of the first head's rows, at most CELLS a side, each cell its largest weight.

    Args:
        each: told the weights of some rows after the other.
    """
    tall, wide = Cells(0, len(rows), CELLS), Cells(0, full.frame.m, CELLS)
    cells = torch.zeros(tall.count, wide.count)
    for a, b in tall.pieces(128):
        w = full.weights(rows[a:b].to(full.device))[0].float().cpu()
        each(slice(a, b), w)
        first, found = tall.reduce(wide.reduce(w, 0, -1, "max")[1], a, -2, "max")
        into = cells[first : first + len(found)]
        torch.maximum(into, found, out=into)
    return cells


def between(summary: Float[Tensor, "S S"], together: int) -> Float[Tensor, "G G"]:
    """Weight on summaries, neighbouring segments taken together: mean of rows, sum of columns."""
    of = torch.arange(len(summary)) // together
    count = int(of[-1]) + 1
    by_row = torch.zeros(count, len(summary)).index_add_(0, of, summary)
    by_row /= torch.bincount(of)[:, None]
    return torch.zeros(count, count).index_add_(1, of, by_row)


def pictures(view: Segments, context: Context) -> Iterator[Picture]:
    """Cuts over full attention, mass between segments, what rows lost, summaries."""
    frame, look, t = context.att.frame, context.look, context.t
    if context.qkv is None:
        return
    found = cut(context.full(), view.bounds)
    gone = (found.reached - found.kept).clamp_min(0)
    names = group_names(context.tokens, found.label)
    here = int(found.label[min(max(0, context.row + frame.offset), frame.m - 1)])
    notes = ""
    if len(found.rows) < frame.n:
        notes += t("segments.sampled", rows=len(found.rows), n=frame.n)
    facts = {
        "notes": notes, "count": len(view.bounds),
        "lost": float(gone.sum() / found.reached.sum().clamp_min(1e-9)),
    }  # fmt: skip
    drawn = {"names": names, "row": here, "look": look, "t": t}
    sizes = (frame.n, frame.m, frame.offset)
    yield Picture("segments_cut", bounded(found.map, view.bounds, sizes, look=look, t=t), facts)
    merged = t("segments.together", together=found.together) if found.together > 1 else ""
    yield Picture("segments_mass", groups(found.mass, **drawn), facts | {"notes": merged + notes})
    worst = int(gone.argmax())
    most = {"most": float(gone[worst]), "at": int(found.rows[worst])}
    integrated = view.summary is not None
    shares = {"own": found.kept, "summary" if integrated else "lost": gone}
    yield Picture(
        "segments_reach" if integrated else "segments_lost",
        lost(found.rows, shares, look=look, t=t),
        facts | most,
    )
    if view.summary is not None:
        weight = between(view.summary[context.head].float().cpu(), found.together)
        mean = float(view.summary[context.head].sum(-1).mean())
        yield Picture("segments_summary", groups(weight, **drawn), {"mean": mean, "notes": merged})
    if context.tokens is not None:
        ends = view.bounds[:, 1].cpu().contiguous()
        label = torch.bucketize(torch.arange(frame.m), ends, right=True)
        yield Picture("segments_text", facts=facts, labels=label.tolist(), wide=True)
