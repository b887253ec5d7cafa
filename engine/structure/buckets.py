"""What hashing lets one query read, and what of full attention it keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract.views import Buckets
from engine.kernels import hashing
from engine.kernels.composed import Composed
from engine.kernels.patterns import Hashed
from engine.measure.metrics import TOP
from engine.mechanisms.lsh import Bucketed, Lsh
from engine.runtime.cached import cached_property
from engine.runtime.devices import array
from engine.structure.shown import Shown

SAMPLED = 128
"""Queries whose full attention is compared; longer texts are sampled evenly."""
ROUNDS = (1, 2, 4, 8, 16)


def hashes(view: Buckets, shown: Shown) -> Hashes | None:
    """What hashed attention did for the chosen head; None of an attention that isn't hashed."""
    whole, mechanism = shown.att.whole, shown.mechanism
    if not isinstance(whole, Bucketed) or not isinstance(mechanism, Lsh):
        return None
    return Hashes(view, shown, whole, mechanism)


@dataclass(frozen=True, eq=False)
class Plane:
    """Keys on the axis that decided the chosen query's bucket and on the runner-up.

    Attributes:
        keys: (m 2), query: (2), at unit length on average. bucket: the query's.
        inside: (m) keys in the query's sector. mates: (m) keys in its bucket.
    """

    keys: Float[np.ndarray, "m 2"]
    query: Float[np.ndarray, " 2"]
    bucket: int
    inside: Bool[np.ndarray, " m"]
    mates: Bool[np.ndarray, " m"]


@dataclass(frozen=True, eq=False)
class Growth:
    """After each number of rounds: mass kept, share of the largest weights kept, and share of
    the visible keys that are looked at."""

    rounds: list[int]
    mass: list[float]
    recall: list[float]
    cost: list[float]


@dataclass(frozen=True, eq=False)
class Hashes:
    """Hashing of one head, with full attention of some of its queries."""

    view: Buckets
    shown: Shown
    att: Bucketed
    mechanism: Lsh

    @property
    def read(self) -> Bool[np.ndarray, " m"]:
        """Keys that the chosen query reads."""
        frame, head = self.att.frame, self.shown.head
        cols = torch.arange(frame.m, device=self.att.device)
        read = self.att.hashed.allows(self.shown.here() + frame.offset, cols)[head]
        return array((read & self.shown.seen(self.shown.here()))[0])

    @property
    def span(self) -> tuple[int, int]:
        """Places in the first round's order that the chosen query looks at, half-open."""
        h, row, hashed = self.shown.head, self.shown.row, self.att.hashed
        return int(hashed.low[h, 0, row]), int(hashed.high[h, 0, row])

    @cached_property
    def rows(self) -> Int[Tensor, " r"]:
        """Queries that are compared."""
        n = self.att.frame.n
        return torch.linspace(0, n - 1, min(n, SAMPLED), device=self.att.device).long().unique()

    @cached_property
    def full(self) -> Composed:
        """Full attention of the head; with shared_qk a token leaves itself out if it can."""
        qkv = self.att.qkv.head(self.shown.head)
        whole = Hashed.of(qkv, 1, shared=self.mechanism.shared_qk)
        return Composed(qkv, whole, self.att.scoring, self.att.normaliser)

    @cached_property
    def weights(self) -> Float[Tensor, "r m"]:
        """Full attention's, with the same keys hidden; rows sum to 1, or to 0."""
        weights = self.shown.alike(self.full).weights(self.rows)[0]
        total = weights.sum(-1, keepdim=True)
        return torch.where(total > 0, weights / total, 0)

    @cached_property
    def seen(self) -> Bool[Tensor, "r m"]:
        """Keys that full attention may look at."""
        cols = torch.arange(self.att.frame.m, device=self.att.device)
        allowed = self.full.allowed(self.rows, cols)
        seen = self.shown.seen(self.rows)
        return seen if allowed is None else seen & allowed.view_as(seen)

    def _mean(self, per_row: Tensor) -> float:
        some = self.weights.sum(-1) > 0
        return float(per_row[some].double().mean()) if some.any() else 0.0

    def by_bucket(self) -> tuple[np.ndarray, float]:
        """Mean mass that a query of bucket a gives to keys of bucket b; the share inside."""
        count, view, head = self.view.count, self.view, self.shown.head
        keys, mine = view.ids[head, 0], view.queries[head, 0, self.rows]
        some = self.weights.sum(-1) > 0
        mass = self.weights.new_zeros(len(self.rows), count + 1)
        mass.index_add_(1, torch.where(keys < 0, count, keys), self.weights)
        mass = mass[:, :count]
        table = mass.new_zeros(count, count).index_add_(0, mine[some], mass[some])
        per = torch.bincount(mine[some], minlength=count).clamp_min(1)
        return array(table / per[:, None]), self._mean(mass.gather(1, mine[:, None])[:, 0])

    def evenly(self) -> float:
        """Share of the visible keys that are in the query's bucket."""
        head = self.shown.head
        same = self.view.ids[head, 0] == self.view.queries[head, 0, self.rows, None]
        return self._mean((same & self.seen).sum(-1) / self.seen.sum(-1).clamp_min(1))

    def by_rounds(self) -> Growth:
        """What more and more rounds keep, from 1 to 16."""
        view, qkv, rows = self.view, self.full.qkv, self.rows
        at = sorted({*ROUNDS, view.rounds})
        p = Hashed.of(
            qkv, view.count, at[-1], self.mechanism.seed, chunk=view.chunk,
            shared=self.mechanism.shared_qk,
        )  # fmt: skip
        cols = torch.arange(qkv.m, device=qkv.device)
        met = (p.own[0, rows, None] == cols) & p.kept[0, rows, None] & self.seen
        top = self.weights.topk(min(TOP, qkv.m), -1)
        real = top.values > 0
        found = Growth(at, [], [], [])
        for r, meets in enumerate(p.meets(rows, cols), 1):
            met = met | (meets[0] & self.seen)
            if r not in at:
                continue
            hits = (met.gather(1, top.indices) & real).sum(-1) / real.sum(-1).clamp_min(1)
            found.mass.append(self._mean((self.weights * met).sum(-1)))
            found.recall.append(self._mean(hits))
            found.cost.append(self._mean(met.sum(-1) / self.seen.sum(-1).clamp_min(1)))
        return found

    def plane(self) -> Plane:
        """The two axes of the first round that lie nearest to the chosen query."""
        view, head, row = self.view, self.shown.head, self.shown.row
        qkv = self.full.qkv
        queries, keys = hashing.compared(qkv, self.mechanism.shared_qk, self.mechanism.centre)
        turned = view.rotations[0].to(qkv.device)
        one = queries[0, row] @ turned
        bucket = int(view.queries[head, 0, row])
        axis = bucket % turned.shape[-1]
        rest = one.abs()
        rest[axis] = -1
        rest[view.count // 2 :] = -1  # an axis without its opposite decides on one side only
        axes = [axis, int(rest.argmax())]
        signs = torch.tensor(
            [1 if bucket < turned.shape[-1] else -1, 1 if one[axes[1]] >= 0 else -1],
            device=qkv.device,
        )

        def place(x: Tensor) -> np.ndarray:
            length = x.norm(dim=-1, keepdim=True).clamp_min(1e-30) * x.shape[-1] ** 0.5
            return array(x @ turned[:, axes] * signs / length)

        at, ids = place(keys[0]), array(view.ids[head, 0])
        inside = (at[:, 0] >= np.abs(at[:, 1])) & (ids >= 0)
        return Plane(at, place(queries[0, row][None])[0], bucket, inside, ids == bucket)
