"""Two attentions of one layer that are one: the difference that DiffLlama takes.

transformers' DiffLlama scores h heads once and asks for them twice, over the first and over the
second half of its values. What it goes on with is h/2 heads over values of twice the width, each
softmax(q₁·k₁) − λ softmax(q₂·k₂) (arXiv 2410.05258); its norm of each head follows after that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from engine.contract import QKV, Learned
from engine.mechanisms.differential import Differential

LEARNED = ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2", "lambda_init")


def differs(module: nn.Module) -> bool:
    """Whether a module takes one attention from another as DiffLlama does."""
    return all(hasattr(module, name) for name in LEARNED)


def difference(first: QKV, second: QKV) -> QKV:
    """One layer of half the heads from the two that a module asked for.

    Args:
        first, second: the same q (h n d) and k (g m d), each over half of the values, repeated.
    """
    heads, groups = first.heads // 2, max(1, first.groups // 2)
    k = first.k if first.groups > 1 else first.k.repeat(2, 1, 1)
    return first.replace(
        q=torch.cat([first.q[:heads], first.q[heads:]], -1),
        k=torch.cat([k[:groups], k[groups:]], -1),
        v=torch.cat([first.v[:groups], second.v[:groups]], -1),
        scale=first.factor / 2**0.5,  # `Differential` scales by the width of a half
    )


def differential(module: Any, heads: int) -> Differential:
    """What the module attends with: exp(λ_q₁·λ_k₁) − exp(λ_q₂·λ_k₂) + λ_init, for every head."""
    with torch.no_grad():
        one, two = (
            (getattr(module, f"lambda_q{i}") * getattr(module, f"lambda_k{i}")).sum().float().exp()
            for i in (1, 2)
        )
        share = (one - two + module.lambda_init).double().cpu()
    return Differential(learned=Learned({"lambda": share.expand(heads)}))
