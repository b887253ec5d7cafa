"""Windows with holes and with more: dilation, rows that see everything, keys at random."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from engine.contract import QKV, as_slice
from engine.kernels.patterns import Pattern, SlidingWindow, Span, Square


def drawn(qkv: QKV, count: int, seed: int) -> Int[Tensor, "n c"]:
    """So many keys for each query at random, of those up to itself if causal, of all if not; one
    may come twice. More keys begin with those of fewer."""
    draw = torch.Generator().manual_seed(seed)
    part = torch.rand(count, qkv.n, generator=draw, dtype=torch.float64).T.to(qkv.device)
    upto = torch.full((qkv.n, 1), qkv.m, device=qkv.device)
    if qkv.causal:
        at = torch.arange(qkv.n, device=qkv.device) + qkv.frame.offset
        upto = (at + 1).clamp(1, qkv.m)[:, None]
    return (part * upto).long()


@dataclass(frozen=True, eq=False)
class Sparse(Pattern):
    """A window of which only every so many-th key is seen, the first keys, whose own rows may see
    all (Longformer, arXiv 2004.05150), and keys at random (BigBird, arXiv 2007.14062).

    Attributes:
        near: the window, without its holes and its first keys. dilation: steps between keys.
        sinks: first keys that every row sees. whole: rows at their places see every key.
        random: (n c) more keys of each row. offset: position of query 0 on the keys' axis.
    """

    near: SlidingWindow | Square
    dilation: int
    sinks: int
    whole: bool
    random: Int[Tensor, "n c"]
    offset: int = 0

    @property
    def anywhere(self) -> bool:
        """Whether a row's keys may lie anywhere."""
        return isinstance(self.near, Square) or self.random.shape[1] > 0

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        if self.anywhere or (self.whole and low < self.sinks):
            return [(0, m)]
        return SlidingWindow(self.near.window, self.sinks).spans(low, high, m)

    def allows(self, rows: Tensor, cols: Tensor) -> Tensor:
        seen = self.near.allows(rows, cols)
        if self.dilation > 1:
            seen = seen & ((rows[:, None] - cols) % self.dilation == 0)
        seen = seen | (cols < self.sinks)
        if self.whole:
            seen = seen | (rows[:, None] < self.sinks)
        if self.random.shape[1]:
            chosen = self.random[rows - self.offset]
            hot = torch.zeros(len(rows), max(int(cols.max()), int(chosen.max())) + 1,
                              dtype=torch.bool, device=rows.device)  # fmt: skip
            seen = seen | hot.scatter_(1, chosen, True)[:, as_slice(cols)]
        return seen

    def span(self, height: int) -> int:
        return 0 if self.anywhere else height + 2 * self.near.window + self.sinks
