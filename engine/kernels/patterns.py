"""Which keys a row may see: the first of a mechanism's three choices.

Positions are on the keys' axis. A pattern only narrows; causality and masks are the QKV's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from engine.contract import QKV, Frame, Grid, as_slice
from engine.kernels import hashing, selection

Span = tuple[int, int]

PAIRS = 2**22
"""Pairs that a mask is asked of at once, all heads together."""


@runtime_checkable
class Pattern(Protocol):
    """Keys by spans, and exactly by pairs.

    Attributes:
        per_head: `allows` is of all heads, (h r c), since each head has a pattern of its own.
        shifts: rows and their last span moved on alike are allowed the same pairs.
    """

    per_head: ClassVar[bool] = False
    shifts: ClassVar[bool] = False

    def head(self, h: int) -> Pattern:
        """The pattern of one head, as `allows` of a single head's QKV wants it."""
        return self

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        """Disjoint, rising spans that hold every key that rows low … high (inclusive) may see."""
        ...

    def allows(
        self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]
    ) -> Bool[Tensor, "r c"] | Bool[Tensor, "h r c"] | None:
        """Which pairs belong to the pattern; None where all do."""
        ...

    def span(self, height: int) -> int:
        """About how many keys `height` consecutive rows may see; 0 for all. Sizes the tiles."""
        ...


@dataclass(frozen=True)
class Everything(Pattern):
    """Every key."""

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        return [(0, m)]

    def allows(self, rows: Tensor, cols: Tensor) -> None:
        return None

    def span(self, height: int) -> int:
        return 0


@dataclass(frozen=True)
class Past(Pattern):
    """Every key up to the row's own, or before it, for what only ever looks back.

    Attributes:
        own: the row's own key is one of them.
    """

    own: bool = True

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        return [(0, min(m, high + self.own))]

    def allows(self, rows: Tensor, cols: Tensor) -> Tensor | None:
        if int(cols.max()) < int(rows.min()) + self.own:
            return None
        return cols < rows[:, None] + self.own

    def span(self, height: int) -> int:
        return 0


@dataclass(frozen=True)
class SlidingWindow(Pattern):
    """|i − j| < window, and the first `sinks` keys (arXiv 2004.05150, 2309.17453)."""

    window: int
    sinks: int = 0
    shifts: ClassVar[bool] = True

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        start, stop = max(0, low - self.window + 1), min(m, high + self.window)
        if self.sinks >= start:
            return [(0, min(m, max(stop, self.sinks)))]
        return [(0, self.sinks), (start, stop)] if self.sinks else [(start, stop)]

    def allows(self, rows: Tensor, cols: Tensor) -> Tensor:
        near = (rows[:, None] - cols).abs() < self.window
        return near | (cols < self.sinks) if self.sinks else near

    def span(self, height: int) -> int:
        return height + 2 * self.window + self.sinks


@dataclass(frozen=True, eq=False)
class Square(Pattern):
    """On an image: patches fewer than `window` rows and columns away, and the first `sinks` keys.

    A window of w is a square of 2w − 1 patches a side, as in neighbourhood attention (arXiv
    2204.07143), which shifts it at an edge where this cuts it.
    """

    window: int
    sinks: int
    grid: Grid

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        return [(0, m)]

    def allows(self, rows: Tensor, cols: Tensor) -> Tensor:
        return (self.grid.reach(rows, cols) < self.window) | (cols < self.sinks)

    def span(self, height: int) -> int:
        return 0


def near(frame: Frame, window: int, sinks: int = 0) -> SlidingWindow | Square:
    """The window of a frame: a band in a line, a square on an image."""
    if frame.grid is None:
        return SlidingWindow(window, sinks)
    return Square(window, sinks, frame.grid)


