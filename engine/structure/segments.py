"""What segments and windows leave of full attention, and what summaries bring across."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract.views import Segments
from engine.measure.attention import Attention
from engine.measure.cells import Cells
from engine.mechanisms.window import Window
from engine.structure.shown import Shown

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
    frame, of = full.frame, of_keys(bounds)
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


def of_keys(bounds: Int[Tensor, "S 2"]) -> Int[Tensor, " m"]:
    """The segment of every key."""
    ends = bounds[:, 1].cpu().contiguous()
    return torch.bucketize(torch.arange(int(ends[-1])), ends, right=True)


def across(shown: Shown, view: Segments, together: int) -> tuple[Float[Tensor, "G G"], float]:
    """Mean mass that rows give to other segments by their summaries, neighbouring segments taken
    together, and how much that is of a row.

    A summary's weight is what its keys get; where keys are hidden, what is left of them gets.

    Raises:
        LookupError: segments are not integrated.
    """
    if view.summary is None:
        raise LookupError("these segments have no summaries")
    if shown.att.hidden_keys is None:
        found = view.summary[shown.head].float().cpu()
        return between(found, together), float(found.sum(-1).mean())
    frame, of = shown.att.frame, of_keys(view.bounds)
    label = of // together
    count = int(label[-1]) + 1
    rows = sampled(frame.n)
    at = (rows + frame.offset).clamp_min(0)
    mass = torch.zeros(count, count)
    for part, here in zip(rows.split(128), at.split(128), strict=True):
        w = shown.weights(part).float().cpu().masked_fill(of == of[here, None], 0)
        mass.index_add_(0, label[here], w.new_zeros(len(w), count).index_add_(1, label, w))
    seen = torch.bincount(label[at], minlength=count)
    return mass / seen.clamp_min(1)[:, None], float(mass.sum() / len(rows))


@dataclass(frozen=True, eq=False)
class WindowCut:
    """Full attention of one head, cut by a window; R rows were looked at.

    Attributes:
        wide: keys back from which the window's are, holes counted.
        rows: (R) which. map: pooled by the largest, at most CELLS a side.
        near, first, lost: (R) mass in the window, on sinks outside it, and on neither.
        label: (m) 0 for keys that the chosen row reads in its window, 1 for sinks, −1 for others.
        out: how many earlier keys, or, on an image, how many keys are out of its reach.
    """

    wide: int
    sinks: int
    rows: Int[Tensor, " R"]
    map: Float[Tensor, "a b"]
    near: Float[Tensor, " R"]
    first: Float[Tensor, " R"]
    lost: Float[Tensor, " R"]
    label: Int[Tensor, " m"]
    out: int


def window_cut(shown: Shown) -> WindowCut | None:
    """What a window leaves of full attention; None of another mechanism."""
    mechanism, frame = shown.mechanism, shown.att.frame
    if not isinstance(mechanism, Window) or shown.qkv is None:
        return None
    sinks = min(mechanism.sinks, frame.m)
    full = shown.full()
    rows, cols = sampled(frame.n), torch.arange(frame.m)
    reach = mechanism.pattern(shown.qkv, 0)
    near, first, whole = (torch.zeros(len(rows)) for _ in range(3))

    def each(part: slice, w: Float[Tensor, "r m"]) -> None:
        inside = reach.allows(rows[part] + frame.offset, cols)
        near[part] = (w * inside).sum(1)
        first[part] = (w * (~inside & (cols < sinks))).sum(1)
        whole[part] = w.sum(1)

    cells = pooled(full, rows, each)
    here, seen = shown.row + frame.offset, shown.seen(shown.here())[0].cpu()
    inside = reach.allows(torch.tensor([here]), cols)[0]
    label = torch.where(inside, 0, torch.where(cols < sinks, 1, -1))
    before = frame.m if frame.grid else max(0, here + 1)
    out = int((seen & (label < 0))[:before].sum())
    label = label.masked_fill(~seen, -1)
    lost = (whole - near - first).clamp_min(0)
    wide = mechanism.window * mechanism.dilation
    return WindowCut(wide, sinks, rows, cells, near, first, lost, label, out)
