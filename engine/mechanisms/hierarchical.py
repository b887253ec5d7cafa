"""Attention down a hierarchy: paragraphs, in them sentences, in them words, in them tokens.

After hierarchical attention networks (Yang et al., NAACL 2016) with dot products at every level.
Where those learn a unit's vector, its key here is the mean of its keys, size-corrected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import QKV, Block, Index, Refusal, index, param
from engine.contract.views import Levels
from engine.kernels import dense, patterns, selection
from engine.kernels.composed import Composed
from engine.kernels.rows import BLOCK
from engine.kernels.scoring import Dot
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism, visible_pairs
from engine.runtime.threads import in_order
from engine.text.tree import Tree

AGGREGATES = ("mean", "logsumexp", "max")
TILE = 2**20
"""Scores worked on at once, all heads together, so that they stay in a cache."""


@dataclass(frozen=True)
class Hierarchical(Mechanism):
    """A token's weight is the product of the shares down to it, each a softmax over siblings.

    Levels are the `levels` finest that the text has above its tokens (words; sentences;
    paragraphs), or groups of 8, 64 and 512. A unit's score, over the keys in it that the row may
    see, is the score of their mean key + ln(how many) ("mean"), the largest of their scores
    ("max"), or the logarithm of the sum of their exponentials ("logsumexp"), which makes the
    product flat softmax exactly, taken apart level by level. A mean bias is added to the score of
    a mean key. A sink joins the top level's softmax.

    `open` prunes: at each level only so many units with the largest product so far are looked
    into, and what the others had goes to them in proportion. With "mean", only opened units are
    then scored inside, which is what shortens the work: such rows can't honour a mask or a bias,
    which change scores pair by pair. Without pruning every pair is still scored.
    """

    key: ClassVar[str] = "hierarchical"
    family: ClassVar[str] = "hierarchy"
    paper: ClassVar[str] = "Yang et al., NAACL 2016"
    complexity: ClassVar[str] = "n²; pruned: n·(units + open·children)"
    blocks_at_once: ClassVar[int] = 6

    levels: int = param(3, low=1, slider=(1, 3), step=1)
    aggregate: str = param("mean", choices=AGGREGATES)
    open: int = param(0, low=0, slider=(0, 32), unit="units", step=1)

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        Dot().check(qkv)
        for name in ("mask", "bias"):
            if self.sparse and getattr(qkv, name) is not None:
                raise Refusal(
                    "hierarchical can't honour a {name} with open={open}: a unit that is "
                    "not opened has no scores pair by pair",
                    name=name,
                    open=self.open,
                )

    @property
    def sparse(self) -> bool:
        """Whether only opened units are scored inside."""
        return self.open > 0 and self.aggregate == "mean"

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        down = Down(qkv, Tree.of(qkv.frame, self.levels), self.aggregate, self.open)
        if self.aggregate == "logsumexp" and not self.open:  # the same weights by a shorter way
            return Composed(qkv, patterns.Everything(), views=lambda: down.views)
        return Opened(qkv, down.tree, self.open) if self.sparse else down

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        tree, seen = Tree.of(qkv.frame, self.levels), dense.allowed(qkv)
        z = dense.logits(qkv).masked_fill(~seen, -torch.inf)
        bias = dense.biased(qkv, torch.zeros_like(z))
        mass = None
        for level, edges in enumerate(tree.edges):
            units = [slice(*unit) for unit in pairwise(edges.tolist())]
            score = torch.stack([self._score(qkv, z, bias, seen, unit) for unit in units], -1)
            if mass is None:
                mass = dense.masked_softmax(qkv, score, torch.ones_like(score, dtype=torch.bool))
                continue
            if self.open:
                kept = mass * selection.largest(mass, self.open)
                share = kept.sum(-1, keepdim=True).clamp_min(torch.finfo(kept.dtype).tiny)
                mass = kept / share * mass.sum(-1, keepdim=True)
            below = torch.zeros_like(score)  # (h n u)
            for unit, whole in enumerate(mass.unbind(-1)):
                children = tree.parents[level - 1] == unit
                inside = score[..., children].softmax(-1).nan_to_num(0)
                below[..., children] = whole[..., None] * inside
            mass = below
        assert mass is not None
        return mass

    def _score(
        self,
        qkv: QKV,
        z: Float[Tensor, "h n m"],
        bias: Float[Tensor, "h n m"],
        seen: Bool[Tensor, "n m"],
        unit: slice,
    ) -> Float[Tensor, "h n"]:
        """A unit's score over the keys in it that each row sees, given all pairs' logits z."""
        if unit.stop - unit.start == 1 or self.aggregate == "max":
            return z[..., unit].amax(-1)
        if self.aggregate == "logsumexp":
            return z[..., unit].logsumexp(-1)
        count = seen[:, unit].sum(-1, keepdim=True).double()
        share = seen[:, unit] / count.clamp_min(1)  # (n c)
        keys = share @ dense.per_head(qkv.k, qkv)[:, unit]  # (h n d), each row's mean key
        score = (qkv.q.double() * keys).sum(-1, keepdim=True) * qkv.factor
        mean = (share * bias[..., unit]).sum(-1, keepdim=True)
        return (dense.capped(qkv, score) + mean + count.log())[..., 0]

    def flops(self, qkv: QKV) -> int:
        """As `Mechanism.flops`; pruned it is the most that it can be: units differ in size."""
        if not self.open:
            return super().flops(qkv)
        d, e = qkv.k.shape[-1], qkv.v.shape[-1]
        tree = Tree.of(qkv.frame, self.levels)
        at = (torch.arange(qkv.n) + qkv.frame.offset).clamp_max(qkv.m - 1)
        seen = at[at >= 0] if qkv.causal else torch.full((qkv.n,), qkv.m - 1)
        looked = torch.bucketize(seen, tree.edges[0][1:], right=True) + 1  # at the top level
        scored = int(looked.sum())
        for level in range(1, len(tree.names)):
            children = tree.parents[level - 1].bincount().sort(descending=True).values
            most = int(children[: self.open].sum())
            there = torch.bucketize(seen, tree.edges[level][1:], right=True) + 1
            looked = there.clamp_max(most)
            scored += int(looked.sum())
        if not self.sparse:  # all pairs have a part in their unit's score
            scored = visible_pairs(qkv)
        return 2 * qkv.heads * (scored * d + int(looked.sum()) * e)


class Down(Attention):
    """Scores of all pairs, gathered up the levels and shared out down them.

    Tensors lie as (g c R): keys first, and R = rows of all the heads that read a key head, so that
    what belongs to one unit lies in neighbouring lines.
    """

    def __init__(self, qkv: QKV, tree: Tree, aggregate: str = "mean", open: int = 0) -> None:
        super().__init__(qkv.frame, views=lambda: (self._view(),))
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
