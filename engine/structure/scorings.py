"""Scores that are no dot products: a fitted network's beside the head's own, a kernel's row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.kernels.composed import Composed
from engine.mechanisms.additive import Additive, split
from engine.mechanisms.gaussian import Gaussian
from engine.runtime.devices import array
from engine.structure.factors import effective
from engine.structure.shown import Shown


@dataclass(frozen=True, eq=False)
class Following:
    """Scores on queries held out, as the fidelity was measured: of the head itself and of the
    network that was fitted to it, (pairs) each, less their row's mean.

    Attributes:
        r2: the fidelity. rows: queries. hidden: units of the network.
    """

    own: np.ndarray
    made: np.ndarray
    r2: float
    rows: int
    hidden: int


def following(shown: Shown) -> Following | None:
    """How additive scores follow the head's own; None of another mechanism. Keys that are hidden
    are among them: the network was fitted to all."""
    mechanism, att, h = shown.mechanism, shown.att.whole, shown.head
    if not isinstance(mechanism, Additive) or not isinstance(att, Composed):
        return None
    if att.fidelity is None:
        return None
    qkv = att.qkv
    _, held, keys = split(qkv, mechanism.seed)
    seen = qkv.frame.visible(held, keys)
    seen = torch.ones(len(held), len(keys), dtype=torch.bool) if seen is None else seen.cpu()
    every = slice(0, qkv.heads)
    made = att.scores(every, held, keys)[h].cpu()
    own = Composed(qkv, att.pattern).scores(every, held, keys)[h].cpu()
    x, y = (array(less_mean(z, seen)[seen]) for z in (own, made))
    return Following(x, y, float(att.fidelity.value[h]), len(held), mechanism.hidden)


def less_mean(scores: Tensor, seen: Tensor) -> Tensor:
    """(r c) scores less their row's mean over pairs that are seen."""
    each = seen.sum(-1, keepdim=True).clamp_min(1)
    return scores - (scores * seen).sum(-1, keepdim=True) / each


@dataclass(frozen=True, eq=False)
class Kernel:
    """The chosen row under a Gaussian kernel.

    Attributes:
        far, weights, seen: (m) distances, weights, and which keys the row may see.
        total: the kernel's sum over these, where the nearest counts 1.
    """

    width: float
    far: np.ndarray
    weights: np.ndarray
    seen: np.ndarray
    total: float

    def weight(self, far: np.ndarray) -> np.ndarray:
        """Weight of a key that far away."""
        near = self.far[self.seen].min()
        return np.exp(-(far**2 - near**2) / 2 / self.width**2) / self.total

    @property
    def effective(self) -> float:
        """Over how many keys the row spreads."""
        return effective(self.weights[self.seen])


def kernel_of(shown: Shown) -> Kernel | None:
    """The chosen row; None of another mechanism, or where a bias makes weights that no distance
    tells of."""
    mechanism, qkv = shown.mechanism, shown.qkv
    if not isinstance(mechanism, Gaussian) or qkv is None or qkv.bias is not None:
        return None
    seen = array(shown.seen(shown.here())[0])
    weights = array(shown.weights(shown.here())[0]).astype(float)
    if not seen.any() or weights.sum() == 0:
        return None
    one = qkv.head(shown.head)
    far = array((one.q[0, shown.row].double() - one.k[0].double()).norm(dim=-1)).astype(float)
    near = far[seen].min()
    total = float(np.exp(-(far[seen] ** 2 - near**2) / 2 / mechanism.width**2).sum())
    return Kernel(mechanism.width, far, weights, seen, total)
