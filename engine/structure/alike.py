"""Which head of another model attends most like one head: heads of models that were trained apart
have no common order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.measure.attention import Attention

ROWS = 128
"""Rows by which heads are told apart, evenly spaced."""


@dataclass(frozen=True)
class Alike:
    """A head, and how far it is from another.

    Attributes:
        layer, head. moved: mean over rows of Σ|w − w′|/2, of stochastic rows the share of the
            weight that lies elsewhere. heads: how many there were to choose from.
    """

    layer: int
    head: int
    moved: float
    heads: int


def rows(n: int) -> Int[Tensor, " r"]:
    """The rows that are looked at."""
    return torch.linspace(0, n - 1, min(n, ROWS), dtype=torch.float64).round().long()


def most_alike(target: Attention, head: int, layers: Iterable[Attention]) -> Alike:
    """The head of any of these layers, of which there is one at least and which attend as many
    tokens, whose weights are nearest to those of one head."""
    at = rows(target.frame.n)
    wanted: Float[Tensor, "r m"] = target.weights(at)[head].float()
    found, count = [], 0
    for layer, att in enumerate(layers):
        moved = (att.weights(at).float() - wanted).abs().sum(-1).mean(1) / 2  # (h)
        found.append((float(moved.min()), layer, int(moved.argmin())))
        count += len(moved)
    moved_least, layer, which = min(found)
    return Alike(layer, which, moved_least, count)
