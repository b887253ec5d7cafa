"""What comes out of attention: blocks of weights, and one row step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from engine.contract.inputs import Index

RowKind = Literal["stochastic", "substochastic", "positive", "signed"]
Pool = Literal["max", "mean", "sum"]
Colour = Literal["weight", "uniform", "row"]


@dataclass(frozen=True, eq=False)
class Block:
    """Some query rows with all their non-zero weights.

    Attributes:
        rows: query positions, a slice or (r).
        cols: key positions: a slice, (c), or (h r c) with duplicates merged and −1 as padding.
        weights: (h r c).
    """

    rows: Index
    cols: Index
    weights: Float[Tensor, "h r c"]

    def weigh(self, v: Float[Tensor, "g m e"]) -> Float[Tensor, "h r e"]:
        """Weighted values, where all heads share the columns."""
        values = v[:, self.cols].to(self.weights)
        w = self.weights.unflatten(0, (len(v), -1)).flatten(1, 2)
        return (w @ values).unflatten(1, (-1, self.weights.shape[1])).flatten(0, 1)


@dataclass(frozen=True, eq=False)
class Steps:
    """One row of one head, step by step.

    Attributes:
        scores: of every key, (m), scaled q·k if `product`. logits: after softcap and bias, (m).
        allowed: keys that may carry weight, (m). weights: (m). output: weights @ v, (e).
        scale: the factor on q·k.
    """

    scores: Float[Tensor, " m"]
    logits: Float[Tensor, " m"]
    allowed: Bool[Tensor, " m"]
    weights: Float[Tensor, " m"]
    output: Float[Tensor, " e"]
    scale: float
    product: bool = True
