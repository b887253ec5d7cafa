"""Blocks that are reached by their landmarks (landmark attention, arXiv 2305.16300)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import Parameter

from engine.contract import QKV, Refusal, Steps, param
from engine.contract.views import Levels
from engine.kernels import dense, needle, patterns, selection
from engine.kernels.composed import Composed
from engine.kernels.needle import Numbers
from engine.kernels.patterns import Span
from engine.kernels.scoring import Dot
from engine.mechanisms.base import Mechanism, by_pair, numbers
from engine.runtime.cached import cached_property
from engine.text.tree import Tree


@dataclass(frozen=True)
class Landmark(Mechanism):
    """One softmax over the keys of the row's own block and the landmarks of the others; what a
    landmark gets is shared out in its block by a softmax of the block's own.

    In the paper a landmark is a token of its own after each block, whose key is trained to say
    whether the block is worth reading. A model that was not trained so has none: its place takes
    the block's mean key, and ln(how many keys) is added, so that equal keys get equal weights
    ("mean"); or the logarithm of the sum of their exponentials ("logsumexp"), with which nothing
    but softmax is computed, taken apart. A model trained this way brings what is added to the
    mean key's score, a number for each head.

    `top_k` reads only so many blocks besides the row's own, those with the highest landmarks, as
    the paper does on long texts; 0 reads all. Every pair is scored here all the same. Causally a
    block is reached by its landmark once the row's own block is a later one; otherwise blocks on
    both sides are (ours).

    Sinks join the landmarks' softmax. Masks of pairs and biases are refused.
    """

    key: ClassVar[str] = "landmark"
    family: ClassVar[str] = "hierarchy"
    paper: ClassVar[str] = "arXiv 2305.16300"
    complexity: ClassVar[str] = "n²"
    grows: ClassVar[str] = "top_k"
    sizes: ClassVar[tuple[str, ...]] = ("block",)
    spans: ClassVar[tuple[str, ...]] = ("block", "top_k")
    blocks_at_once: ClassVar[int] = 6

    block: int = param(32, low=1, slider=(4, 128), unit="tokens", log=True)
    aggregate: str = param("mean", choices=("mean", "logsumexp"))
    top_k: int = param(0, low=0, slider=(0, 32), unit="blocks")

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        Dot().check(qkv)
        if (name := by_pair(qkv)) is not None:
            raise Refusal(
                "{key} can't use {name}: its landmarks stand at no one position",
                key=self.called, name=name,
            )  # fmt: skip

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        return Chunks(qkv, self.within(qkv))

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        at, cols = dense.positions(qkv)
        z, seen, own = dense.logits(qkv), dense.allowed(qkv), at // self.block  # (n 1)
        count = -(-qkv.m // self.block)
        inside = torch.zeros_like(z)
        marks = torch.full_like(z[..., :1], -torch.inf).repeat(1, 1, count)
        for b in range(count):
            keys = slice(b * self.block, (b + 1) * self.block)
            there = dense.visible(qkv)[keys].double()
            inside[..., keys] = z[..., keys].masked_fill(~seen[:, keys], -torch.inf).softmax(-1)
            if self.aggregate == "logsumexp":
                mark = (z[..., keys] + there.log()).logsumexp(-1)
            else:
                mean = there @ dense.per_head(qkv.k, qkv)[:, keys] / there.sum().clamp_min(1)
                score = (qkv.q.double() * mean[:, None]).sum(-1, keepdim=True) * qkv.factor
                added = self.added(qkv)
                more = there.sum().log() if added is None else added.double()[:, None]
                mark = dense.capped(qkv, score)[..., 0] + more
            reached = (b < own if qkv.causal else b != own) & (there.sum() > 0)
            marks[..., b] = mark.masked_fill(~reached[:, 0], -torch.inf)
        if self.top_k:
            marks = marks.masked_fill(~selection.largest(marks, self.top_k), -torch.inf)
        near = seen & (cols // self.block == own)
        both = torch.cat([marks, z.masked_fill(~near, -torch.inf)], -1)
        w = dense.masked_softmax(qkv, both, torch.ones_like(both, dtype=torch.bool))
        far = w[..., :count].repeat_interleave(self.block, -1)[..., : qkv.m]
        return far * inside.nan_to_num(0) + w[..., count:]

    def added(self, qkv: QKV) -> Float[Tensor, " h"] | None:
        """What training found to add to the mean key's score; None for ln(how many)."""
        found = None if self.learned is None else self.learned.weights.get("bias")
        return found if found is None else found.to(qkv.device)

    def takes(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return {"bias": (qkv.heads,)} if self.aggregate == "mean" else {}

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        """Blocks count as their size."""
        if self.aggregate != "mean":
            return {}
        return {"bias": Parameter(torch.full((heads,), log(self.block)))}

    @property
    def formulas(self) -> tuple[str, ...]:
        return ("", self.aggregate)

    @property
    def selects(self) -> bool:
        return self.top_k > 0

    def needle_mass(self, n: ArrayLike, gap: ArrayLike) -> Numbers | None:
        """Softmax's, where that is computed; with mean keys it depends on the place."""
        if self.aggregate == "mean" or self.top_k:
            return None
        return needle.needle_mass(n, gap)

    def held(self, qkv: QKV) -> int:
        """Keys in float64, and landmarks."""
        return 8 * numbers(qkv)

    def flops(self, qkv: QKV) -> int:
        """Pairs, and the mean keys' scores."""
        marks = qkv.n * -(-qkv.m // self.block) if self.aggregate == "mean" else 0
        return super().flops(qkv) + 2 * qkv.heads * marks * qkv.k.shape[-1]


class Chunks(Composed):
    """Rows shared out over blocks, and inside each."""

    def __init__(self, qkv: QKV, mechanism: Landmark) -> None:
        super().__init__(qkv, patterns.Everything(), views=lambda own: (own._view(),))
        self.mechanism, self.block = mechanism, mechanism.block
        self.count = -(-qkv.m // self.block)
        self.per = selection.held(qkv, self.block)  # visible keys of each

    @property
    def streams(self) -> bool:
        """A row is no one softmax."""
        return False

    def spans(self, rows: Int[Tensor, " r"]) -> list[Span]:
        """From the first key on, as blocks are."""
        return [(0, max(b for _, b in super().spans(rows)))]

    @cached_property
    def means(self) -> Float[Tensor, "g d b"]:
        """Each block's mean key, times the scale, in float64: on it hangs which ones are read."""
        k = self.qkv.k.double()
        if self.qkv.key_mask is not None:
            k = k * self.qkv.key_mask.to(k)[:, None]
        whole = F.pad(k, (0, 0, 0, -self.qkv.m % self.block)).unflatten(1, (-1, self.block))
        return (whole.sum(2) / self.per.clamp_min(1)[:, None] * self.qkv.factor).mT

    def marks(
        self, rows: Int[Tensor, " r"], sums: Float[Tensor, "h r b"]
    ) -> Float[Tensor, "h r b"]:
        """What blocks compete with for a row: their landmarks, −∞ where these are not read; the
        own one with what its tokens sum up to.

        Args:
            sums: log-sum-exps of what the row sees of each of the first b blocks.
        """
        qkv, count = self.qkv, sums.shape[-1]
        own = (rows + self.frame.offset).div(self.block, rounding_mode="floor")[:, None]
        name = torch.arange(count, device=rows.device)
        found = sums
        if self.mechanism.aggregate == "mean":
            q = qkv.q[:, rows].double().unflatten(0, (qkv.groups, -1))
            found = (q @ self.means[:, None, :, :count]).flatten(0, 1)
            if qkv.softcap is not None:
                found = found.div_(qkv.softcap).tanh_().mul_(qkv.softcap)
            added = self.mechanism.added(qkv)
            found = found + (self.per[:count].log() if added is None else added[:, None, None])
        reached = ((name < own) if qkv.causal else (name != own)) & (self.per[:count] > 0)
        found = found.masked_fill(~reached, -torch.inf)
        if self.mechanism.top_k:
            read = selection.largest(found, self.mechanism.top_k)
            found = found.masked_fill(~read, -torch.inf)
        return torch.where(name == own, sums, found.to(sums))

    def shares(
        self, logits: Float[Tensor, "h r c"], rows: Tensor, cols: Tensor
    ) -> tuple[Float[Tensor, "h r b"], Float[Tensor, "h r b l"], Float[Tensor, "h r b 1"]]:
        """Each block's share of the row, what each key has in its block, and what that adds up
        to. Overwrites the logits, which are of all keys from the first on."""
        first = 0
        if self.frame.causal and self.frame.key_mask is None:  # all rows see keys up to the first
            first = min(len(cols) - 1, max(0, int(rows.min()) + self.frame.offset))
        if (allowed := self.allowed(rows, cols[first:])) is not None:
            logits[..., first:].masked_fill_(~allowed, -torch.inf)
        if short := -logits.shape[-1] % self.block:
            logits = F.pad(logits, (0, short), value=-torch.inf)
        z = logits.unflatten(-1, (-1, self.block))
        top = z.amax(-1, keepdim=True)
        top = top.masked_fill(top == -torch.inf, 0)
        z = z.sub_(top).exp_()
        total = z.sum(-1, keepdim=True)
        marks = self.marks(rows, (top + total.log())[..., 0])
        whole = marks.logsumexp(-1, keepdim=True)
        if (sinks := self.sinks(rows)) is not None:
            whole = whole.logaddexp(sinks.to(whole)[..., None])
        share = (marks - whole.masked_fill(whole == -torch.inf, 0)).exp()
        return share, z, total.masked_fill(total == 0, 1)

    def normalise(self, logits: Tensor, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"]:
        share, inside, total = self.shares(logits, rows, cols)
        return inside.mul_(share[..., None] / total).flatten(-2)[..., : len(cols)]

    def within(self, rows: Int[Tensor, " r"]) -> dict[str, Float[Tensor, "h r u"]]:
        """Shares of blocks, and of keys in their blocks."""
        cols, everyone = torch.arange(self.frame.m, device=self.device), slice(0, self.frame.heads)
        logits = self.finish(self.scores(everyone, rows, cols), everyone, rows, cols)
        share, inside, total = self.shares(logits, rows, cols)
        tokens = inside.div_(total).flatten(-2)[..., : self.frame.m]
        return dict(zip(self._names(), (share, tokens), strict=True))

    def _names(self) -> tuple[str, str]:
        return "blocks", Tree.of(self.frame, 1).names[-1]

    def _view(self) -> Levels:
        starts = torch.arange(0, self.frame.m, self.block)
        each = torch.arange(self.frame.m)
        spans = (
            torch.stack([starts, (starts + self.block).clamp_max(self.frame.m)], 1),
            torch.stack([each, each + 1], 1),
        )
        return Levels(dict(zip(self._names(), spans, strict=True)), self.within)

    def steps(self, head: int, row: int) -> Steps:
        raise LookupError("a row's weights are a product of two softmaxes")
