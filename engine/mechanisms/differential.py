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
from engine.kernels.scoring import Dot
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism, numbers, visible_pairs
from engine.mechanisms.gated import read
from engine.mechanisms.softmax import Softmax


@dataclass(frozen=True)
class Differential(Mechanism):
    """softmax(q₁·k₁) − λ softmax(q₂·k₂) on the two halves of q and k; rows sum to 1 − λ.

    The paper trains the halves to share their noise; here a model that knows nothing of them is
    cut in two, so what cancels is chance. The paper's norm of each head's output, and its factor
    1 − λ_init, are no part of the weights and left out. A model trained this way brings a λ for
    each head. A width that is odd is refused.

    The authors' second version leaves queries and keys whole: of two neighbouring query heads,
    both on this head's keys, the second is taken from the first, and λ = σ(w·x + b) of each token
    and head; there is no norm to leave out. In its models such pairs share their keys; here
    a head takes its neighbour's query to its own, and with no neighbour its own. One that was not
    trained so has λ the same for all tokens. Masks, bias, softcap and sinks bear on both softmaxes
    alike.
    """

    key: ClassVar[str] = "differential"
    family: ClassVar[str] = "remedies"
    paper: ClassVar[str] = "arXiv 2410.05258"
    complexity: ClassVar[str] = "2·n²"
    blocks_at_once: ClassVar[int] = 10

    # the paper starts layer l at 0.8 − 0.6 exp(−0.3 (l − 1)): 0.2 at the first, 0.5 near the third
    lambda_: float = param(0.5, low=0.0, slider=(0.0, 1.0), step=0.05)
    version: str = param("1", choices=("1", "2"), later=True)

    @property
    def second(self) -> bool:
        """Whether it is the second version."""
        return self.version == "2"

    @property
    def formulas(self) -> tuple[str, ...]:
        return ("second",) if self.second else ("",)

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        if self.second:
            Dot().check(qkv)
        elif qkv.q.shape[-1] % 2 or qkv.k.shape[-1] % 2:
            raise Refusal(
                "differential attention splits queries and keys in half: their width must be "
                "even, not {queries} and {keys}",
                queries=qkv.q.shape[-1],
                keys=qkv.k.shape[-1],
            )

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        if self.second:
            two = qkv, qkv.replace(q=qkv.q[neighbours(qkv.heads)])
            return Difference(qkv, two, two, self.shares(qkv))
        # half the width, half the variance: 1/sqrt(d/2); where torch's own attention makes the
        # output, which wants keys as wide as values, queries are 0 where keys don't count
        half = qkv.q.shape[-1] // 2
        bare, scale = qkv.replace(layer=None), qkv.factor * sqrt(2)
        first = torch.arange(2 * half, device=qkv.device) < half
        whole = tuple(bare.replace(q=qkv.q * part, scale=scale) for part in (first, ~first))
        cut = tuple(
            bare.replace(q=qkv.q[..., at], k=qkv.k[..., at], scale=scale)
            for at in (slice(0, half), slice(half, None))
        )
        return Difference(qkv, whole, cut, self.shares(qkv))

    def takes(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        if self.second:
            return {"w_lambda": (qkv.heads, read(qkv).shape[-1]), "b_lambda": (qkv.heads,)}
        return {"lambda": (qkv.heads,)}

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        """λ as the paper starts it, by the layer's depth; a half in the second version."""
        if self.second:
            return {
                "w_lambda": Parameter(torch.zeros(heads, read)),
                "b_lambda": Parameter(torch.zeros(heads)),
            }
        return {"lambda": Parameter(torch.full((heads,), 0.8 - 0.6 * exp(-0.3 * layer)))}

    def shares(self, qkv: QKV) -> Float[Tensor, "h n 1"]:
        """λ of each row, in float64."""
        shape = (qkv.heads, qkv.n, 1)
        if self.learned is None:
            return torch.full(shape, self.lambda_, dtype=torch.float64, device=qkv.device)
        found = {x: w.double().to(qkv.device) for x, w in self.learned.weights.items()}
        if self.second:
            w, b = found["w_lambda"], found["b_lambda"]
            return torch.sigmoid(read(qkv) @ w[..., None] + b[:, None, None])
        return found["lambda"][:, None, None].expand(shape)

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        if self.second:
            other = qkv.replace(q=qkv.q[neighbours(qkv.heads)], layer=None)
            return dense.softmax(qkv) - self.shares(qkv) * dense.softmax(other)
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
        width = qkv.k.shape[-1] * (2 if self.second else 1) + 2 * qkv.v.shape[-1]
        return 2 * qkv.heads * visible_pairs(qkv) * width


def neighbours(heads: int) -> list[int]:
    """Of each head, the other of its pair; a last one without is its own."""
    return [min(head ^ 1, heads - 1) for head in range(heads)]


class Difference(Attention):
    """Two attentions over the same keys, the second times λ taken from the first.

    Attributes:
        parts: the two softmaxes. rows_of: the same, as their rows are worked out.
    """

    row_kind: RowKind = "signed"

    def __init__(
        self,
        qkv: QKV,
        two: tuple[QKV, ...],
        rows: tuple[QKV, ...],
        shares: Float[Tensor, "h n 1"],
    ) -> None:
        super().__init__(
            qkv.frame, views=lambda own: (Parts({"kept": own.kept, "taken": own.taken}),)
        )
        self.qkv, self.shares = qkv, shares
        self.parts, self.rows_of = (
            tuple(Softmax().attend(each) for each in x) for x in (two, rows)
        )

    def kept(self, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r m"]:
        """The first softmax."""
        return self.parts[0].weights(rows)

    def taken(self, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r m"]:
        """What is taken from it: −λ times the second."""
        second = self.parts[1].weights(rows)
        return -self.shares[:, rows].to(second) * second

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    def weighted(self) -> Float[Tensor, "h n e"]:
        first, second = (part.output for part in self.parts)
        return first - self.shares.to(second) * second

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        pairs = zip(*(part.blocks(rows) for part in self.rows_of), strict=True)
        for first, second in pairs:
            share = self.shares[:, first.rows].to(second.weights)
            weights = first.weights.addcmul_(second.weights, share, value=-1)
            yield Block(first.rows, first.cols, weights)

    def room(self) -> Float[Tensor, "h n e"]:
        return self.qkv.v.new_empty(self.frame.heads, self.frame.n, self.qkv.v.shape[-1])

    def weigh(self, block: Block) -> Float[Tensor, "h r e"]:
        return block.weigh(self.qkv.v)

    def window(self, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"] | None:
        first, second = (part.window(rows, cols) for part in self.parts)
        assert first is not None and second is not None  # a plain softmax always has one
        return first - self.shares[:, rows].to(second) * second
