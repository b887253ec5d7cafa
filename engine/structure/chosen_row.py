"""What a first look at the chosen row shows: the row before and after, and what slots hold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from engine.contract.views import Memory
from engine.structure import beside
from engine.structure.shown import Shown

BARS = 160
"""Of a longer row a bar stands for several keys: of their weights, the one furthest from 0."""


@dataclass(frozen=True)
class Bars:
    """A row under the mechanism and under full attention.

    Attributes:
        after, before: bars of each. top: the longest. weights: (m) of the row, full: attention's.
        most_after, most_before: the key with the largest weight of each.
    """

    after: tuple[float, ...]
    before: tuple[float, ...]
    top: float
    weights: Float[Tensor, " m"]
    full: Float[Tensor, " m"]

    @property
    def most_after(self) -> int:
        return int(self.weights.argmax())

    @property
    def most_before(self) -> int:
        return int(self.full.argmax())


def bars(weights: Float[Tensor, " m"], full: Float[Tensor, " m"]) -> Bars:
    """Both rows, on one scale."""
    step = -(-len(weights) // BARS)

    def pooled(x: Tensor) -> tuple[float, ...]:
        parts = pad(x, (0, -len(x) % step)).view(-1, step)
        return tuple(parts.gather(1, parts.abs().argmax(1, keepdim=True))[:, 0].tolist())

    after, before = pooled(weights), pooled(full)
    top = max(map(abs, (*after, *before)))
    return Bars(after, before, top or 1.0, weights, full)


@dataclass(frozen=True)
class Slot:
    """A slot, the keys that it stands for, and its share of the chosen row."""

    slot: int
    keys: tuple[int, ...]
    share: float


def slots(shown: Shown) -> tuple[Slot, ...]:
    """What the memory's slots hold as the chosen row's segment begins, the largest share first;
    none where it keeps no slots or they are empty."""
    view = next((x for x in shown.att.views if isinstance(x, Memory) and x.slots), None)
    if view is None:
        return ()
    segment = max(0, shown.row + shown.att.frame.offset) // view.segment
    held = beside.holding(view, shown.att.frame, shown.head, segment).cpu()
    weights = shown.weights(shown.here())[0].cpu()
    found = [
        Slot(
            slot, tuple(torch.where(held == slot)[0].tolist()), float(weights[held == slot].sum())
        )
        for slot in held[held >= 0].unique().tolist()
    ]
    return tuple(sorted(found, key=lambda slot: -slot.share))
