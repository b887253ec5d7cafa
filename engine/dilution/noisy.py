"""Exact means of a needle's row under softmax where the other logits are random, at any noise.

k needles lie `gap` above the mean of r = n − k other logits, which are independent draws from
N(0, noise²). With Z = Σ e^z, what a row comes to holds 1/Z or 1/Z²; 1/Z = ∫ e^(−tZ) dt, 1/Z² =
∫ t e^(−tZ) dt, and E e^(−tZ) is a product over keys. So a mean is an integral over t, of a power
of an integral over one logit. Both are smooth and fall off at their ends: the trapezoidal rule,
in ln t, converges exponentially. Forms to leading order (`engine.kernels.needle`) hold while the
noise is well below `theory.freezing`; these hold always.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from engine.kernels.needle import Array, Numbers, check, floats
from engine.kernels.needle import gap_needed as leading_gap_needed
from engine.runtime.cached import cached_property

STEP = 0.6
"""Of ln t, and of power·z at most: a relative error that falls as e^(−π²/STEP), 10⁻⁶ here."""
REACH = (-6.5, 8.5)
"""Standard deviations of noise that are summed over: beyond, none of 2²⁰ keys is expected."""
TAIL = 18
"""Of ln t, below which what an integral has is e^−TAIL of it."""
erfc = np.vectorize(math.erfc, otypes=[np.float64])


class Row:
    """One setting's integrals; logits are counted from the needles', which so have logit 0.

    Attributes:
        k, r: needles and other keys. ln_t (t), z (x), chance (x): the grids, the logits of one
            other key on the second, and how likely they are. y (t x): t e^(power·z).
    """

    def __init__(
        self, n: float, gap: float, noise: float, needles: float, power: int, widest: float
    ) -> None:
        self.k, self.r = needles, n - needles
        most = noise * (math.sqrt(2 * math.log(max(self.r, 2))) + 3) - gap
        high = max(math.log(needles), power * most + math.log(max(self.r, 1)))
        self.ln_t = np.arange(-high - TAIL, 3.5, STEP)
        width = min(widest, STEP / (power * noise)) if noise else widest
        self.x = np.arange(*REACH, width)
        self.z = noise * self.x - gap
        self.chance = np.exp(-(self.x**2) / 2) * width / math.sqrt(2 * math.pi)
        self.y = np.exp(np.minimum(self.ln_t[:, None] + power * self.z, 700))

    @cached_property
    def t(self) -> Array:
        return np.exp(self.ln_t)

    @cached_property
    def left(self) -> Array:
        """e^(−y)."""
        return np.exp(-self.y)

    def mean(self, values: Array) -> Array:
        """E[values e^(−y)] over one other key's logit, (t)."""
        return (values * self.left) @ self.chance

    @cached_property
    def ln_one(self) -> Array:
        """ln E e^(−y) of one other key, (t)."""
        return _ln_less((1 - self.left) @ self.chance)

    def alive(self, others: float) -> Array:
        """E e^(−tZ) of the needles and so many others, (t)."""
        return np.exp(others * self.ln_one - self.k * self.t)


def _ln_less(missing: Array) -> Array:
    """ln(1 − missing)."""
    return np.log1p(-np.minimum(missing, 1 - 1e-16))


def _total(values: Array) -> float:
    return float(values.sum()) * STEP


Averaged = Callable[..., Numbers]
"""(n, gap, noise, needles = 1) -> means; numbers or arrays, which broadcast."""


def _averaged(
    power: int = 1, widest: float = 0.15
) -> Callable[[Callable[[Row], float]], Averaged]:
    """A mean of one setting, as a function of settings.

    Args:
        power: of e^z that t multiplies. widest: step between logits at most, in standard
            deviations; a small one where the integrand has a corner.
    """

    def decorate(one: Callable[[Row], float]) -> Averaged:
        def many(
            n: ArrayLike, gap: ArrayLike, noise: ArrayLike, needles: ArrayLike = 1
        ) -> Numbers:
            given = floats(n, gap, noise, needles)
            check(given[0], given[3])
            rows = zip(*(x.ravel().tolist() for x in given), strict=True)
            each = [one(Row(a, b, c, d, power, widest)) for a, b, c, d in rows]
            return np.array(each).reshape(given[0].shape)

        many.__doc__ = one.__doc__
        return many

    return decorate


@_averaged()
def needle_mass(row: Row) -> float:
    """Mean weight of the needles together."""
    return _total(row.k * row.t * row.alive(row.r))


@_averaged()
def entropy(row: Row) -> float:
    """Mean entropy E[ln Z − Σ w z], nats; E ln Z = −γ − ∫ ln t E[Z e^(−tZ)] dt."""
    rest = row.r * row.mean(row.y) * row.alive(row.r - 1)
    ln_z = -np.euler_gamma - _total(row.ln_t * (row.k * row.t * row.alive(row.r) + rest))
    return max(ln_z - _total(row.r * row.mean(row.y * row.z) * row.alive(row.r - 1)), 0.0)


@_averaged(power=2)
def participation(row: Row) -> float:
    """Mean participation ratio 1/Σw² = Z²/S, where S = Σ e^(2z) and 1/S = ∫ e^(−tS) dt."""
    r, root, needle = row.r, row.y**0.5, row.k * row.t**0.5
    first, second = row.mean(root), row.mean(row.y)
    return _total(
        needle**2 * row.alive(r)
        + r * (2 * needle * first + second) * row.alive(r - 1)
        + r * (r - 1) * first**2 * row.alive(r - 2)
    )


@_averaged()
def output_error(row: Row) -> float:
    """√(E‖o − v*‖² / E‖v*‖²), where v* is the mean of the needles' values and all values are
    independent with mean 0 and one variance: the others' weight squared, and k times Σw² of it."""
    r = row.r
    square = r * row.mean(row.y**2) * row.alive(r - 1)
    pairs = r * (r - 1) * row.mean(row.y) ** 2 * row.alive(r - 2)
    return math.sqrt(_total((1 + row.k) * square + pairs))


@_averaged(widest=0.03)
def max_weight(row: Row) -> float:
    """Mean largest weight: over which logit is the highest of the others', and all below it."""
    if row.r < 1:
        return 1 / row.k
    parts = (1 - row.left) * row.chance
    above = 0.5 * erfc(row.x / math.sqrt(2)) + parts.cumsum(1) - parts / 2
    below = np.exp((row.r - 1) * _ln_less(above) - (row.k * row.t)[:, None])
    return _total(row.r * row.mean(np.maximum(row.t[:, None], row.y) * below))


def gap_needed(n: ArrayLike, mass: ArrayLike, noise: ArrayLike, needles: ArrayLike = 1) -> Numbers:
    """Gap at which the needles' mean weight is this mass, by the secant rule on its logit, which
    is almost linear in the gap.

    Raises:
        ValueError: mass is not inside 0 … 1, or there are no keys but needles.
    """
    last = leading_gap_needed(n, mass, noise, needles)
    n, mass, noise, k = floats(n, mass, noise, needles)

    def off(gap: Array) -> Array:
        found = needle_mass(n, gap, noise, k)
        return np.log(found * (1 - mass)) - np.log((1 - found) * mass)

    was = off(last)
    gap = last - was
    for _ in range(30):
        now = off(gap)
        if (np.abs(now) < 1e-7).all():
            break
        slope = np.where(gap == last, 1, (now - was) / np.where(gap == last, 1, gap - last))
        last, was, gap = gap, now, gap - now / np.where(slope > 0, slope, 1)
    return gap
