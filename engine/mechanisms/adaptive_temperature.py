"""Softmax whose temperature follows its own entropy (arXiv 2410.01104)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from engine.contract import QKV
from engine.kernels import dense, patterns
from engine.kernels.composed import Composed
from engine.kernels.needle import Numbers, floats
from engine.kernels.sdpa import fits_sdpa, sdpa_whole
from engine.mechanisms.base import Mechanism, visible_pairs

POLYNOMIAL = (-0.037, 0.481, -2.3, 4.917, -1.791)
"""The paper's fit, highest power first. It falls back to 1 (`sharpening`), so that very long flat
rows are left as they were."""
SHARP = 0.5
"""Rows of an entropy at or below this are left as they are, nats."""


@dataclass(frozen=True)
class AdaptiveTemperature(Mechanism):
    """softmax(β z), β from the entropy H of softmax(z): max(1, polynomial(H)) where H > 0.5.

    Two passes over the scores. Sink logits are entries of both softmaxes.
    """

    key: ClassVar[str] = "adaptive_temperature"
    family: ClassVar[str] = "remedies"
    paper: ClassVar[str] = "arXiv 2410.01104"
    complexity: ClassVar[str] = "2·n²"
    follows_entropy: ClassVar[bool] = True

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        plain = Composed(qkv, patterns.Everything())
        return Composed(
            qkv,
            patterns.Everything(),
            beta=lambda rows: beta(entropy(plain, rows)),
            output=sdpa_whole if fits_sdpa(qkv) else None,
        )

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        z = dense.entries(qkv, dense.logits(qkv), dense.allowed(qkv))
        first = z.softmax(-1).nan_to_num(0)
        entropy = -torch.xlogy(first, first).sum(-1, keepdim=True)
        return (beta(entropy) * z).softmax(-1).nan_to_num(0)[..., : qkv.m]

    def flops(self, qkv: QKV) -> int:
        width = 2 * qkv.k.shape[-1] + qkv.v.shape[-1]
        return 2 * qkv.heads * visible_pairs(qkv) * width

    def inverse_temperature(self, n: ArrayLike, entropy: ArrayLike) -> Numbers:
        _, entropy = floats(n, entropy)
        return beta(torch.from_numpy(entropy)).numpy()


def beta(entropy: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Inverse temperature for entropies in nats."""
    value = torch.zeros_like(entropy)
    for coefficient in POLYNOMIAL:
        value = value * entropy + coefficient
    return torch.where(entropy > SHARP, value.clamp_min(1), 1)


def sharpening() -> tuple[float, float]:
    """Entropies between which β is above 1, nats."""
    shifted = np.array(POLYNOMIAL)
    shifted[-1] -= 1
    real = sorted(r.real for r in np.roots(shifted) if abs(r.imag) < 1e-9)
    return float(real[0]), float(real[-1])


def entropy(att: Composed, rows: Tensor) -> Float[Tensor, "h r"]:
    """Entropy of rows in nats, the sinks' part of the softmax among their entries."""
    stats = att.rows(rows)
    kept = stats.kept_mass
    sink = 1 - kept if att.qkv.sinks is not None else torch.zeros_like(kept)
    return kept * stats.entropy - torch.xlogy(kept, kept) - torch.xlogy(sink, sink)
