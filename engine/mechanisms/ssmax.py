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
from torch.nn import Parameter

from engine.contract import QKV, param
from engine.kernels import dense, patterns
from engine.kernels.composed import Composed
from engine.kernels.needle import Numbers, floats
from engine.kernels.sdpa import fits_sdpa, sdpa_whole
from engine.mechanisms.base import Mechanism


@dataclass(frozen=True)
class SSMax(Mechanism):
    """softmax(s ln n · z), n = the keys that causality and masks let the row see.

    A model trained this way brings an s for each head. Biases and sink logits are logits and grow,
    too. A needle s·gap > 1 ahead of equal others gains
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
            beta=lambda rows: length_scale(qkv, rows, self.factors(qkv)),
            output=(lambda: sdpa_whole(att)) if fits_sdpa(qkv) else None,
        )
        return att

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        seen = dense.allowed(qkv)
        count = seen.sum(-1, keepdim=True).clamp_min(1).double()
        beta = self.factors(qkv)[..., None] * count.log()  # (h n 1)
        z = dense.entries(qkv, dense.logits(qkv), seen)
        # just above 0 where n = 1, so that −∞ still hides
        z = z * beta.clamp_min(torch.finfo(z.dtype).tiny)
        return z.softmax(-1).nan_to_num(0)[..., : qkv.m]

    def takes(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return {"s": (qkv.heads,)}

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        return {"s": Parameter(torch.full((heads,), self.s))}

    def factors(self, qkv: QKV) -> Float[Tensor, "h 1"]:
        """s of each head, in float64."""
        if self.learned is None:
            return torch.full((qkv.heads, 1), self.s, dtype=torch.float64, device=qkv.device)
        return self.learned.weights["s"].double().to(qkv.device)[:, None]

    def inverse_temperature(self, n: ArrayLike, entropy: ArrayLike) -> Numbers:
        n, _ = floats(n, entropy)
        return self.s * np.log(n)

    @property
    def holding_gap(self) -> float:
        return 1 / self.s if self.s else inf

    def sharpened(self, factor: float, n: float) -> SSMax:
        # below e, ln n would be next to nothing
        return replace(self, learned=None, s=factor / log(max(n, 2.8)))


def length_scale(
    qkv: QKV, rows: Int[Tensor, " r"], s: float | Float[Tensor, "h 1"]
) -> Float[Tensor, "#h r"]:
    """s ln n of rows, just above 0 where n = 1, so that a bias of −∞ still hides."""
    dtype = qkv.dtype if qkv.dtype == torch.float64 else torch.float32
    visible = qkv.frame.seen(rows)[0].to(dtype).clamp_min(1)[None]
    s = s.to(dtype) if isinstance(s, Tensor) else s
    return (s * visible.log()).clamp_min(torch.finfo(dtype).tiny)