@dataclass(frozen=True)
class Segments(Pattern):
    """Keys of the row's own segment (blockwise attention, arXiv 1911.02972)."""

    segment: int

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        s = self.segment
        return [(min(m, low // s * s), min(m, (high // s + 1) * s))]

    def allows(self, rows: Tensor, cols: Tensor) -> Tensor:
        return (rows // self.segment)[:, None] == cols // self.segment

    def span(self, height: int) -> int:
        return height + self.segment


@dataclass(frozen=True)
class Recurrent(Pattern):
    """The row's own segment and `memory` keys before it (Transformer-XL, arXiv 1901.02860)."""

    segment: int
    memory: int

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        s = self.segment
        return [(min(m, max(0, low // s * s - self.memory)), min(m, (high // s + 1) * s))]

    def allows(self, rows: Tensor, cols: Tensor) -> Tensor:
        start = (rows // self.segment * self.segment)[:, None]
        return (cols >= start - self.memory) & (cols < start + self.segment)

    def span(self, height: int) -> int:
        return height + self.segment + self.memory


@dataclass(frozen=True)
class Strided(Pattern):
    """Every stride-th key, the row's own among them (Sparse Transformer, arXiv 1904.10509)."""

    stride: int

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        return [(0, m)]

    def allows(self, rows: Tensor, cols: Tensor) -> Tensor:
        return (rows[:, None] - cols) % self.stride == 0

    def span(self, height: int) -> int:
        return 0


@dataclass(frozen=True, eq=False)
class Clusters(Pattern):
    """Keys that share a cluster with the query (Routing Transformer, arXiv 2003.05997).

    Attributes:
        queries: (h clusters n) and keys: (h clusters m), who belongs to each cluster.
        offset: position of query 0 on the keys' axis.
    """

    queries: Bool[Tensor, "h clusters n"]
    keys: Bool[Tensor, "h clusters m"]
    offset: int = 0
    per_head: ClassVar[bool] = True

    @classmethod
    def of(cls, qkv: QKV, clusters: int, window: int, seed: int = 0) -> Clusters:
        """The `window` queries and keys nearest to each of the layer's centroids."""
        found = selection.members(qkv, selection.centroids(qkv, clusters, seed), window)
        return cls(*found, qkv.frame.offset)

    def head(self, h: int) -> Clusters:
        return Clusters(self.queries[h : h + 1], self.keys[h : h + 1], self.offset)

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        return [(0, m)]

    def allows(self, rows: Tensor, cols: Tensor) -> Tensor:
        q, k = self.queries[:, :, rows - self.offset], self.keys[:, :, cols]
        return (q.float().mT @ k.float()) > 0

    def span(self, height: int) -> int:
        return 0


@dataclass(frozen=True, eq=False)
class Blocks(Pattern):
    """Keys of the blocks that each query chose (MoBA, arXiv 2502.13189).

    Attributes:
        chosen: (h n k) block numbers, −1 as padding. block: keys in each.
        offset: position of query 0 on the keys' axis.
    """

    chosen: Int[Tensor, "h n k"]
    block: int
    offset: int = 0
    per_head: ClassVar[bool] = True

    @classmethod
    def of(cls, qkv: QKV, block: int, top_k: int, gate: selection.Gate | None = None) -> Blocks:
        """The query's own block and those whose gate is highest, `top_k` in all; the score of
        their mean key if None."""
        return cls(selection.blocks(qkv, block, top_k, gate), block, qkv.frame.offset)

    def head(self, h: int) -> Blocks:
        return Blocks(self.chosen[h : h + 1], self.block, self.offset)

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        return [(0, m)]

    def allows(self, rows: Tensor, cols: Tensor) -> Tensor:
        chosen, name = self.chosen[:, rows - self.offset], cols // self.block
        count = max(int(name.max()), int(chosen.max())) + 1
        hot = chosen.new_zeros(*chosen.shape[:2], count + 1, dtype=torch.bool)
        hot.scatter_(2, torch.where(chosen < 0, count, chosen), True)
        return hot[..., as_slice(name)]

    def span(self, height: int) -> int:
        return 0


@dataclass(frozen=True, eq=False)
class Hashed(Pattern):
    """Keys that share a bucket with the query in any round (Reformer, arXiv 2001.04451).

    Keys are sorted by (bucket, position), so that what a query looks at in one round is a range
    of places.

    Attributes:
        queries: (h R n) and keys: (g R m), the bucket of each; hidden keys have one of their own.
        order: (g R m) the key at each place. place: (g R m) the place of each key.
        low, high: (h R n) half-open range of places that a query looks at.
        own: (h n) the key that buckets don't decide on: a query's own, or the nearest visible one
            where it would find none; −1 for neither. kept: (h n) whether it is looked at.
        offset: position of query 0 on the keys' axis.
    """

    queries: Int[Tensor, "h R n"]
    keys: Int[Tensor, "g R m"]
    order: Int[Tensor, "g R m"]
    place: Int[Tensor, "g R m"]
    low: Int[Tensor, "h R n"]
    high: Int[Tensor, "h R n"]
    own: Int[Tensor, "h n"]
    kept: Bool[Tensor, "h n"]
    offset: int = 0
    per_head: ClassVar[bool] = True

    @classmethod
    def of(
        cls,
        qkv: QKV,
        buckets: int,
        rounds: int = 1,
        seed: int = 0,
        *,
        chunk: int | None = None,
        shared: bool = False,
    ) -> Hashed:
        """By hashing the layer's queries and keys; options as in `among`."""
        queries, keys = hashing.buckets_of(qkv, buckets, rounds, seed, shared)
        return cls.among(qkv, queries, keys, buckets, chunk=chunk, shared=shared)

    @classmethod
    def among(
        cls,
        qkv: QKV,
        queries: Int[Tensor, "h R n"],
        keys: Int[Tensor, "g R m"],
        buckets: int,
        *,
        chunk: int | None = None,
        shared: bool = False,
    ) -> Hashed:
        """By buckets that are known, keys in bucket number `buckets` being hidden.

        Args:
            chunk: of its bucket a query looks only at its own chunk of this many sorted keys and
                the one before. It stands at its own key, or at the last of the bucket before it.
            shared: keys are the queries (n = m); a query leaves its own out unless it's alone.
        """
        n, m, offset = qkv.n, qkv.m, qkv.frame.offset
        rep, step = qkv.heads // len(keys), n + m
        at = torch.arange(m, device=keys.device)
        codes, order = (keys * step + at).sort(-1)
        place = torch.empty_like(order).scatter_(-1, order, at.expand_as(order))
        count = keys.new_zeros(*keys.shape[:2], buckets + 1)
        count = count.scatter_add_(-1, keys, torch.ones_like(keys)).repeat_interleave(rep, 0)
        high = count.cumsum(-1).gather(-1, queries)
        low = high - count.gather(-1, queries)
        position = torch.arange(n, device=keys.device) + offset
        if chunk is not None or qkv.causal:
            mine = (queries * step + position).unflatten(0, (-1, rep)).transpose(1, 2)
            past = torch.searchsorted(codes, mine.flatten(2).contiguous(), right=True)
            past = past.unflatten(2, (rep, n)).transpose(1, 2).flatten(0, 1)
            if chunk is not None:
                start = (past - 1).maximum(low).minimum((high - 1).maximum(low)) // chunk * chunk
                low, high = low.maximum(start - chunk), high.minimum(start + chunk)
            if qkv.causal:
                high = high.minimum(past)
        visible = at >= 0 if qkv.key_mask is None else qkv.key_mask.to(at.device)
        empty = (high <= low).all(1)
        own = torch.where((position < m) & (qkv.causal or n == m), position.clamp_min(-1), -1)
        kept = (own >= 0) & visible[own]
        nearest = torch.where(visible, at, -1).cummax(0).values[position.clamp(0, m - 1)]
        if qkv.causal:
            nearest = nearest.where(position >= 0, -1)
        else:  # the first there is, where none lies before
            first = visible.int().argmax().where(visible.any(), -1)
            nearest = torch.where(nearest < 0, first, nearest)
        lost = empty & ~kept
        own = torch.where(lost, nearest, own)
        kept = torch.where(lost, nearest >= 0, kept & ((high - low <= 1).all(1) | (not shared)))
        found = cls(queries, keys, order, place.int(), low.int(), high.int(), own, kept, offset)
        return found if qkv.mask is None else found._masked(qkv)

    def _masked(self, qkv: QKV) -> Hashed:
        """With the nearest key for queries to which the mask leaves none of theirs."""
        own, kept = self.own.clone(), self.kept.clone()
        cols = torch.arange(qkv.m, device=own.device)
        rows = torch.arange(qkv.n, device=own.device)
        for part in rows.split(max(1, PAIRS // (qkv.heads * qkv.m))):
            seen, at = qkv.frame.visible(part, cols), part + self.offset
            if seen is None:
                continue
            lost = ~(self.allows(at, cols) & seen).any(-1)
            nearest = torch.where(seen & (cols <= at[:, None]), cols, -1).amax(-1)
            first = seen.int().argmax(-1).where(seen.any(-1), -1)
            nearest = torch.where(nearest < 0, first, nearest)
            own[:, part] = torch.where(lost, nearest, own[:, part])
            kept[:, part] = torch.where(lost, nearest >= 0, kept[:, part])
        return replace(self, own=own, kept=kept)

    def head(self, h: int) -> Hashed:
        g = h // (len(self.queries) // len(self.keys))
        q, k = slice(h, h + 1), slice(g, g + 1)
        return Hashed(
            self.queries[q], self.keys[k], self.order[k], self.place[k], self.low[q], self.high[q],
            self.own[q], self.kept[q], self.offset,
        )  # fmt: skip

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        return [(0, m)]

    def meets(
        self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]
    ) -> Iterator[Bool[Tensor, "h r c"]]:
        """Which pairs meet in each round; rows are query numbers."""
        rep = len(self.low) // len(self.place)
        for r in range(self.low.shape[1]):
            place = self.place[:, r, cols].repeat_interleave(rep, 0)[:, None]
            low, high = self.low[:, r, rows, None], self.high[:, r, rows, None]
            yield (place >= low) & (place < high)

    def allows(self, rows: Tensor, cols: Tensor) -> Tensor:
        rows = rows - self.offset
        seen = None
        for met in self.meets(rows, cols):
            seen = met if seen is None else seen.logical_or_(met)
        assert seen is not None
        at = self.own[:, rows, None] == cols
        return torch.where(at, self.kept[:, rows, None], seen)

    def span(self, height: int) -> int:
        return 0
