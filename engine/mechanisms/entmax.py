"""Sparse softmax: weights that reach 0 (sparsemax, arXiv 1602.02068; α-entmax, 1905.05702)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, param
from engine.kernels import dense, normalisers, patterns
from engine.kernels.composed import Composed
from engine.mechanisms.base import Mechanism
from engine.mechanisms.softmax import visible_pairs


@dataclass(frozen=True)
class Entmax(Mechanism):
    """[1 + (α − 1)(z − μ)]₊^{1/(α−1)}: softmax at α = 1, sparsemax at 2.

    A key 1/(α − 1) ahead of all others takes the whole row, however long the text.
    """

    key: ClassVar[str] = "entmax"
    family: ClassVar[str] = "remedies"
    paper: ClassVar[str] = "arXiv 1905.05702, 1602.02068"
    complexity: ClassVar[str] = "n²"

    alpha: float = param(1.5, low=1.0, slider=(1.0, 2.0), step=0.05)

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        return Composed(
            qkv, patterns.Everything(), normaliser=normalisers.Entmax(self.alpha)
        )  # fmt: skip

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        z = dense.entries(qkv, dense.logits(qkv), dense.allowed(qkv))
        return dense.entmax(z, self.alpha)[..., : qkv.m]

    def flops(self, qkv: QKV) -> int:
        return 2 * qkv.heads * visible_pairs(qkv) * (qkv.k.shape[-1] + qkv.v.shape[-1])
