"""Scaled dot product attention over every visible key: the reference (arXiv 1706.03762)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from engine.contract import QKV, param
from engine.kernels import dense, normalisers, patterns
from engine.kernels.composed import Composed
from engine.kernels.needle import Numbers
from engine.kernels.sdpa import fits_sdpa, sdpa_whole
from engine.mechanisms.base import Mechanism


@dataclass(frozen=True)
class Softmax(Mechanism):
    """softmax(q·k·scale / temperature). Honours everything that a QKV can hold."""

    key: ClassVar[str] = "softmax"
    family: ClassVar[str] = "full"
    paper: ClassVar[str] = "arXiv 1706.03762"
    complexity: ClassVar[str] = "n²"

    temperature: float = param(1.0, low=0.0, open_low=True, slider=(0.1, 10.0), log=True)

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        return Composed(
            qkv,
            patterns.Everything(),
            normaliser=normalisers.Softmax(self.temperature),
            output=sdpa_whole if fits_sdpa(qkv) else None,
        )

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        return dense.softmax(qkv, self.temperature)

    def inverse_temperature(self, n: ArrayLike, entropy: ArrayLike) -> Numbers:
        return np.full(np.broadcast_shapes(np.shape(n), np.shape(entropy)), 1 / self.temperature)

    def sharpened(self, factor: float, n: float) -> Softmax:
        return replace(self, temperature=1 / factor)
