"""Low rank: what a rank keeps of full attention's map, the factors, and a kernel's row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV
from engine.contract.views import Factors
from engine.mechanisms.base import Mechanism
from engine.mechanisms.linear import Linear
from engine.mechanisms.nystrom import Nystrom
from engine.mechanisms.softmax import Softmax
from engine.runtime.cached import cached_property
from engine.runtime.devices import array
from engine.structure import spectra
from engine.structure.shown import Shown
from engine.structure.spectra import Spectrum

UNSTABLE = 1.5
"""An error from which on a pseudo-inverse is said to be unstable."""


@dataclass(frozen=True, eq=False)
class Errors:
    """Errors of the map and of the output, (k 2), at ranks.

    Attributes:
        ranks: where `best`, of the nearest map, is known. own: of the mechanism, at `at`; None
            where it is the nearest map itself. here: the mechanism's own rank.
    """

    ranks: list[int]
    best: Float[np.ndarray, "k 2"]
    at: list[int]
    own: Float[np.ndarray, "a 2"] | None
    here: int
    unstable: bool

    @property
    def mine(self) -> Float[np.ndarray, " 2"]:
        """The mechanism's errors at its own rank."""
        return self.least if self.own is None else self.own[self.at.index(self.here)]

    @property
    def least(self) -> Float[np.ndarray, " 2"]:
        """The nearest map's at that rank."""
        return self.best[self.ranks.index(self.here)]


@dataclass(frozen=True, eq=False)
class KernelRow:
    """The chosen row under a kernel and under softmax.

    Attributes:
        keys: (k) that the row may see. scores, soft, own: (m) scores, softmax's and its weights.
    """

    keys: np.ndarray
    scores: np.ndarray
    soft: np.ndarray
    own: np.ndarray
    feature_map: str


@dataclass(frozen=True, eq=False)
class Scene:
    """The chosen head alone: rows of its full attention beside those of the mechanism."""

    view: Factors
    shown: Shown
    given: QKV
    mechanism: Mechanism

    @cached_property
    def qkv(self) -> QKV:
        """The head."""
        return self.given.head(self.shown.head)

    @cached_property
    def rows(self) -> Tensor:
        """All rows, or a sample."""
        return spectra.sampled(self.qkv.n).to(self.qkv.device)

    @property
    def sampled(self) -> bool:
        return len(self.rows) < self.qkv.n

    @cached_property
    def full(self) -> Float[Tensor, "r m"]:
        """Full attention's rows."""
        return self.shown.full().weights(self.rows)[0]

    @cached_property
    def made(self) -> Float[Tensor, "r m"]:
        """The mechanism's."""
        return self.shown.weights(self.rows)

    @cached_property
    def spectrum(self) -> Spectrum:
        return spectra.spectrum(self.full, self.qkv.v[0])

    def errors(self) -> Errors:
        """Errors of this mechanism and of the nearest map, at ranks that double."""
        here = min(self.view.rank, self.qkv.n, self.qkv.m)
        # rows of a sample have no higher rank than their number
        most, step = (len(self.rows) // 2, 4) if self.sampled else (min(self.full.shape), 2)
        ranks = sorted({*spectra.doubling(most, step), here})
        best = np.array([self.spectrum.left_over(k) for k in ranks])
        if self.view.spectrum is not None:
            return Errors(ranks, best, [], None, here, False)
        given = self.qkv, self.full, self.rows
        hidden = self.shown.att.hidden_keys
        if self.mechanism.grows:
            at, own = ranks, spectra.errors(self.mechanism, *given, ranks, hidden)
        else:
            at, own = [here], [spectra.error(self.mechanism, *given, hidden)]
        own = np.array(own)
        unstable = isinstance(self.mechanism, Nystrom) and float(own.max()) > UNSTABLE
        return Errors(ranks, best, at, own, here, unstable)

    def factors(self) -> Mapping[str, Float[Tensor, "a b"]]:
        """The view's factors; where keys are hidden, those of what is left."""
        found = {name: x.float().cpu() for name, x in self.view.factors(self.shown.head).items()}
        hidden = self.shown.att.hidden_keys
        if hidden is None:
            return found
        first, *_, last = found
        left = reduce(torch.matmul, [x.double() for x in found.values()][:-1])
        right = found[last].double()
        before = self._sums(left, right)
        right[:, hidden.cpu()] = 0
        if self.shown.att.row_kind == "signed":  # rows are not brought back to their sums
            return found | {last: right.float()}
        after = self._sums(left, right)
        kept = torch.where(after != 0, before / after, 0).float()
        return found | {last: right.float()} | {first: found[first] * kept[:, None]}

    def _sums(self, left: Float[Tensor, "n c"], right: Float[Tensor, "c m"]) -> Tensor:
        """Sums over the visible part of the product's rows, (n)."""
        if not self.qkv.causal:
            return left @ right.sum(1)
        until = right.cumsum(1)
        last = torch.arange(len(left)) + self.qkv.frame.offset
        sums = (left * until[:, last.clamp(0, right.shape[1] - 1)].mT).sum(1)
        return torch.where(last >= 0, sums, 0)

    def kernel_row(self) -> KernelRow | None:
        """The chosen row; None of a mechanism without a kernel or of a row that sees nothing."""
        if not isinstance(self.mechanism, Linear):
            return None
        steps = Softmax().attend(self.qkv).steps(0, self.shown.row)
        here = self.shown.here()
        keys = np.flatnonzero(array(steps.allowed & self.shown.seen(here)[0]))
        if not len(keys):
            return None
        return KernelRow(
            keys=keys, scores=array(steps.logits), feature_map=self.mechanism.feature_map,
            soft=array(self.shown.full().weights(here)[0, 0]),
            own=array(self.shown.weights(here)[0]),
        )  # fmt: skip


def effective(weights: np.ndarray) -> float:
    """e to the entropy of a row's shares."""
    p = weights[weights > 0].astype(float)
    p = p / (p.sum() or 1)
    return float(np.exp(-(p * np.log(p)).sum()))
