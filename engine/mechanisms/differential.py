"""Differential attention: one softmax less a share of another (arXiv 2410.05258)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, sqrt
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Parameter

from engine.contract import QKV, Block, Index, Refusal, RowKind, param
from engine.contract.views import Parts
from engine.kernels import dense
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism, numbers, visible_pairs
from engine.mechanisms.softmax import Softmax


@dataclass(frozen=True)
class Differential(Mechanism):
    """softmax(q₁·k₁) − λ softmax(q₂·k₂) on the two halves of q and k; rows sum to 1 − λ.

    The paper trains the halves to share their noise; here a model that knows nothing of them is
    cut in two, so what cancels is chance. The paper's norm of each head's output, and its factor
    1 − λ_init, are no part of the weights and left out. A model trained this way brings a λ for
    each head. Masks, bias, softcap and sinks bear on
    both softmaxes alike. A width that is odd is refused.
    """

    key: ClassVar[str] = "differential"
    family: ClassVar[str] = "remedies"
    paper: ClassVar[str] = "arXiv 2410.05258"
    complexity: ClassVar[str] = "2·n²"
    blocks_at_once: ClassVar[int] = 10

    # the paper starts layer l at 0.8 − 0.6 exp(−0.3 (l − 1)): 0.2 at the first, 0.5 near the third
    lambda_: float = param(0.5, low=0.0, slider=(0.0, 1.0), step=0.05)

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        if qkv.q.shape[-1] % 2 or qkv.k.shape[-1] % 2:
            raise Refusal(
                "differential attention splits queries and keys in half: their width must be "
                "even, not {queries} and {keys}",
                queries=qkv.q.shape[-1],
                keys=qkv.k.shape[-1],
            )

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        return Difference(qkv, self.shares(qkv))

    def takes(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return {"lambda": (qkv.heads,)}

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        """λ as the paper starts it, by the layer's depth."""
        return {"lambda": Parameter(torch.full((heads,), 0.8 - 0.6 * exp(-0.3 * layer)))}

    def shares(self, qkv: QKV) -> Float[Tensor, "h 1 1"]:
        """λ of each head, in float64."""
        if self.learned is None:
            shape = (qkv.heads, 1, 1)
            return torch.full(shape, self.lambda_, dtype=torch.float64, device=qkv.device)
        return self.learned.weights["lambda"].double().to(qkv.device)[:, None, None]

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        half, scale = qkv.q.shape[-1] // 2, qkv.factor * sqrt(2)  # scale 1/sqrt(d/2)
        first, second = (
            dense.softmax(qkv.replace(q=qkv.q[..., at], k=qkv.k[..., at], scale=scale, layer=None))
            for at in (slice(0, half), slice(half, None))
        )
        return first - self.shares(qkv) * second

    def held(self, qkv: QKV) -> int:
        """Queries and outputs of both halves."""
        return 2 * 4 * numbers(qkv)

    def flops(self, qkv: QKV) -> int:
        width = qkv.k.shape[-1] + 2 * qkv.v.shape[-1]
        return 2 * qkv.heads * visible_pairs(qkv) * width


class Difference(Attention):
    """Two attentions over halves, the second times λ taken from the first.

    Attributes:
        parts: the two softmaxes.
    """

    row_kind: RowKind = "signed"

    def __init__(self, qkv: QKV, shares: Float[Tensor, "h 1 1"]) -> None:
        super().__init__(qkv.frame, views=(Parts({"kept": self.kept, "taken": self.taken}),))
        self.qkv, self.shares = qkv, shares
        # half the width, half the variance: 1/sqrt(d/2); queries are 0 where keys don't count, so
        # that keys stay where they are
        first = torch.arange(qkv.q.shape[-1], device=qkv.device) < qkv.q.shape[-1] // 2
        self.parts = tuple(
            Softmax().attend(qkv.replace(q=qkv.q * half, scale=qkv.factor * sqrt(2)))
            for half in (first, ~first)
        )

    def kept(self, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r m"]:
        """The first softmax."""
        return self.parts[0].weights(rows)

    def taken(self, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r m"]:
        """What is taken from it: −λ times the second."""
        second = self.parts[1].weights(rows)
        return -self.shares.to(second) * second

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    def weighted(self) -> Float[Tensor, "h n e"]:
        first, second = (part.output for part in self.parts)
        return first - self.shares.to(second) * second

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        pairs = zip(*(part.blocks(rows) for part in self.parts), strict=True)
        for first, second in pairs:
            taken = second.weights.mul_(self.shares.to(second.weights))
            yield Block(first.rows, first.cols, first.weights.sub_(taken))

    def window(self, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"] | None:
        first, second = (part.window(rows, cols) for part in self.parts)
        assert first is not None and second is not None  # a plain softmax always has one
        return first - self.shares.to(second) * second
