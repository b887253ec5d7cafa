"""What is put in softmax's place, beside softmax: one row, its sums, its temperatures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from engine.contract import QKV
from engine.kernels.composed import Composed
from engine.kernels.patterns import Everything
from engine.mechanisms.adaptive_temperature import beta, entropy
from engine.mechanisms.base import Mechanism
from engine.mechanisms.differential import Difference
from engine.runtime.devices import array
from engine.structure.shown import Shown

SAMPLE = 192
"""Rows of a longer text that are looked at, evenly spaced."""


@dataclass(frozen=True, eq=False)
class Row:
    """The chosen row's weights under softmax and under the mechanism, and which keys it may see,
    (m) each."""

    before: np.ndarray
    after: np.ndarray
    seen: np.ndarray

    @property
    def largest_share(self) -> float:
        """Softmax's largest weight, as a share of what the row's keys have."""
        kept = self.before.sum()
        even = 1 / max(1, int(self.seen.sum()))
        return float(np.clip(self.before.max() / kept if kept > 0 else even, even, 1 - 1e-9))


def row(shown: Shown) -> Row:
    """The chosen row."""
    here = shown.here()
    before, after = shown.full().weights(here)[0, 0], shown.weights(here)[0]
    return Row(
        array(before).astype(float), array(after).astype(float), array(shown.seen(here)[0])
    )  # fmt: skip


def halves(weights: np.ndarray) -> int:
    """How many of the largest weights hold half of the row."""
    total = weights.sum()
    order = np.sort(weights)[::-1].cumsum()
    return int(np.searchsorted(order, total / 2)) + 1 if total > 0 else 0


def row_sum(shown: Shown) -> tuple[Callable[[np.ndarray], np.ndarray], float] | None:
    """What the chosen row adds up to when all its scores are shifted, and the log of their
    exponentials' sum; None where a shift changes nothing.

    Hiding keys leaves a row its sum, so scores are those of all that it may see.
    """
    mechanism = shown.mechanism
    if mechanism is None or mechanism.row_sum(np.zeros(1), np.zeros(1)) is None:
        return None
    steps = shown.att.whole.steps(shown.head, shown.row)
    scores = array(steps.logits)[array(steps.allowed)].astype(float)

    def sums(shift: np.ndarray) -> np.ndarray:
        found = mechanism.row_sum(scores, shift)
        assert found is not None
        return np.asarray(found)

    return sums, float(np.logaddexp.reduce(scores)) if len(scores) else -np.inf


def crossing(mechanism: Mechanism, n: int) -> float:
    """The gap at which one key takes half of what there is to take; infinite if there is none."""
    gaps = np.linspace(0, 4 * np.log(n) + 40, 20_001)
    mass = mechanism.needle_mass(n, gaps)
    over = np.zeros(1, bool) if mass is None else np.asarray(mass) >= 0.5
    return float(gaps[over.argmax()]) if over.any() else np.inf


def sample(n: int, row: int, device: torch.device) -> Int[Tensor, " r"]:
    """At most so many rows, evenly spaced, the chosen one among them."""
    at = torch.linspace(0, n - 1, min(n, SAMPLE), device=device).long()
    return torch.cat([at, at.new_tensor([row])]).unique()


@dataclass(frozen=True, eq=False)
class Temperatures:
    """Rows that follow their own entropy, (r) each: positions, entropy of softmax in nats, β.

    Attributes:
        here: which of them is the chosen one.
    """

    rows: np.ndarray
    entropy: np.ndarray
    beta: np.ndarray
    here: int


def temperatures(shown: Shown, qkv: QKV) -> Temperatures:
    """Of rows as the mechanism meets them: hiding keys comes after."""
    plain = Composed(qkv.head(shown.head), Everything())
    at = sample(qkv.n, shown.row, qkv.device)
    found = entropy(plain, at)[0]
    here = int((at == shown.row).int().argmax())
    return Temperatures(array(at), array(found), array(beta(found)), here)


def beta_curve(entropies: np.ndarray) -> np.ndarray:
    """β at entropies in nats."""
    return array(beta(torch.from_numpy(entropies)))


@dataclass(frozen=True, eq=False)
class Halves:
    """The chosen row of a difference, first − λ second: the two softmaxes, (m) each."""

    first: np.ndarray
    second: np.ndarray
    lambda_: float

    @property
    def overlap(self) -> float:
        """What the two, at a sum of 1 each, have in common."""
        return float(
            np.minimum(*(x / max(x.sum(), 1e-30) for x in (self.first, self.second))).sum()
        )


def two_parts(shown: Shown) -> Halves | None:
    """The two softmaxes of a difference, hidden keys left out; None of another attention."""
    att = shown.att.whole
    if not isinstance(att, Difference):
        return None
    first, second = (
        array(part.weights(shown.here())[shown.head, 0]).astype(float) for part in att.parts
    )
    if (hidden := shown.att.hidden_keys) is not None:
        first[array(hidden)], second[array(hidden)] = 0, 0
    return Halves(first, second, float(att.shares[shown.head, shown.row]))


@dataclass(frozen=True, eq=False)
class Kept:
    """What rows add up to: mass (h r) of rows at (r)."""

    at: np.ndarray
    mass: np.ndarray

    def here(self, shown: Shown) -> float:
        """The chosen row's."""
        return float(self.mass[shown.head, int((self.at == shown.row).argmax())])


def kept(shown: Shown) -> Kept:
    """Of all rows where that is known already, else of a sample."""
    att = shown.att
    if att.known is not None:
        return Kept(np.arange(att.frame.n), array(att.known.rows.kept_mass).astype(float))
    at = sample(att.frame.n, shown.row, att.device)
    return Kept(array(at), array(att.rows(at).kept_mass).astype(float))
