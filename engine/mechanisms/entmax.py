"""Sparse softmax: weights that reach 0 (sparsemax, arXiv 1602.02068; α-entmax, 1905.05702)."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from engine.contract import QKV, param
from engine.kernels import dense, normalisers, patterns
from engine.kernels.composed import Composed
from engine.kernels.needle import Numbers, entmax_needle_mass
from engine.mechanisms.base import Mechanism


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

    @property
    def exact_zeros(self) -> bool:
        return self.alpha > 1

    def needle_mass(self, n: ArrayLike, gap: ArrayLike) -> Numbers:
        return entmax_needle_mass(n, gap, self.alpha)

    @property
    def holding_gap(self) -> float:
        return 1 / (self.alpha - 1) if self.alpha > 1 else inf
