"""What stands beside the map of one head: a curve along its top, and the factors it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from itertools import islice
from math import log
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import Frame
from engine.contract.views import Bias, Erasure, Factors, Memory, Stick
from engine.measure import ages

HALF = -log(2)
DEEP, LONG = 48, 192
"""Cells that a factor is drawn with: of its rank, and along the text."""
OTHERS = 16
"""Heads whose curves are drawn behind the chosen one's."""
LEAST = 0.25
"""An erased share from which a key is pointed at."""
Row = tuple[float | None, ...]


@dataclass(frozen=True)
class Curve:
    """A share for each key, as the chosen row has it; None where it may not look.

    Attributes:
        kind: what the shares are: "bias", what distance leaves of a key's weight; "gates", what
            forgetting leaves of it; "stick", what is left when its turn comes.
        others: the same of other heads.
        half: keys away at which half is left, and from which on no nearer one has less; None
            where that is at no distance, or where distance does not decide it.
        both: keys on both sides.
    """

    kind: str
    row: int
    values: Row
    others: tuple[Row, ...] = ()
    half: int | None = None
    both: bool = False


@dataclass(frozen=True)
class Product:
    """Factors whose product is the map, pooled to what can be drawn: of the values of a cell, the
    one furthest from 0.

    Attributes:
        rank: of the product, at most. left: (n a) tall. right: (a m) wide. middle: (a a), if there
            is one between them. tall, wide, deep: queries, keys and places of the rank a cell.
    """

    rank: int
    left: tuple[tuple[float, ...], ...]
    right: tuple[tuple[float, ...], ...]
    middle: tuple[tuple[float, ...], ...] = ()
    tall: int = 1
    wide: int = 1
    deep: int = 1


@dataclass(frozen=True)
class Mark:
    """A pair that is pointed at: the share of what the key wrote that the row erases."""

    row: int
    key: int
    share: float


@singledispatch
def curve(view: Any, frame: Frame, head: int, row: int) -> Curve | None:
    """What one view says of each key of a row."""
    return None


@curve.register
def _(view: Bias, frame: Frame, head: int, row: int) -> Curve | None:
    if frame.grid is not None:
        return None
    at = row + frame.offset
    factor = by_distance(view)
    place = at - torch.arange(frame.m) - int(view.distance[0])
    known = (place >= 0) & (place < factor.shape[1]) & _seen(frame, row)
    shares = factor[:, place.clamp(0, factor.shape[1] - 1)]
    shares = torch.where(known & ~shares.isnan(), shares, torch.nan)
    others = [h for h in range(len(shares)) if h != head][:OTHERS]
    return Curve(
        "gates" if view.kind == "forgetting" else "bias", row, _row(shares[head]),
        tuple(_row(shares[h]) for h in others), halved(view, head), bool(view.distance[0] < 0),
    )  # fmt: skip


@curve.register
def _(view: Stick, frame: Frame, head: int, row: int) -> Curve:
    left = view.left(torch.tensor([row]))[head, 0].cpu()
    return Curve("stick", row, _row(torch.where(_seen(frame, row), left, torch.nan)))


def by_distance(view: Bias) -> Float[Tensor, "h k"]:
    """What position leaves of a key's weight at each distance, 1 where it leaves most."""
    value = view.value.double().cpu()
    return (value - value.nan_to_num(-torch.inf).amax(1, keepdim=True)).exp()


def halved(view: Bias, head: int) -> int | None:
    """The distance from which on at most half is left of a key, as far as it is known; None where
    some key far off keeps more, or where the nearest has less already."""
    factor, distance = by_distance(view)[head], view.distance.abs().cpu()
    more = distance[factor > 0.5]
    most = int(more.max()) if len(more) else 0
    return most + 1 if 0 < most + 1 < int(distance.max()) and bool((distance == 0).any()) else None


def product(view: Any, head: int) -> Product | None:
    """The factors of a low-rank view."""
    if not isinstance(view, Factors):
        return None
    left, *middle, right = (x.detach().float().cpu() for x in view.factors(head).values())
    for more in middle[1:]:
        middle[0] = middle[0] @ more
    deep = max(-(-x // DEEP) for x in (left.shape[1], right.shape[0]))
    tall, wide = -(-left.shape[0] // LONG), -(-right.shape[1] // LONG)
    return Product(
        view.rank, _cells(left, tall, deep), _cells(right, deep, wide),
        _cells(middle[0], deep, deep) if middle else (), tall, wide, deep,
    )  # fmt: skip


def mark(view: Any, frame: Frame, head: int, row: int) -> Mark | None:
    """What the chosen row's token erases most, where that is worth pointing at."""
    if not isinstance(view, Erasure):
        return None
    lost = view.lost(torch.tensor([row]))[head, 0].cpu()
    key = int(lost.argmax())
    return Mark(row, key, float(lost[key])) if lost[key] >= LEAST else None


def holding(view: Memory, frame: Frame, head: int, segment: int) -> Tensor:
    """Slot of each key as a segment begins, (m); −1 where none holds it."""
    assert view.slots is not None
    taken, merged = view.slots.taken, view.slots.merged
    group = head * len(taken) // frame.heads
    one = slice(group, group + 1)
    t = min(segment, merged.shape[1])
    return next(islice(ages.holders(taken[one], merged[one], view.segment), t, None))[0].clone()


def _seen(frame: Frame, row: int) -> Tensor:
    found = frame.visible(torch.tensor([row]), torch.arange(frame.m))
    return torch.ones(frame.m, dtype=torch.bool) if found is None else found[0].cpu()


def _row(x: Float[Tensor, " m"]) -> Row:
    return tuple(None if v != v else round(v, 4) for v in x.tolist())


def _cells(x: Float[Tensor, "a b"], down: int, across: int) -> tuple[tuple[float, ...], ...]:
    """Pooled by stretches; as far from 0 as any value in one."""
    for axis, width in ((0, down), (1, across)):
        if width > 1:
            parts = x.split(width, axis)
            high, low = (
                torch.stack([f(p, axis) for p in parts], axis) for f in (torch.amax, torch.amin)
            )
            x = torch.where(-low > high, low, high)
    return tuple(tuple(float(f"{v:.3g}") for v in line) for line in x.tolist())
