"""Softmax that may look nowhere: one more logit of 0 (Miller 2023, "Attention is off by one")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from engine.contract import QKV
from engine.kernels import normalisers, patterns
from engine.kernels.composed import Composed
from engine.kernels.needle import Numbers, floats
from engine.mechanisms.base import Mechanism
from engine.mechanisms.softmax import visible_pairs


@dataclass(frozen=True)
class Softmax1(Mechanism):
    """e^z / (1 + Σe^z): a sink logit of 0. Sink logits of the model's own join it."""

    key: ClassVar[str] = "softmax1"
    family: ClassVar[str] = "remedies"
    paper: ClassVar[str] = "Miller 2023, Attention is off by one"
    complexity: ClassVar[str] = "n²"

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        return Composed(qkv, patterns.Everything(), normaliser=normalisers.Softmax(zero=True))

    def flops(self, qkv: QKV) -> int:
        return 2 * qkv.heads * visible_pairs(qkv) * (qkv.k.shape[-1] + qkv.v.shape[-1])

    def row_sum(self, scores: ArrayLike, shift: ArrayLike) -> Numbers:
        (z,), (by,) = floats(scores), floats(shift)
        total = np.logaddexp.reduce(z, initial=-np.inf)
        return 1 / (1 + np.exp(-total - by))
