"""What a pair scores: the second of a mechanism's three choices."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV


@runtime_checkable
class Scoring(Protocol):
    """A score that is an inner product of features, so that it can be tiled."""

    def check(self, qkv: QKV) -> None:
        """Raises ValueError where the widths don't fit."""
        ...

    def queries(self, qkv: QKV, q: Float[Tensor, "... d"]) -> Float[Tensor, "... f"]:
        """Features of queries; score = query features · key features."""
        ...

    def keys(self, qkv: QKV, k: Float[Tensor, "... dk"]) -> Float[Tensor, "... f"]:
        """Features of keys; returns its argument where they are the keys."""
        ...


class Dot:
    """Scaled dot product (arXiv 1706.03762)."""

    def check(self, qkv: QKV) -> None:
        if qkv.q.shape[-1] != qkv.k.shape[-1]:
            q, k = qkv.q.shape[-1], qkv.k.shape[-1]
            raise ValueError(f"a dot product needs queries and keys of one width, not {q} and {k}")

    def queries(self, qkv: QKV, q: Tensor) -> Tensor:
        return q * qkv.factor

    def keys(self, qkv: QKV, k: Tensor) -> Tensor:
        return k
