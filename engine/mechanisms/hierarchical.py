"""Attention down a hierarchy: paragraphs, in them sentences, in them words, in them tokens.

After hierarchical attention networks (Yang et al., NAACL 2016) with dot products at every level.
Where those learn a unit's vector, its key here is the mean of its keys, size-corrected.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.contract import QKV, Refusal, param
from engine.kernels import dense, patterns, selection
from engine.kernels.composed import Composed
from engine.kernels.scoring import Dot
from engine.measure.attention import Attention
from engine.mechanisms._descent import Down, Opened
from engine.mechanisms.base import Mechanism, by_pair, visible_pairs
from engine.text.tree import Tree

AGGREGATES = ("mean", "logsumexp", "max")


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
    spans: ClassVar[tuple[str, ...]] = ("open",)

    levels: int = param(3, low=1, slider=(1, 3), step=1)
    aggregate: str = param("mean", choices=AGGREGATES)
    open: int = param(0, low=0, slider=(0, 32), unit="units", step=1)

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        Dot().check(qkv)
        if self.sparse and (name := by_pair(qkv)) is not None:
            raise Refusal(
                "units that stay closed have no score for each pair, so they can't use a "
                "{name}: open all units",
                name=name,
            )

    @property
    def sparse(self) -> bool:
        """Whether only opened units are scored inside."""
        return self.open > 0 and self.aggregate == "mean"

    @property
    def formulas(self) -> tuple[str, ...]:
        return (self.aggregate, "pruned") if self.open else (self.aggregate,)

    @property
    def order(self) -> str:
        return "n·(units + open·children)" if self.sparse else "n²"

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        if (own := self.within(qkv)) is not self:
            return own.attend(qkv)
        down = Down(qkv, Tree.of(qkv.frame, self.levels), self.aggregate, self.open)
        if self.aggregate == "logsumexp" and not self.open:  # the same weights by a shorter way
            return Composed(qkv, patterns.Everything(), views=lambda _: down.views)
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
