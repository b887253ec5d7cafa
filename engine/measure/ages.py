"""Mass by age: how long ago the keys were that rows attend to."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import index
from engine.contract.views import Memory, Slots
from engine.measure.attention import Attention

ROWS = 256
"""Rows that are averaged; of longer texts as many, evenly spaced."""


def sample(n: int, most: int = ROWS) -> Int[Tensor, " r"]:
    """All of n rows, or `most` of them, evenly spaced."""
    return torch.arange(n) if n <= most else ((torch.arange(most) + 0.5) * n / most).long()


def edges(m: int) -> Int[Tensor, " ages1"]:
    """Half-open bins of age for m keys: 0, 1, 2 … 3, 4 … 7, and so on in doublings."""
    doublings = max(1, (m - 1).bit_length() + 1)
    return torch.tensor([0, *(2**i for i in range(doublings))])


def by_age(
    att: Attention, rows: Int[Tensor, " r"], bins: Int[Tensor, " ages1"]
) -> Float[Tensor, "h ages"]:
    """Mean mass by tokens between query and key, over those rows that see something."""
    frame = att.frame
    inner = bins[1:].to(att.device)
    mass = torch.zeros(frame.heads, len(bins) - 1, dtype=torch.float64, device=att.device)
    for block in att.blocks(rows.to(att.device)):
        w = block.weights.double()
        at = index(block.rows, frame.n, att.device) + frame.offset
        cols = block.cols
        if not (isinstance(cols, Tensor) and cols.ndim == 3):
            cols = index(cols, frame.m, att.device)
        age = torch.bucketize((at[:, None] - cols).abs(), inner, right=True)
        age = age.clamp_max(len(bins) - 2).expand(w.shape)  # padding weighs nothing
        mass.scatter_add_(1, age.flatten(1), w.flatten(1))
    some = int((frame.seen(rows.to(att.device))[0] > 0).sum())
    return (mass / max(1, some)).float()


def memory(att: Attention, segment: int, length: int | None, slots: Slots | None = None) -> Memory:
    """The view of a memory of `length` keys before each segment; None for all that came before."""
    frame = att.frame
    at = torch.arange(frame.n, device=att.device) + frame.offset
    begin = at.div(segment, rounding_mode="floor") * segment
    stop = (at + 1 if frame.causal else begin + segment).clamp(0, frame.m)
    start = torch.zeros_like(at) if length is None else (begin - length).clamp(0, frame.m)
    rows, bins = sample(frame.n), edges(max(frame.m, frame.n))
    return Memory(
        segment=segment, length=length, reach=torch.stack([start.minimum(stop), stop], 1),
        rows=rows, ages=bins, mass=by_age(att, rows, bins), slots=slots,
    )  # fmt: skip


def holders(
    taken: Int[Tensor, "g m"], merged: Int[Tensor, "g A C"], segment: int
) -> Iterator[Int[Tensor, "g m"]]:
    """Slot that holds each key as segments 0, 1, … A begin; −1 where none does (`views.Slots`).

    One tensor, changed in place.
    """
    held = torch.full_like(taken, -1)
    yield held
    for t in range(merged.shape[1]):
        before, new = held[:, : t * segment], slice(t * segment, (t + 1) * segment)
        into = merged[:, t].gather(1, before.clamp_min(0))
        before.copy_(torch.where(before < 0, -1, into))
        held[:, new] = taken[:, new]
        yield held
