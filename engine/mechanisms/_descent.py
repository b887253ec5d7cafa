"""Attention worked out down a tree of units: all of its scores, or the best units' alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import QKV, Block, Index, index
from engine.contract.views import Levels
from engine.kernels import patterns
from engine.kernels.composed import Composed
from engine.kernels.rows import BLOCK
from engine.measure.attention import Attention
from engine.runtime.cached import cached_property
from engine.runtime.threads import in_order
from engine.text.tree import Tree

TILE = 2**20
"""Scores worked on at once, all heads together, so that they stay in a cache."""


class Down(Attention):
    """Scores of all pairs, gathered up the levels and shared out down them.

    Tensors lie as (g c R): keys first, and R = rows of all the heads that read a key head, so that
    what belongs to one unit lies in neighbouring lines.
    """

    def __init__(self, qkv: QKV, tree: Tree, aggregate: str = "mean", open: int = 0) -> None:
        super().__init__(qkv.frame, views=lambda own: (own._view(),))
        self.qkv, self.tree, self.aggregate, self.open = qkv, tree, aggregate, open
        self.row_kind = "stochastic" if qkv.sinks is None else "substochastic"
        self.pairs = Composed(qkv, patterns.Everything())
        self.edges = [x.to(qkv.device) for x in tree.edges]
        self.parents = [x.to(qkv.device) for x in tree.parents]

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    def _fold(self, x: Float[Tensor, "g c R"], level: int, how: str) -> Float[Tensor, "g u R"]:
        """Children of one level gathered in the units above: their sum or their largest."""
        parent = self.parents[level - 1][: x.shape[1]]
        count = int(parent[-1]) + 1
        if x.is_cuda:  # in a fixed order, so that results repeat
            lengths = parent.bincount().expand(len(x), -1)
            return torch.segment_reduce(x, how, lengths=lengths, axis=1, unsafe=True)
        first = torch.arange(len(x), device=x.device)[:, None] * count
        into = (parent + first).flatten()[:, None].expand(-1, x.shape[2])
        out = x.new_full((len(x) * count, x.shape[2]), -torch.inf if how == "max" else 0.0)
        out.scatter_reduce_(0, into, x.flatten(0, 1), {"max": "amax", "sum": "sum"}[how])
        return out.unflatten(0, (len(x), count))

    def _spread(self, x: Float[Tensor, "g u R"], level: int, count: int) -> Float[Tensor, "g c R"]:
        """What a unit has, given to each of its children."""
        return x.index_select(1, self.parents[level - 1][:count])

    def _lines(self, x: Float[Tensor, "h r c"]) -> Float[Tensor, "g c R"]:
        return x.unflatten(0, (self.qkv.groups, -1)).permute(0, 3, 1, 2).flatten(2)

    def _rows(self, x: Float[Tensor, "g c R"]) -> Float[Tensor, "h r c"]:
        return (
            x.unflatten(2, (self.qkv.heads // self.qkv.groups, -1))
            .permute(0, 2, 3, 1)
            .flatten(0, 1)
        )

    def _scores(self, rows: Int[Tensor, " r"], stop: int) -> Float[Tensor, "g c R"]:
        """Scaled scores of the first `stop` keys."""
        qkv = self.qkv
        q = (qkv.q[:, rows].to(self.pairs.dtype) * qkv.factor).unflatten(0, (qkv.groups, -1))
        return qkv.k[:, :stop].to(q) @ q.flatten(1, 2).mT

    def shares(self, rows: Int[Tensor, " r"]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """The top level's shares, (g u R), and for each level below exp(score − the largest
        sibling's), (g u R), and, by the unit above, 1/(its sum over siblings).

        A row looks no further than the last key that one of these rows may see.
        """
        qkv, tree, rep = self.qkv, self.tree, self.qkv.heads // self.qkv.groups
        stop = self.frame.m
        if qkv.causal:
            stop = min(stop, max(1, int(rows.max()) + self.frame.offset + 1))
        cols = torch.arange(stop, device=self.device)
        score = self._scores(rows, stop)
        seen = self.frame.visible(rows, cols)
        hidden = None if seen is None else ~seen.mT.repeat(1, rep)
        mean = self.aggregate == "mean" and len(tree.names) > 1
        total = score.clone() if mean else score  # sums of raw scores
        if mean and hidden is not None:
            total.masked_fill_(hidden, 0)
        if (cap := qkv.softcap) is not None:
            score = score.div(cap).tanh_().mul_(cap)
        bias = None
        if qkv.bias is not None:
            bias = self._lines(qkv.bias(rows, cols).to(score))
            score = score + bias
            if hidden is not None:
                bias = bias.masked_fill(hidden, 0)
        if hidden is not None:
            score = score.masked_fill(hidden, -torch.inf)
        parts, sums = [], []
        for level in range(len(tree.names) - 1, 0, -1):
            top = self._fold(score, level, "max")
            safe = top.masked_fill(top == -torch.inf, 0)
            part = score.sub_(self._spread(safe, level, score.shape[1])).exp_()
            whole = self._fold(part, level, "sum")
            parts.append(part)
            sums.append(_up(1.0, whole))
            if self.aggregate == "max":
                score = top
            elif self.aggregate == "logsumexp":
                score = top + whole.log()
            else:
                edges = self.edges[level - 1][: top.shape[1] + 1]
                count = self.frame.cell_counts(rows, edges).mT.repeat(1, rep).to(score)
                total, some = self._fold(total, level, "sum"), count.clamp_min(1)
                score = total / some
                if cap is not None:
                    score = score.div(cap).tanh_().mul_(cap)
                if bias is not None:
                    bias = self._fold(bias, level, "sum")
                    score = score + bias / some
                score = score + count.log()
        sink = None
        if qkv.sinks is not None:
            sink = qkv.sinks.to(score).unflatten(0, (qkv.groups, rep, 1))
            sink = sink.expand(-1, -1, len(rows)).flatten(1)[:, None]
        return shared(score, sink, 1), parts[::-1], sums[::-1]

    def masses(self, rows: Int[Tensor, " r"]) -> Iterator[Float[Tensor, "g u R"]]:
        """Weight of every unit, level by level, the keys' last."""
        mass, parts, sums = self.shares(rows)
        for level, (part, one) in enumerate(zip(parts, sums, strict=True), 1):
            if self.open:
                mass = prune(mass, self.open, 1)
            yield mass
            mass = part.mul_(self._spread(mass * one, level, part.shape[1]))
        yield mass

    def _pieces(self, rows: Index | None, height: int) -> Iterator[tuple[Index, Tensor]]:
        """Rows, so many at a time, with the names that a block gives them."""
        whole = rows is None or (isinstance(rows, slice) and rows.step in (None, 1))
        for part in index(rows, self.frame.n, self.device).split(height):
            yield (slice(int(part[0]), int(part[-1]) + 1) if whole else part), part

    def _work(self, jobs: Iterator[Callable[[], None]]) -> None:
        for _ in in_order(jobs, self.device):
            pass

    def _weights(self, rows: Int[Tensor, " r"]) -> Float[Tensor, "g c R"]:
        *_, mass = self.masses(rows)
        return mass

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        height = max(1, min(512, BLOCK // (self.frame.heads * self.frame.m)))
        for name, at in self._pieces(rows, height):
            w = self._weights(at)
            yield Block(name, slice(0, w.shape[1]), self._rows(w))

    def weighted(self) -> Tensor:
        qkv = self.qkv
        out = qkv.v.new_empty(qkv.heads, qkv.n, qkv.v.shape[-1])

        def piece(head: int, one: Down, name: Index, at: Tensor) -> None:
            w = one._weights(at)
            out[head, name] = (w[0].mT @ one.qkv.v[0, : w.shape[1]].to(w)).to(out)

        height = max(1, min(512, TILE // qkv.m))  # a head at a time: long lines are quick to add
        self._work(
            partial(piece, head, one, name, at)
            for head in range(qkv.heads)
            for one in (Down(qkv.head(head), self.tree, self.aggregate, self.open),)
            for name, at in self._pieces(None, height)
        )
        return out

    def within(self, rows: Int[Tensor, " r"]) -> Mapping[str, Float[Tensor, "h r u"]]:
        """For some rows, the share of each unit in the unit above (engine.views.Levels)."""
        found, above = {}, None
        for level, mass in enumerate(self.masses(rows)):
            share = mass
            if above is not None:
                whole = self._spread(above, level, mass.shape[1])
                share = torch.where(whole > 0, mass / whole, 0)
            wide = self._rows(share)
            room = self.tree.count(level) - wide.shape[-1]
            found[self.tree.names[level]] = torch.nn.functional.pad(wide, (0, room))
            above = mass.clone()
        return found

    def _view(self) -> Levels:
        units = {name: self.tree.spans(i) for i, name in enumerate(self.tree.names)}
        return Levels(units, self.within)


def prune(mass: Tensor, keep: int, dim: int) -> Tensor:
    """Only the `keep` largest, which take over what all had, in proportion."""
    if keep >= mass.shape[dim]:
        return mass
    best = mass.topk(keep, dim)
    rise = _up(mass.sum(dim, keepdim=True), best.values.sum(dim, keepdim=True))
    return torch.zeros_like(mass).scatter_(dim, best.indices, best.values * rise)


class Opened(Down):
    """Mean keys, and only the opened units scored inside."""

    def __init__(self, qkv: QKV, tree: Tree, open: int) -> None:
        super().__init__(qkv, tree, "mean", open)
        self.head_group = torch.arange(qkv.heads, device=qkv.device) // (qkv.heads // qkv.groups)

    @cached_property
    def running(self) -> tuple[Float[Tensor, "g m1 d"], Int[Tensor, " m1"]]:
        """Sums of all keys before a position, and how many: of any stretch by a difference."""
        qkv = self.qkv
        k, one = qkv.k.double(), torch.ones(qkv.m, dtype=torch.long, device=self.device)
        if qkv.key_mask is not None:
            one = qkv.key_mask.to(self.device).long()
            k = k * one[:, None]
        pad = torch.nn.functional.pad
        return pad(k.cumsum(1), (0, 0, 1, 0)), pad(one.cumsum(0), (1, 0))

    def _mean(
        self, start: Int[Tensor, " u"], stop: Int[Tensor, " u"]
    ) -> tuple[Float[Tensor, "g u d"], Float[Tensor, " u"]]:
        """The mean key of stretches and the logarithm of how many they hold."""
        sums, counts = self.running
        count = counts[stop] - counts[start]
        mean = (sums[:, stop] - sums[:, start]) / count.clamp_min(1)[:, None]
        return mean.to(self.pairs.dtype), count.to(self.pairs.dtype).log()

    @cached_property
    def keys(self) -> list[tuple[Float[Tensor, "g u d"], Float[Tensor, " u"]]]:
        """Of every level but the lowest, the units' mean keys and their sizes' logarithms."""
        return [self._mean(x[:-1], x[1:]) for x in self.edges[:-1]]

    def _gather(self, x: Float[Tensor, "g u f"], ids: Int[Tensor, "h r c"]) -> Tensor:
        """(h r c f): for each head, what its key head has at these places."""
        place = self.head_group[:, None, None] * x.shape[1] + ids
        return x.flatten(0, 1).index_select(0, place.flatten()).view(*ids.shape, -1)

    def _scores_of(
        self, level: int, q: Float[Tensor, "h r d"], at: Int[Tensor, " r"], ids: Tensor
    ) -> Float[Tensor, "h r u"]:
        """Scores of units, (h r u) or (u) ids; −inf where the row sees nothing in them.

        The unit that a causal row stands in counts as far as the row itself.
        """
        qkv, lowest = self.qkv, level == len(self.edges) - 1
        if lowest:
            keys = qkv.k.to(q)
            visible = torch.ones(qkv.m, dtype=torch.bool, device=self.device)
            size = (visible if qkv.key_mask is None else qkv.key_mask.to(self.device)).to(q).log()
        else:
            keys, size = self.keys[level]
        if ids.ndim == 1:
            group = q.unflatten(0, (qkv.groups, -1))
            score = (group.flatten(1, 2) @ keys.mT).unflatten(1, group.shape[1:3]).flatten(0, 1)
        else:
            score = (self._gather(keys, ids) @ q[..., None])[..., 0]
        size = size[ids]
        if qkv.causal:
            edges = self.edges[level]
            if not lowest:
                own = torch.bucketize(at.clamp_min(0), edges[1:], right=True)
                key, count = self._mean(edges[own], (at + 1).clamp_min(0))
                mine = ids == own[:, None]
                score = torch.where(mine, (q * key[self.head_group]).sum(-1, True), score)
                size = torch.where(mine, count[:, None], size)
            size = size.masked_fill(edges[ids] > at[:, None], -torch.inf)
        if (cap := qkv.softcap) is not None:
            score = score.div(cap).tanh_().mul_(cap)
        return score + size

    def _look(
        self, rows: Int[Tensor, " r"]
    ) -> tuple[Int[Tensor, "h r c"], Float[Tensor, "h r c"]]:
        """The keys that these rows read, −1 as padding, and the weights."""
        qkv, r = self.qkv, len(rows)
        q = qkv.q[:, rows].to(self.pairs.dtype) * qkv.factor
        at = rows + self.frame.offset
        ids = torch.arange(self.tree.count(0), device=self.device)
        score = self._scores_of(0, q, at, ids)
        sink = None if qkv.sinks is None else qkv.sinks.to(score)[:, None, None].expand(-1, r, 1)
        mass, ids = shared(score, sink), ids.expand(score.shape)
        for level in range(1, len(self.edges)):
            if self.open < mass.shape[-1]:
                best = mass.topk(self.open, -1)
                mass = best.values * _up(mass.sum(-1, True), best.values.sum(-1, True))
                ids = ids.gather(-1, best.indices)
            first, last = self.children[level - 1]
            most = torch.arange(int((last - first).max()), device=self.device)
            parent = ids.clamp_min(0)
            below = first[parent][..., None] + most
            empty = (below >= last[parent][..., None]) | (ids < 0)[..., None]
            flat = below.masked_fill(empty, 0).flatten(2)
            score = self._scores_of(level, q, at, flat).view_as(below)
            mass = (mass[..., None] * shared(score.masked_fill(empty, -torch.inf))).flatten(2)
            ids = below.masked_fill(empty, -1).flatten(2)
        return ids, mass

    @cached_property
    def children(self) -> list[tuple[Int[Tensor, " u"], Int[Tensor, " u"]]]:
        """Of every level but the lowest, the first child of each unit and the end of its last."""
        found = []
        for outer, inner in zip(self.edges, self.edges[1:], strict=False):
            at = torch.searchsorted(inner, outer)
            found.append((at[:-1], at[1:]))
        return found

    @cached_property
    def height(self) -> int:
        """Rows worked on at once, so that what is gathered for them fits into a block."""
        qkv = self.qkv
        widest = max((int((last - first).max()) for first, last in self.children), default=1)
        gathered = self.open * widest * max(qkv.k.shape[-1], qkv.v.shape[-1])
        return max(1, min(512, BLOCK // (qkv.heads * max(gathered, self.tree.count(0)))))

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        for name, at in self._pieces(rows, self.height):
            yield Block(name, *self._look(at))

    def weighted(self) -> Tensor:
        qkv = self.qkv
        out = qkv.v.new_empty(qkv.heads, qkv.n, qkv.v.shape[-1])

        def piece(name: Index, at: Tensor) -> None:
            ids, mass = self._look(at)
            values = self._gather(qkv.v, ids.clamp_min(0)).to(mass)
            out[:, name] = (mass[..., None, :] @ values)[..., 0, :].to(out)

        self._work(partial(piece, name, at) for name, at in self._pieces(None, self.height))
        return out


def shared(score: Tensor, more: Tensor | None = None, dim: int = -1) -> Tensor:
    """Softmax over one axis, zeros where nothing is seen; `more` joins the sum only."""
    top = score.amax(dim, keepdim=True)
    if more is not None:
        top = torch.maximum(top, more)
    top = top.masked_fill(top == -torch.inf, 0)
    part = (score - top).exp()
    whole = part.sum(dim, keepdim=True)
    return part * _up(1.0, whole if more is None else whole + (more - top).exp())


def _up(whole: Tensor | float, part: Tensor) -> Tensor:
    """whole / part, 0 where the part is nothing."""
    return torch.where(part > 0, whole / part, 0)
