"""Scalable softmax: logits grow with the logarithm of what a row sees (arXiv 2501.19399)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, log
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from torch import Tensor

from engine.contract import QKV, param
from engine.kernels import dense, patterns
from engine.kernels.composed import Composed
from engine.kernels.needle import Numbers, floats
from engine.kernels.sdpa import fits_sdpa, sdpa_whole
from engine.mechanisms.base import Mechanism


@dataclass(frozen=True)
class SSMax(Mechanism):
    """softmax(s ln n · z), n = the keys that causality and masks let the row see.

    Biases and sink logits are logits and grow, too. A needle s·gap > 1 ahead of equal others gains
    mass as the text grows; with s·gap < 1 it still thins out.
    """

    key: ClassVar[str] = "ssmax"
    family: ClassVar[str] = "remedies"
    paper: ClassVar[str] = "arXiv 2501.19399"
    complexity: ClassVar[str] = "n²"

    # what the paper's models learn, in the mean (its Figure 1 and others take 0.43)
    s: float = param(0.43, low=0.0, slider=(0.05, 2.0), step=0.01)

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        att = Composed(
            qkv,
            patterns.Everything(),
            beta=lambda rows: length_scale(qkv, rows, self.s),
            output=(lambda: sdpa_whole(att)) if fits_sdpa(qkv) else None,
        )
        return att

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        seen = dense.allowed(qkv)
        beta = self.s * seen.sum(-1, keepdim=True).clamp_min(1).double().log()  # (n 1)
        z = dense.entries(qkv, dense.logits(qkv), seen)
        # just above 0 where n = 1, so that −∞ still hides
        z = z * beta.clamp_min(torch.finfo(z.dtype).tiny)
        return z.softmax(-1).nan_to_num(0)[..., : qkv.m]

    def inverse_temperature(self, n: ArrayLike, entropy: ArrayLike) -> Numbers:
        n, _ = floats(n, entropy)
        return self.s * np.log(n)

    @property
    def holding_gap(self) -> float:
        return 1 / self.s if self.s else inf

    def sharpened(self, factor: float, n: float) -> SSMax:
        return replace(self, s=factor / log(max(n, 2.8)))  # below e, ln n would be next to nothing


def length_scale(qkv: QKV, rows: Int[Tensor, " r"], s: float) -> Float[Tensor, "1 r"]:
    """s ln n of rows, just above 0 where n = 1, so that a bias of −∞ still hides."""
    dtype = qkv.dtype if qkv.dtype == torch.float64 else torch.float32
    visible = qkv.frame.seen(rows)[0].to(dtype).clamp_min(1)
    return (s * visible.log()).clamp_min(torch.finfo(dtype).tiny)[None]
