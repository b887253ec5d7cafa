"""What a pair scores: the second of a mechanism's three choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Refusal

TILE = 2**18
"""Hidden units × pairs that additive scores hold at once on a CPU, within its cache."""
MOST = 700.0
"""Exponents within which e²ˣ is a number in float64; a tanh is ±1 long before."""


@runtime_checkable
class Scoring(Protocol):
    """A score of each pair."""

    def check(self, qkv: QKV) -> None:
        """Raises ValueError where the widths don't fit."""
        ...

    def head(self, h: int) -> Scoring:
        """The scoring of one head, as a single head's QKV wants it."""
        return self

    def scores(
        self, qkv: QKV, heads: slice, q: Float[Tensor, "h r d"], k: Float[Tensor, "g c dk"]
    ) -> Float[Tensor, "h r c"]:
        """Scores of some of the QKV's heads, which read these key heads in equal groups."""
        ...


@runtime_checkable
class Features(Scoring, Protocol):
    """A score that is an inner product of features, so that rows can be streamed."""

    def queries(self, qkv: QKV, q: Float[Tensor, "... d"]) -> Float[Tensor, "... f"]:
        """Features of queries; score = query features · key features."""
        ...

    def keys(self, qkv: QKV, k: Float[Tensor, "... dk"]) -> Float[Tensor, "... f"]:
        """Features of keys; returns its argument where they are the keys."""
        ...

    def scores(self, qkv: QKV, heads: slice, q: Tensor, k: Tensor) -> Tensor:
        q, k = self.queries(qkv, q), self.keys(qkv, k)
        q = q.unflatten(0, (len(k), -1))
        return (q.flatten(1, 2) @ k.mT).unflatten(1, q.shape[1:3]).flatten(0, 1)


def same_width(qkv: QKV, what: Refusal) -> None:
    """Raises ValueError where queries and keys differ in width."""
    if qkv.q.shape[-1] != qkv.k.shape[-1]:
        q, k = qkv.q.shape[-1], qkv.k.shape[-1]
        raise Refusal(
            "{what} needs queries and keys of one width, not {q} and {k}", what=what, q=q, k=k
        )


class Dot(Features):
    """Scaled dot product (arXiv 1706.03762)."""

    def check(self, qkv: QKV) -> None:
        same_width(qkv, Refusal("a dot product"))

    def queries(self, qkv: QKV, q: Tensor) -> Tensor:
        return q * qkv.factor

    def keys(self, qkv: QKV, k: Tensor) -> Tensor:
        return k


@dataclass(frozen=True)
class Gaussian(Features):
    """−|q − k|² / (2 width²), the Nadaraya–Watson kernel; the QKV's scale plays no part.

    As features: (q, 1, −|q|²/2) · (k, −|k|²/2, 1), all over width or its square.
    """

    width: float

    def check(self, qkv: QKV) -> None:
        same_width(qkv, Refusal("a kernel of their distance"))

    def queries(self, qkv: QKV, q: Tensor) -> Tensor:
        q = q / self.width
        half = q.square().sum(-1, keepdim=True) / -2
        return torch.cat([q, torch.ones_like(half), half], -1)

    def keys(self, qkv: QKV, k: Tensor) -> Tensor:
        k = k / self.width
        half = k.square().sum(-1, keepdim=True) / -2
        return torch.cat([k, half, torch.ones_like(half)], -1)


@dataclass(frozen=True, eq=False)
class Additive(Scoring):
    """w_v · tanh(W_q q + W_k k + b), a small network on each pair (arXiv 1409.0473).

    Not an inner product; queries and keys may differ in width, and the QKV's scale plays no part.
    Worked out in float64, since units may nearly cancel, as tanh(x + y) = 1 − 2/(1 + e²ˣ e²ʸ): the
    exponentials are of positions and not of pairs.

    Attributes:
        w_q: (h u d) for u hidden units. w_k: (h u dk). b: (h u). w_v: (h u).
    """

    w_q: Float[Tensor, "h u d"]
    w_k: Float[Tensor, "h u dk"]
    b: Float[Tensor, "h u"]
    w_v: Float[Tensor, "h u"]

    def check(self, qkv: QKV) -> None:
        found = (len(self.w_q), self.w_q.shape[-1], self.w_k.shape[-1])
        if found != (qkv.heads, qkv.q.shape[-1], qkv.k.shape[-1]):
            raise Refusal(
                "these additive weights belong to other heads or widths than the queries and keys"
            )

    def head(self, h: int) -> Additive:
        one = slice(h, h + 1)
        return Additive(self.w_q[one], self.w_k[one], self.b[one], self.w_v[one])

    def scores(self, qkv: QKV, heads: slice, q: Tensor, k: Tensor) -> Tensor:
        w_q, w_k, b, w_v = (x[heads].double() for x in (self.w_q, self.w_k, self.b, self.w_v))
        k = k.repeat_interleave(len(q) // len(k), 0)
        rows = (w_q @ q.double().mT + b[..., None]).mul_(2).clamp_(-MOST, MOST).exp_()  # (h u r)
        cols = (w_k @ k.double().mT).mul_(2).clamp_(-MOST, MOST).exp_()  # (h u c)
        out = q.new_empty(len(q), q.shape[1], k.shape[1])
        most = TILE if q.device.type == "cpu" else 2**5 * TILE
        height = max(1, most // max(1, cols.numel()))
        for a in range(0, q.shape[1], height):
            part = slice(a, a + height)
            units = (rows[..., part, None] * cols[:, :, None]).add_(1).reciprocal_()
            weighed = torch.bmm(w_v[:, None], units.flatten(2)).view(len(q), -1, k.shape[1])
            out[:, part] = w_v.sum(1)[:, None, None] - 2 * weighed
        return out
