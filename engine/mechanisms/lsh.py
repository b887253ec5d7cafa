"""Attention inside hash buckets (Reformer, arXiv 2001.04451)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import QKV, Block, Index, Refusal, index, param
from engine.contract.views import Buckets
from engine.kernels import dense, hashing
from engine.kernels.composed import Composed
from engine.kernels.keytiles import floor_of
from engine.kernels.online import NOTHING
from engine.kernels.patterns import Hashed
from engine.kernels.rows import BLOCK
from engine.kernels.scoring import Dot
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism, numbers, visible_pairs
from engine.runtime.threads import alone, in_order

DENSE = 0.125
"""Share of all keys from which a row's candidates are not gathered but scored among all."""
AREA = 2**18
"""Scores that one thread of the output works on at once; on a GPU, 2⁶ times as many."""


@dataclass(frozen=True)
class Lsh(Mechanism):
    """Softmax over the keys that fall into the query's bucket in any of some rounds of hashing.

    Queries and keys are hashed each less its mean; a pair that meets in several rounds counts
    once, so that rounds add keys and never weight. A query also looks at its own position
    (with as many queries as keys, or causally) or, where it finds no key at all, at the nearest
    visible one. With scope "chunk" a query keeps to its own chunk of the sorted keys and the one
    before, and to its bucket (the paper's P_i inside its P̃_i); no chunk looks back past the
    first. With shared_qk keys are the queries at unit length, and a token looks at itself only
    if it finds no other; a model trained so brings a centre for each head, which is taken from its
    queries in place of their mean, so that the text to come has no part in the hash. What a mask
    or a bias says of pairs is asked of all of them, at n² cost.
    """

    key: ClassVar[str] = "lsh"
    family: ClassVar[str] = "hashing"
    paper: ClassVar[str] = "arXiv 2001.04451"
    complexity: ClassVar[str] = "rounds·n·(buckets + n/buckets + log n)"
    grows: ClassVar[str] = "rounds"
    groups: ClassVar[str] = "buckets"
    beside_full: ClassVar[int] = 2
    selection_causal: ClassVar[bool] = False  # the mean, and where chunks begin, are of all keys

    scope: str = param("bucket", choices=("bucket", "chunk"))
    buckets: int = param(16, low=1, high=4096, slider=(1, 128), log=True)
    rounds: int = param(4, low=1, high=32, slider=(1, 16))
    chunk: int = param(64, low=1, slider=(8, 512), unit="tokens", log=True)
    shared_qk: bool = param(False)
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        if not self.shared_qk:
            Dot().check(qkv)
        if self.shared_qk and qkv.n != qkv.m:
            raise Refusal(
                "hashing with shared queries and keys needs as many queries as keys, not {n} and "
                "{m}",
                n=qkv.n,
                m=qkv.m,
            )
        if self.shared_qk and qkv.mask is not None:
            raise Refusal(
                "hashing with one vector for query and key can't use a mask: a token reads itself "
                "only where it finds no other"
            )

    def _given(self, qkv: QKV) -> QKV:
        """What is scored: with shared_qk, keys are the queries at unit length."""
        if not self.shared_qk:
            return qkv
        keys = F.normalize(qkv.q.double(), dim=-1).to(qkv.dtype)
        return qkv.replace(k=keys, v=qkv.v.repeat_interleave(qkv.heads // qkv.groups, 0))

    def _hash(self, qkv: QKV) -> Hashed:
        ids = self._ids(qkv)
        chunk = self.chunk if self.scope == "chunk" else None
        among = partial(Hashed.among, shared=self.shared_qk, chunk=chunk)
        return alone(lambda: among(qkv, *ids, self.buckets), qkv.device)

    def _ids(self, qkv: QKV) -> tuple[Int[Tensor, "h R n"], Int[Tensor, "g R m"]]:
        return hashing.buckets_of(
            qkv, self.buckets, self.rounds, self.seed, self.shared_qk, self.centre
        )

    @property
    def centre(self) -> Float[Tensor, "h d"] | None:
        """What is taken from shared queries before they are hashed; None for their mean."""
        return None if self.learned is None else self.learned.weights.get("centre")

    def takes(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return {"centre": (qkv.heads, qkv.q.shape[-1])} if self.shared_qk else {}

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        """No centre: the paper hashes vectors as they are."""
        return {"centre": torch.zeros(heads, width)} if self.shared_qk else {}

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        given = self._given(qkv)
        pattern = self._hash(given)

        def views(_: object) -> tuple[Buckets]:
            rep = given.heads // given.groups
            hidden = pattern.keys == self.buckets
            return (
                Buckets(
                    ids=pattern.keys.masked_fill(hidden, -1).repeat_interleave(rep, 0),
                    rounds=self.rounds,
                    count=self.buckets,
                    queries=pattern.queries,
                    order=pattern.order.repeat_interleave(rep, 0),
                    chunk=self.chunk if self.scope == "chunk" else None,
                    rotations=hashing.rotations(
                        given.q.shape[-1], self.buckets, self.rounds, self.seed
                    ),
                ),
            )

        return Bucketed(given, pattern, views=views)

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        given = self._given(qkv)
        return dense.softmax(given, pattern=self.reach(given))

    def reach(self, qkv: QKV) -> Bool[Tensor, "h n m"]:
        """Pairs that meet in any round, and what a query looks at besides, in the open."""
        queries, keys = self._ids(qkv)
        keys = keys.repeat_interleave(qkv.heads // len(keys), 0)  # (h R m)
        at, cols = dense.positions(qkv)
        seen = dense.allowed(qkv)
        pairs = torch.zeros(qkv.heads, qkv.n, qkv.m, dtype=torch.bool, device=qkv.device)
        for query, key in zip(queries.unbind(1), keys.unbind(1), strict=True):
            met = query[..., None] == key[:, None]  # (h n m)
            if self.scope == "chunk":
                # places by bucket and position; a query stands at the last key of its bucket
                # that is not after it, or else at the first
                place = key.argsort(stable=True).argsort()[:, None]  # (h 1 m)
                last = torch.where(met & (cols <= at), place, -1).amax(-1, keepdim=True)
                first = torch.where(met, place, qkv.m).amin(-1, keepdim=True)
                back = torch.where(last < 0, first, last) // self.chunk - place // self.chunk
                met &= (back == 0) | (back == 1)
            pairs |= met
        pairs &= seen
        own = (at == cols) & seen & (qkv.causal or qkv.n == qkv.m)
        # amax of truths is their any, and several times as fast
        if self.shared_qk:  # itself only if it finds no other
            pairs &= ~own
            pairs |= own & ~pairs.amax(-1, keepdim=True)
        else:
            pairs |= own
        # the nearest before a query that finds nothing, or else the first
        before = torch.where(seen & (cols <= at), cols, -1).amax(-1, keepdim=True)
        nearest = torch.where(before < 0, seen.int().argmax(-1, keepdim=True), before)
        return pairs | (~pairs.amax(-1, keepdim=True) & (cols == nearest) & seen)

    @property
    def selects(self) -> bool:
        return True

    @property
    def idle(self) -> tuple[str, ...]:
        return ("chunk",) if self.scope == "bucket" else ()

    @property
    def formulas(self) -> tuple[str, ...]:
        chunks = "chunk" if self.scope == "chunk" else ""
        return (chunks, "shared_qk") if self.shared_qk else (chunks,)

    @property
    def order(self) -> str:
        """Hashing first: products with half as many axes as there are buckets."""
        at = "chunk" if self.scope == "chunk" else "n/buckets"
        return f"rounds·n·(buckets + {at} + log n)"

    def shown(self, qkv: QKV) -> int:
        return self.pairs(qkv)

    def pairs(self, qkv: QKV) -> int:
        """What all rounds look at, in the mean over hashes that fill the buckets evenly.

        One bucket that holds more than its share, as trained keys make it, costs more.
        """
        share = visible_pairs(qkv) / self.buckets
        if self.scope == "chunk":
            share = min(share, qkv.n * _in_reach(qkv.m / self.buckets, self.chunk, qkv.causal))
        if self.shared_qk:  # a token is always in its own bucket
            return round(self.rounds * (share + qkv.n * (1 - 1 / self.buckets)))
        own = min(qkv.n, qkv.m) if qkv.causal or qkv.n == qkv.m else 0
        return round(self.rounds * share) + own

    def held(self, qkv: QKV) -> int:
        """What each round says of each query and key, its axes, and keys and values by head."""
        axes = 2 * self.rounds * qkv.q.shape[-1] * -(-self.buckets // 2)
        said = 64 * self.rounds * qkv.heads * (qkv.n + qkv.m)
        return said + 8 * (axes + numbers(qkv))

    def flops(self, qkv: QKV) -> int:
        """Products in the hash, and two a pair that a round looks at or that is its own."""
        axes = -(-self.buckets // 2)
        hashes = qkv.heads * qkv.n + (0 if self.shared_qk else qkv.groups * qkv.m)
        return super().flops(qkv) + 2 * hashes * self.rounds * axes * qkv.q.shape[-1]


def _in_reach(bucket: float, chunk: int, causal: bool) -> float:
    """Keys of a bucket in a query's own chunk and the one before, in the mean over places.

    A key `back` places before the query is in reach if the query's place in its chunk is at least
    back − chunk; one ahead, if there is as much left of the chunk.
    """
    most = ceil(min(bucket, 2 * chunk))
    back = torch.arange(0 if causal else 1 - most, most, dtype=torch.float64)
    reach = torch.where(back < 0, chunk + back, 2 * chunk - back).clamp(0, chunk) / chunk
    return float((reach * (bucket - back.abs()).clamp_min(0)).sum() / bucket)


class Bucketed(Composed):
    """Softmax over hashed keys, worked out among sorted keys."""

    def __init__(self, qkv: QKV, pattern: Hashed, **more) -> None:
        super().__init__(qkv, pattern, **more)
        self.hashed = pattern
        self.rep = qkv.heads // qkv.groups
        self.pairwise = qkv.mask is not None or qkv.bias is not None

    @property
    def scored(self) -> int:
        """What all rounds look at, and each query's own, in the buckets as they are filled."""
        return int((self.hashed.high - self.hashed.low).sum()) + int(self.hashed.kept.sum())

    def weighted(self) -> Tensor:
        if self.pairwise:
            return super().weighted()
        qkv, p, device = self.qkv, self.hashed, self.device
        q = (qkv.q.to(self.dtype) * qkv.factor).contiguous()
        k, v = qkv.k.to(self.dtype).contiguous(), qkv.v.to(self.dtype).contiguous()
        # what buckets don't decide on comes first; each round adds what no round before it saw
        head = torch.arange(qkv.heads, device=device)[:, None]
        most = self._capped((q * k[head // self.rep, p.own]).sum(-1)).where(p.kept, NOTHING)
        total = p.kept.to(self.dtype)
        acc = v[head // self.rep, p.own] * total[..., None]
        step = max(1, min(qkv.heads, AREA // (qkv.n * self._rows())))
        pieces = [
            (slice(a, min(a + step, qkv.heads)), r)
            for a in range(0, qkv.heads, step)
            for r in range(p.low.shape[1])
        ]
        jobs = (partial(self._round, q, k, v, heads, r) for heads, r in pieces)
        heads_of = iter(pieces)

        def take(found: tuple[Tensor, Tensor, Tensor]) -> None:
            (heads, _), (top, part, out) = next(heads_of), found
            new = torch.maximum(most[heads], top)
            fade, rise = (most[heads] - new).exp_(), (top - new).exp_()
            most[heads] = new
            total[heads] = total[heads].mul_(fade).add_(part * rise)
            acc[heads].mul_(fade[..., None]).add_(out.mul_(rise[..., None]))

        for _ in in_order(jobs, device, take):
            pass
        some = most > NOTHING / 2
        own = torch.where(some, most + total.log(), -torch.inf)
        lse = own if qkv.sinks is None else own.logaddexp(qkv.sinks.to(own)[:, None])
        scale = torch.where(some, (most - lse).exp(), 0)
        return (acc * scale[..., None]).to(qkv.dtype)

    def _capped(self, scores: Tensor) -> Tensor:
        cap = self.qkv.softcap
        return scores if cap is None else scores.div_(cap).tanh_().mul_(cap)

    def _rows(self) -> int:
        """Queries of a tile: about half as many as they look at keys."""
        p = self.hashed
        usual = int((p.high - p.low).sum()) // (2 * p.low.numel()) + 1
        return min(128, max(16, 1 << (usual - 1).bit_length()))

    def _round(
        self, q: Tensor, k: Tensor, v: Tensor, heads: slice, r: int
    ) -> tuple[Float[Tensor, "h n"], Float[Tensor, "h n"], Float[Tensor, "h n e"]]:
        """What one round adds: the largest score, Σe, and Σev relative to it.

        Queries in the order of their buckets are cut into tiles; a tile's keys are the span of
        places that its queries look at. Tiles go together with those of about their width.
        """
        p, size, device = self.hashed, self._rows(), self.device
        (h, n), m = p.low[heads, r].shape, p.place.shape[-1]
        turn = p.queries[heads, r].sort(stable=True).indices
        last = turn[:, -1:].expand(-1, -n % size)
        turn = torch.cat([turn, last], 1)  # the last tile is filled with the last query

        def by_tile(x: Tensor) -> Tensor:
            return x[heads].gather(1, turn).view(-1, size, 1)

        low, high = by_tile(p.low[:, r]), by_tile(p.high[:, r])
        earlier = [(s, by_tile(p.low[:, s]), by_tile(p.high[:, s])) for s in range(r)]
        own = by_tile(p.own)
        head = torch.arange(h, device=device).repeat_interleave(len(low) // h)
        key_head = (head + heads.start) // self.rep
        into = head[:, None] * n + turn.view(-1, size)
        into.view(h, -1)[:, n:] = h * n  # and what it finds goes to a row of its own
        begin = low.amin((1, 2))
        width, order = (high.amax((1, 2)) - begin).sort(descending=True)
        widths = width.tolist()
        most = q.new_full((h * n + 1,), NOTHING)
        total, out = q.new_zeros(h * n + 1), q.new_zeros(h * n + 1, v.shape[-1])
        area = AREA if device.type == "cpu" else AREA << 6
        a = 0
        while a < len(widths) and widths[a]:
            wide = widths[a]
            b = min(a + max(1, area // (size * wide)), len(widths))
            b = a + sum(w * 4 >= wide * 3 for w in widths[a:b])
            t, a = order[a:b], b
            group = key_head[t][:, None]
            at = begin[t][:, None] + torch.arange(wide, dtype=torch.int32, device=device)
            cols = p.order[group, r, at.clamp_max(m - 1)]
            from_, to = (group * m + cols).flatten(), into[t].flatten()
            rows = (head[t] + heads.start)[:, None] * n + turn.view(-1, size)[t]
            queries = q.flatten(0, 1).index_select(0, rows.flatten()).view(len(t), size, -1)
            keys = k.flatten(0, 1).index_select(0, from_).view(len(t), wide, -1)
            values = v.flatten(0, 1).index_select(0, from_).view(len(t), wide, -1)
            e = self._capped(torch.bmm(queries, keys.mT))
            at = at[:, None]
            hide = (at < low[t]) | (at >= high[t]) | (cols[:, None] == own[t])
            for s, first, stop in earlier:
                there = p.place[group, s, cols][:, None]
                hide |= (there >= first[t]) & (there < stop[t])
            e.masked_fill_(hide, NOTHING)
            top = e.amax(-1, keepdim=True)
            e.sub_(top).clamp_min_(floor_of(self.dtype)).exp_()
            most[to], total[to] = top.flatten(), e.sum(-1).flatten()
            out.index_copy_(0, to, torch.bmm(e, values).flatten(0, 1))
        most, total, out = (x[:-1].unflatten(0, (h, n)) for x in (most, total, out))
        return most, total, out

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        p, frame, device = self.hashed, self.frame, self.device
        if isinstance(rows, slice) and rows.step not in (None, 1):
            rows = index(rows, frame.n, device)
        at = index(rows, frame.n, device)
        each = (p.high - p.low).amax((0, 2)).tolist()  # the widest range of each round
        wide = sum(each) + 1
        if self.pairwise or wide >= DENSE * frame.m:
            yield from super().blocks(rows)
            return
        qkv, h = self.qkv, frame.heads
        group = (torch.arange(h, device=device) // self.rep)[:, None, None]
        height = max(1, BLOCK // (h * wide))
        fits = max(1, BLOCK // (h * wide * qkv.k.shape[-1]))
        for part in at.split(height):
            own = p.own[:, part, None]
            cols = [own.where(p.kept[:, part, None], -1)]
            for r, width in enumerate(each):
                place = p.low[:, r, part, None] + torch.arange(width, device=device)
                there = p.order[group, r, place.clamp_max(frame.m - 1)]
                seen = (place < p.high[:, r, part, None]) & (there != own)
                for s in range(r):
                    before = p.place[group, s, there]
                    low, high = p.low[:, s, part, None], p.high[:, s, part, None]
                    seen &= (before < low) | (before >= high)
                cols.append(there.where(seen, -1))
            cols = torch.cat(cols, -1)
            logits = []
            for i in torch.arange(len(part), device=device).split(fits):
                keys = qkv.k[group, cols[:, i].clamp_min(0)].to(self.dtype)
                queries = qkv.q[:, part[i]].to(self.dtype) * qkv.factor
                logits.append((keys @ queries[..., None])[..., 0])
            logits = self._capped(torch.cat(logits, 1))
            weights = self.normaliser.weights(
                logits, cols >= 0, qkv.sinks, frame.seen(part)[0]
            )  # fmt: skip
            name = part if isinstance(rows, Tensor) else slice(int(part[0]), int(part[-1]) + 1)
            yield Block(name, cols, weights)
