"""The singular values of an attention map, and what a mechanism of low rank loses of it.

Eckart and Young (1936): of all matrices of rank k, the first k terms of the singular value
decomposition are nearest, and what they leave is √(Σ over i > k of σ_i²).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import QKV
from engine.measure.comparison import evenly
from engine.mechanisms.base import Mechanism

WHOLE = 1024
"""Rows up to which the whole map is decomposed."""
SAMPLE = 128
"""Rows of a longer one."""
RANKS = 256
"""The largest rank that errors are worked out at."""


def sampled(n: int) -> Int[Tensor, " r"]:
    """All rows, or some of many, evenly spaced."""
    return evenly(n, SAMPLE if n > WHOLE else n)


def doubling(most: int, step: int = 2) -> list[int]:
    """1, 2, 4, … (or by a larger step) up to `most` or RANKS, and that one."""
    most = min(most, RANKS)
    found = [1]
    while found[-1] * step < most:
        found.append(found[-1] * step)
    return found + [most] * (most > 1)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What each singular vector carries of a map, and of its output.

    Attributes:
        sigma: (r) singular values, falling. output: (r) ‖u_iᵀ A V‖ of each left vector u_i.
    """

    sigma: Float[Tensor, " r"]
    output: Float[Tensor, " r"]

    @property
    def effective_rank(self) -> float:
        """exp of the entropy of σ/Σσ: 1 if all rows are alike, n for the identity."""
        p = self.sigma / self.sigma.sum()
        return float(torch.special.entr(p).sum().exp())

    @property
    def stable_rank(self) -> float:
        """Σσ² / σ_1², never above the rank."""
        return float(self.sigma.square().sum() / self.sigma[0] ** 2)

    @property
    def energy(self) -> Float[Tensor, " r"]:
        """Share of Σσ² that the first 1, 2, … hold."""
        square = self.sigma.square()
        return square.cumsum(0) / square.sum()

    def left_over(self, rank: int) -> tuple[float, float]:
        """‖A − A_k‖ / ‖A‖ and ‖(A − A_k) V‖ / ‖A V‖ of the nearest map of this rank."""
        return _share(self.sigma[rank:], self.sigma), _share(self.output[rank:], self.output)


def _share(part: Tensor, whole: Tensor) -> float:
    return float(part.norm() / whole.norm().clamp_min(1e-30))


def spectrum(weights: Float[Tensor, "r m"], values: Float[Tensor, "m e"]) -> Spectrum:
    """Of these rows, from the eigenvectors of their inner products.

    Singular values below about 1e-8 of the largest are rounding.
    """
    weights = weights.double()
    left = torch.linalg.eigh(weights @ weights.mT)[1].flip(-1)
    right = left.mT @ weights
    order = right.norm(dim=-1).sort(descending=True)
    some = order.indices[: min(weights.shape)]
    return Spectrum(order.values[: len(some)], (right[some] @ values.double()).norm(dim=-1))


def error(
    mechanism: Mechanism,
    qkv: QKV,
    weights: Float[Tensor, "r m"],
    rows: Int[Tensor, " r"],
    hidden: Int[Tensor, " k"] | None = None,
) -> tuple[float, float]:
    """‖Â − A‖ / ‖A‖ and ‖(Â − A) V‖ / ‖A V‖ over these rows of a single head.

    Args:
        weights: those of full attention, A. hidden: keys that are hidden in both.
    """
    att = mechanism.attend(qkv)
    made = (att if hidden is None else att.hide(hidden)).weights(rows)[0].float()
    full, values = weights.float(), qkv.v[0].float()
    return _share(made - full, full), _share((made - full) @ values, full @ values)


def errors(
    mechanism: Mechanism,
    qkv: QKV,
    weights: Float[Tensor, "r m"],
    rows: Int[Tensor, " r"],
    ranks: Sequence[int],
    hidden: Int[Tensor, " k"] | None = None,
) -> list[tuple[float, float]]:
    """The same at each rank, by the parameter that the mechanism grows by."""
    made = (replace(mechanism, **{mechanism.grows: k, "learned": None}) for k in ranks)
    return [error(one, qkv, weights, rows, hidden) for one in made]
