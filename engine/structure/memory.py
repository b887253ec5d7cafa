"""What a recurrent memory reaches, holds and loses, beside full attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from engine.contract import QKV
from engine.contract.views import Memory, Slots
from engine.measure import ages
from engine.runtime.cached import cached_property
from engine.runtime.devices import array
from engine.structure.shown import Shown

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
    """Sampled rows of the chosen head, and full attention's beside them."""

    view: Memory
    shown: Shown
    qkv: QKV

    @cached_property
    def rows(self) -> torch.Tensor:
        """Sampled rows that see something, (r)."""
        rows = self.view.rows.to(self.qkv.device)
        return rows[self.qkv.frame.seen(rows)[0] > 0]

    @cached_property
    def at(self) -> np.ndarray:
        """Positions of these rows on the keys' axis, (r)."""
        return array(self.rows) + self.qkv.frame.offset

    @cached_property
    def here(self) -> np.ndarray:
        """Effective weights of these rows, (r m)."""
        return array(self.shown.weights(self.rows))

    @cached_property
    def full(self) -> np.ndarray:
        """Full attention's, (r m)."""
        return array(self.shown.full().weights(self.rows)[0])

    @cached_property
    def past(self) -> np.ndarray:
        """Keys of earlier segments than the row's own, (r m)."""
        begin = self.at // self.view.segment * self.view.segment
        return np.arange(self.qkv.m) < begin[:, None]

    @cached_property
    def reached(self) -> np.ndarray:
        """Keys within the row's reach, (r m)."""
        reach = array(self.view.reach[self.rows.to(self.view.reach.device)])
        at = np.arange(self.qkv.m)
        return (at >= reach[:, :1]) & (at < reach[:, 1:])

    @cached_property
    def lost(self) -> np.ndarray:
        """Full attention's mass beyond the row's reach, (r)."""
        return (self.full * ~self.reached).sum(1)

    @cached_property
    def past_mass(self) -> tuple[np.ndarray, np.ndarray]:
        """Mass on earlier segments, here and in full attention, (r) each."""
        return (self.here * self.past).sum(1), (self.full * self.past).sum(1)

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

    @cached_property
    def parts(self) -> np.ndarray:
        """The part (segment, or neighbours together) of each of these rows, (r)."""
        return self.at // (self.view.segment * self.per)

    @cached_property
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

    def frame(self, part: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """One part's rows over stretches of `width` keys: mean mass here and in full attention,
        (2 c), and what the stretch is to them, (c)."""
        starts = np.arange(0, self.qkv.m, width)
        mine = self.parts == part
        cells = np.stack(
            [np.add.reduceat(w[mine].mean(0), starts) for w in (self.here, self.full)]
        )
        size = self.per * self.view.segment
        first = part * size - self.qkv.frame.offset
        among = range(max(first, 0), min(first + size, self.qkv.n))
        return cells, self.kinds(among)[np.minimum(starts + width // 2, self.qkv.m - 1)]

    def by_age(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean mass by how long ago, in the view's bins: here, and in full attention."""
        age = np.abs(self.at[:, None] - np.arange(self.qkv.m))
        edges = array(self.view.ages)
        bins = np.clip(np.searchsorted(edges, age, side="right") - 1, 0, len(edges) - 2).ravel()
        here, full = (
            np.bincount(bins, w.ravel(), len(edges) - 1) / len(self.at)
            for w in (self.here, self.full)
        )
        return here, full

    def between(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean mass from part to part, here and in full attention, and which pairs no row of the
        part reaches though they are past; queries' parts are `np.unique(parts)`."""
        rows = np.unique(self.parts)
        reached = np.add.reduceat(self.reached, self.key_parts, axis=1) > 0
        seen = np.stack([reached[self.parts == p].any(0) for p in rows])
        gone = ~seen & (np.arange(len(self.key_parts)) < rows[:, None])
        here, full = (
            np.stack([cells[self.parts == p].mean(0) for p in rows])
            for cells in (np.add.reduceat(w, self.key_parts, axis=1)
                          for w in (self.here, self.full))
        )  # fmt: skip
        return here, full, gone

    def held(self, slots: Slots) -> np.ndarray:
        """Slot that holds each key as the chosen row's segment begins, (m); −1 for none."""
        group = self.shown.head * self.qkv.groups // self.qkv.heads
        one = slice(group, group + 1)
        t = min(self.segment_of(self.shown.row), slots.merged.shape[1])
        ways = ages.holders(slots.taken[one], slots.merged[one], self.view.segment)
        return array(next(islice(ways, t, None))[0])

    def holdings(self, slots: Slots) -> list[Holding]:
        """What each slot holds and gets as the chosen row's segment begins, oldest keys first."""
        held, at = self.held(slots), np.arange(self.qkv.m)
        row = self.shown.here()
        here = array(self.shown.weights(row)[0])
        full = array(self.shown.full().weights(row)[0, 0])
        members = [held == slot for slot in np.unique(held[held >= 0])]
        members.sort(key=lambda member: float(at[member].mean()))
        return [Holding(x, float(here[x].sum()), float(full[x].sum())) for x in members]

    def drift(self, slots: Slots) -> Drift:
        """How much the slots' keys turn as each segment is taken in, for the chosen head."""
        group = self.shown.head * self.qkv.groups // self.qkv.heads
        cosine, held = array(slots.drift[group]), array(slots.held[group, :-1])
        some = ~np.isnan(cosine)
        kept = some.any(1)
        weight = np.where(some, held, 0)[kept]
        mean = (weight * np.where(some, cosine, 0)[kept]).sum(1)
        return Drift(
            at=np.flatnonzero(kept) + 1,
            mean=mean / np.maximum(weight.sum(1), 1),
            low=np.where(some, cosine, np.inf).min(1)[kept],
            high=np.where(some, cosine, -np.inf).max(1)[kept],
        )


@dataclass(frozen=True, eq=False)
class Holding:
    """A slot's keys, (m) True where it holds one; mass that the chosen row gives to them, here
    and in full attention."""

    keys: np.ndarray
    mass: float
    full: float


@dataclass(frozen=True, eq=False)
class Drift:
    """Cosines of slots' keys before and after segments ended, (a) each.

    Attributes:
        at: how many segments had ended. mean: weighted by the keys held. low, high: of any slot.
    """

    at: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def reaches(row: int, segment: int, memory: int, layers: int) -> list[int]:
    """First position that the row at `row` (on the keys' axis) can have heard of, by layers.

    What a row reads in memory had itself read its own segment and the memory before that.
    """
    found, first = [], row
    for _ in range(layers):
        first = max(0, first // segment * segment - memory)
        found.append(first)
    return found
