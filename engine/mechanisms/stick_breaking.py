"""Stick-breaking attention: the nearest key takes first (arXiv 2410.17980)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from torch import Tensor

from engine.contract import QKV, Block, Index, Refusal, param
from engine.contract.views import Stick
from engine.kernels import dense, normalisers, patterns
from engine.kernels.backwards import Backwards
from engine.kernels.composed import Composed
from engine.kernels.needle import Numbers, floats
from engine.mechanisms.base import Mechanism, pairs_back

STEP = 256
"""Keys that rows go back by."""


@dataclass(frozen=True)
class StickBreaking(Mechanism):
    """σ(z_ij) Π (1 − σ(z_il)) over the keys l between j and the row: each key takes its share of
    what nearer ones left of the row's stick. Nothing is normalised; what no key takes stays.

    A row's own token takes nothing, as in the paper, unless `current`, so that the first row is
    empty. Scores 0 throughout make weights ½, ¼, ⅛ … back from the row, at any length. It looks
    back only: where the QKV lets a row see keys after it, it gives them nothing; a hidden key is
    passed over. Refuses sinks, for want of a denominator.
    """

    key: ClassVar[str] = "stick_breaking"
    family: ClassVar[str] = "remedies"
    paper: ClassVar[str] = "arXiv 2410.17980"
    complexity: ClassVar[str] = "n²"
    leaves_out: ClassVar[bool] = True

    current: bool = param(False)

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        if qkv.sinks is not None:
            raise Refusal("stick-breaking can't use sinks: it has no denominator for them to join")

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        whole = qkv.causal and self.current
        return Sticks(qkv, patterns.Everything() if whole else patterns.Past(self.current))

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        at, cols = dense.positions(qkv)
        seen = dense.allowed(qkv) & (cols < at + self.current)
        z = dense.logits(qkv)
        left = F.logsigmoid(-z).masked_fill(~seen, 0).flip(-1).cumsum(-1).flip(-1)
        return (F.logsigmoid(z) + F.pad(left[..., 1:], (0, 1))).exp() * seen

    @property
    def formulas(self) -> tuple[str, ...]:
        return ("current",) if self.current else ("",)

    @property
    def selects(self) -> bool:
        return not self.current

    def pairs(self, qkv: QKV) -> int:
        return pairs_back(qkv) - (0 if self.current else min(qkv.n, qkv.m))

    def row_sum(self, scores: ArrayLike, shift: ArrayLike) -> Numbers:
        """1 − Π (1 − σ(z)), in whatever order."""
        (z,), (by,) = floats(scores), floats(shift)
        return -np.expm1(-np.logaddexp(0, z + by[..., None]).sum(-1))


class Sticks(Backwards, Composed):
    """Rows of sticks, broken from the end back until nothing is left that a number can tell."""

    def __init__(self, qkv: QKV, pattern: patterns.Pattern) -> None:
        super().__init__(
            qkv,
            pattern,
            normaliser=normalisers.StickBreaking(),
            views=lambda own: (Stick(own.left),),
        )

    def left(self, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r m"]:
        """What nearer keys, and those passed over, leave to each key of these rows."""
        taken = self.weights(rows).double().flip(-1).cumsum(-1).flip(-1)
        return (1 - F.pad(taken[..., 1:], (0, 1))).clamp_min(0)

    def back(self, name: Index, rows: Int[Tensor, " r"], most: int | None) -> Block | None:
        assert isinstance(self.normaliser, normalisers.StickBreaking)
        start, stop = self.spans(rows)[0][0], self.spans(rows)[-1][1]
        everyone, heads = slice(0, self.frame.heads), self.frame.heads
        gone = torch.zeros(heads, len(rows), 1, dtype=self.dtype, device=self.device)
        # e⁻ˣ of more is 0
        enough = 1 - log(torch.finfo(self.dtype).tiny) - log(torch.finfo(self.dtype).eps)
        found, low = [], stop
        while low > start and float(gone.min()) < enough:
            high, low = low, max(start, low - STEP)
            if most is not None and heads * len(rows) * (stop - low) > most:
                return None
            cols = torch.arange(high - 1, low - 1, -1, device=self.device)  # nearest first
            logits = self.finish(self.scores(everyone, rows, cols), everyone, rows, cols)
            weights, gone = self.normaliser.taken(logits, self.allowed(rows, cols), gone)
            found.append(weights)
        cols = torch.arange(stop - 1, low - 1, -1, device=self.device)
        return Block(name, cols, torch.cat(found, -1))
