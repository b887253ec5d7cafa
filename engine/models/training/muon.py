"""Muon in the precision of the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

COEFFICIENTS = 3.4445, -4.7750, 2.0315
STEPS = 5


class Muon(torch.optim.Optimizer):
    """Momentum, its matrix made nearly orthogonal, for matrices only.

    As torch's own, but that works in bfloat16, which a processor without bfloat16 products makes
    many times slower than float32. Steps are scaled to the size of AdamW's.

    Source: Jordan et al. 2024 (Muon); Liu et al. 2025 (scale and weight decay).
    """

    def __init__(
        self, params: Sequence[Tensor], lr: float = 1e-3, weight_decay: float = 0.1,
        momentum: float = 0.95,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step with Nesterov momentum."""
        for group in self.param_groups:
            lr, mu = group["lr"], group["momentum"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - mu)
                made = orthogonal(p.grad.lerp(state["momentum"], mu))
                p.mul_(1 - lr * group["weight_decay"])
                p.add_(made, alpha=-lr * 0.2 * max(p.shape) ** 0.5)


def orthogonal(x: Float[Tensor, "r c"]) -> Float[Tensor, "r c"]:
    """U Vᵀ of x = U S Vᵀ, nearly: singular values come to lie in about 0.7 … 1.2, by a quintic
    Newton–Schulz iteration."""
    a, b, c = COEFFICIENTS
    tall = x.shape[0] > x.shape[1]
    y = x.T if tall else x
    y = y / y.norm().clamp_min(1e-7)
    for _ in range(STEPS):
        gram = y @ y.T
        y = torch.addmm(y, torch.addmm(gram, gram, gram, beta=b, alpha=c), y, beta=a)
    return y.T if tall else y
