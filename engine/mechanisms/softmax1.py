"""Softmax that may look nowhere: one more logit of 0 (Miller 2023, "Attention is off by one")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from engine.contract import QKV
from engine.kernels import dense, normalisers, patterns
from engine.kernels.composed import Composed
from engine.kernels.needle import Numbers, floats
from engine.mechanisms.base import Mechanism


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

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        z = F.pad(dense.entries(qkv, dense.logits(qkv), dense.allowed(qkv)), (0, 1))
        return z.softmax(-1)[..., : qkv.m]

    def row_sum(self, scores: ArrayLike, shift: ArrayLike) -> Numbers:
        (z,), (by,) = floats(scores), floats(shift)
        total = np.logaddexp.reduce(z, initial=-np.inf)
        return 1 / (1 + np.exp(-total - by))
