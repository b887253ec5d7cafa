"""What a mechanism's structure is on the map of one head: bands at its sides, borders, boxes, and
what stands beside it (`beside`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import Frame
from engine.contract.views import Buckets, Levels, Memory, Routing, Segments
from engine.measure.attention import Attention
from engine.structure import beside
from engine.structure.beside import Curve, Mark, Product

LONGEST = 4096
"""Rows or keys of which bands are told."""
ROUNDS = 8
"""Bands of rounds or levels, at most."""
STEPS = 2**16
"""Keys × segments of which it is told what holds each."""
STRIPES = 24
"""Into which a query's routes are told apart."""
Box = tuple[int, int, int, int]
"""Rows r0:r1 and keys c0:c1."""


@dataclass(frozen=True)
class Band:
    """Groups of queries and of keys, −1 for none; () where they have none.

    Attributes:
        rows: each query's: one, or STRIPES of them where several share it. cols: each key's.
        fades: how plain each key's is, 0 … 1; () where all are.
    """

    rows: tuple[tuple[int, ...], ...] = ()
    cols: tuple[int, ...] = ()
    fades: tuple[float, ...] = ()


@dataclass(frozen=True)
class Overlay:
    """What is drawn on and beside a head's map.

    Attributes:
        kind: what groups, borders and boxes are: "buckets", "clusters", "paths", "capsules",
            "blocks", "segments", "levels", "memory", "slots" or, with none of them, "".
        bands: one for each round of hashing, level of units, step of agreement or segment that
            the memory has taken in, else one or none.
        stacked: all bands are seen at once, the first outermost; else one at a time.
        opens: the one that is seen first.
        ordered: rows and keys may be put in the order of their groups.
        edges: by level, the coarsest first: keys at which a piece begins, without the first.
        boxes: what a piece's rows read in one place: memory, or their own segment.
        names: ids of the groups' names; () where they are numbered.
        curve, mark: of the chosen row. product: what the map is the product of.
    """

    kind: str = ""
    bands: tuple[Band, ...] = ()
    stacked: bool = False
    opens: int = 0
    ordered: bool = False
    edges: tuple[tuple[int, ...], ...] = ()
    boxes: tuple[Box, ...] = ()
    names: tuple[str, ...] = ()
    curve: Curve | None = None
    mark: Mark | None = None
    product: Product | None = None


def overlay(att: Attention, head: int, row: int = 0) -> Overlay | None:
    """The structure of one head's map, and of a row on it; None where the mechanism has none."""
    frame, own = att.frame, [of(view, att.frame, head, row) for view in att.views]
    found = next((x for x in own if x is not None), Overlay())
    if max(frame.n, frame.m) > LONGEST:
        return None if found == Overlay() else replace(found, bands=())
    for view in att.views:
        found = replace(
            found, curve=found.curve or beside.curve(view, frame, head, row),
            mark=found.mark or beside.mark(view, frame, head, row),
            product=found.product or beside.product(view, head),
        )  # fmt: skip
    return None if found == Overlay() else found


@singledispatch
def of(view: Any, frame: Frame, head: int, row: int) -> Overlay | None:
    """What one view is on the map of a head."""
    return None


@of.register
def _(view: Buckets, frame: Frame, head: int, row: int) -> Overlay:
    rounds = min(view.rounds, ROUNDS)
    bands = (Band(single(view.queries[head, r]), whole(view.ids[head, r])) for r in range(rounds))
    return Overlay("buckets", tuple(bands), ordered=True)


@of.register
def _(view: Routing, frame: Frame, head: int, row: int) -> Overlay | None:
    if view.kind == "blocks":
        return Overlay("blocks", edges=(tuple(range(view.size, frame.m, view.size)),))
    if view.probabilities is None:
        return None
    shares = view.probabilities[head]
    if view.kind != "clusters" or view.labels is None:
        steps = shares[None] if view.iterations is None else view.iterations[-ROUNDS:, head]
        bands = tuple(Band(mixture(step)) for step in steps)
        return Overlay(view.kind, bands, names=view.names, opens=len(bands) - 1)
    most, nearest = shares.max(-1)
    rows = single(torch.where(most > 0, nearest, -1))
    return Overlay(view.kind, (Band(rows, whole(view.labels[head])),), ordered=True)


