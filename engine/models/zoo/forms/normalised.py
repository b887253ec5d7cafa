"""What is no softmax of a row."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.kernels import normalisers
from engine.mechanisms.entmax import Entmax
from engine.mechanisms.sigmoid import Sigmoid
from engine.mechanisms.softmax1 import Softmax1
from engine.mechanisms.stick_breaking import StickBreaking
from engine.models.zoo.forms.base import Dense, Form, Given, Softmaxed


def softmax1(mechanism: Softmax1, given: Given) -> Form:
    """One more key of zeros, with a value of zeros."""
    k = F.pad(given.k, (0, 0, 0, 1))
    return Softmaxed(
        given.q, k, given.scale, F.pad(given.causal, (0, 1), value=True),
        torch.zeros(1, given.n, device=k.device),
    )  # fmt: skip


def sigmoid(mechanism: Sigmoid, given: Given) -> Form:
    return Dense(torch.sigmoid(given.logits - given.counts.log()) * given.causal)


def stick_breaking(mechanism: StickBreaking, given: Given) -> Form:
    """By logarithms: ln σ(z) of a key, and ln (1 − σ(z)) of those between it and the row."""
    z = given.logits.to(torch.promote_types(given.q.dtype, torch.float32))
    seen = given.causal.tril(0 if mechanism.current else -1)
    left = F.logsigmoid(-z).masked_fill(~seen, 0).flip(-1).cumsum(-1).flip(-1)
    return Dense((F.logsigmoid(z) + F.pad(left[..., 1:], (0, 1))).exp() * seen)


def entmax(mechanism: Entmax, given: Given) -> Form:
    z = given.logits.masked_fill(~given.causal, -torch.inf)
    return Dense(_Entmax.apply(z, mechanism.alpha))  # pyright: ignore[reportArgumentType]


class _Entmax(torch.autograd.Function):
    """α-entmax with its exact gradient: with s = w^(2 − α), dz = s (g − Σ s g / Σ s).

    Source: Peters et al. 2019, arXiv 1905.05702, proposition 2.
    """

    @staticmethod
    def forward(ctx, z: Tensor, alpha: float) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        w = normalisers.entmax(z, alpha)
        ctx.save_for_backward(w)
        ctx.alpha = alpha
        return w

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (w,) = ctx.saved_tensors
        s = w.sqrt() if ctx.alpha == 1.5 else torch.where(w > 0, w, 1) ** (2 - ctx.alpha) * (w > 0)
        g = g * s
        return g - s * (g.sum(-1, keepdim=True) / s.sum(-1, keepdim=True).clamp_min(1e-30)), None
