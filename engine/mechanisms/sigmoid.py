"""Sigmoid attention: every pair on its own, no row sum (arXiv 2409.04431)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from engine.contract import QKV, Refusal
from engine.kernels import dense, normalisers, patterns
from engine.kernels.composed import Composed
from engine.kernels.needle import Numbers, floats
from engine.mechanisms.base import Mechanism


@dataclass(frozen=True)
class Sigmoid(Mechanism):
    """σ(z − ln n), n = the keys that causality and masks let the row see. Refuses sinks."""

    key: ClassVar[str] = "sigmoid"
    family: ClassVar[str] = "remedies"
    paper: ClassVar[str] = "arXiv 2409.04431"
    complexity: ClassVar[str] = "n²"

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        if qkv.sinks is not None:
            raise Refusal("a sigmoid can't use sinks: it has no denominator for them to join")

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        return Composed(qkv, patterns.Everything(), normaliser=normalisers.Sigmoid())

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        seen = dense.allowed(qkv)
        count = seen.sum(-1, keepdim=True).clamp_min(1).double()
        return torch.sigmoid(dense.logits(qkv) - count.log()) * seen

    def row_sum(self, scores: ArrayLike, shift: ArrayLike) -> Numbers:
        (z,), (by,) = floats(scores), floats(shift)
        return (1 / (1 + z.size * np.exp(-z - by[..., None]))).sum(-1)