@of.register
def _(view: Segments, frame: Frame, head: int, row: int) -> Overlay:
    spans = whole_pairs(view.bounds)
    boxes = tuple((*_rows(frame, a, b), a, b) for a, b in spans)
    return Overlay("segments", edges=(_starts(spans),), boxes=boxes)


@of.register
def _(view: Levels, frame: Frame, head: int, row: int) -> Overlay:
    levels = [whole_pairs(spans) for spans in list(view.units.values())[:-1]][:ROUNDS]
    bands = []
    for spans in levels:
        of_key = [-1] * frame.m
        for i, (a, b) in enumerate(spans):
            of_key[a:b] = [i] * (b - a)
        rows = of_key[frame.offset : frame.offset + frame.n] if frame.offset >= 0 else []
        bands.append(Band(tuple((unit,) for unit in rows), tuple(of_key)))
    return Overlay("levels", tuple(bands), stacked=True, edges=tuple(map(_starts, levels)))


@of.register
def _(view: Memory, frame: Frame, head: int, row: int) -> Overlay:
    starts, boxes = range(0, frame.m, view.segment), tuple(_remembered(view, frame))
    edges = (tuple(starts[1:]),)
    if view.slots is None:
        return Overlay("memory", edges=edges, boxes=boxes)
    last = view.slots.merged.shape[1]
    here = min(max(0, row + frame.offset) // view.segment, last)
    told = range(1, last + 1) if frame.m * last <= STEPS else range(here, here + bool(here))
    bands = tuple(held(beside.holding(view, frame, head, t)) for t in told)
    opens = max(0, here - 1) if len(bands) > 1 else 0
    return Overlay("slots", bands, opens=opens, edges=edges, boxes=boxes)


def held(slots: Int[Tensor, " m"]) -> Band:
    """Keys by the slot that holds them, each as plain as its part of the slot is."""
    count = torch.bincount(slots[slots >= 0], minlength=1)
    part = torch.where(slots < 0, 0, 1 / count[slots.clamp_min(0)].clamp_min(1))
    return Band(cols=whole(slots), fades=tuple(round(x, 3) for x in part.sqrt().tolist()))


def _remembered(view: Memory, frame: Frame) -> Iterator[Box]:
    """For each segment, what its rows read of those before it."""
    for start in range(0, frame.m, view.segment):
        first, last = _rows(frame, start, min(start + view.segment, frame.m))
        if first < last and (low := int(view.reach[first, 0])) < start:
            yield first, last, low, start


def _rows(frame: Frame, start: int, stop: int) -> tuple[int, int]:
    """The rows that stand where these keys do."""
    low, high = (min(max(x - frame.offset, 0), frame.n) for x in (start, stop))
    return low, high


def _starts(spans: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    return tuple(a for a, _ in spans[1:])


def single(x: Int[Tensor, " n"]) -> tuple[tuple[int, ...], ...]:
    """One group a query."""
    return tuple((i,) for i in x.tolist())


def mixture(shares: Float[Tensor, "n routes"]) -> tuple[tuple[int, ...], ...]:
    """Each query's routes side by side, as wide as their shares, in STRIPES stripes."""
    ends = shares.double().cumsum(-1)
    at = (torch.arange(STRIPES, device=shares.device) + 0.5) / STRIPES * ends[:, -1:]
    found = torch.searchsorted(ends, at, right=True).clamp_max(shares.shape[1] - 1)
    return tuple(map(tuple, torch.where(ends[:, -1:] > 0, found, -1).tolist()))


def whole(x: Int[Tensor, " k"]) -> tuple[int, ...]:
    """As whole numbers."""
    return tuple(x.tolist())


def whole_pairs(x: Int[Tensor, "k 2"]) -> tuple[tuple[int, int], ...]:
    """As pairs of whole numbers."""
    return tuple((a, b) for a, b in x.tolist())
