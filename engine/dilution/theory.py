"""Closed forms of dilution: what one needle keeps among n keys, and how flat noise is.

A needle's logit lies `gap` above n − 1 equal others, unless said otherwise. Arguments are numbers
or arrays, which broadcast; logarithms are natural, entropies in nats. Derivations: the needle's
weight is p = e^gap / (e^gap + n − 1), the others share 1 − p. With noise, `needle_mass`, `entropy`
and `gap_needed` are to leading order (`leads`); exact means are in `engine.dilution.noisy`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.contract import Refusal
from engine.dilution import noisy
from engine.dilution.noisy import erfc
from engine.kernels.needle import Numbers, check, floats
from engine.kernels.needle import entmax_needle_mass as entmax_needle_mass
from engine.kernels.needle import entropy as entropy
from engine.kernels.needle import gap_needed as gap_needed
from engine.kernels.needle import gaussian_entropy as gaussian_entropy
from engine.kernels.needle import needle_mass as needle_mass
from engine.kernels.needle import ssmax_needle_mass as ssmax_needle_mass
from engine.mechanisms.adaptive_temperature import AdaptiveTemperature

quantile = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])
NODES, SHARES = np.polynomial.legendre.leggauss(96)
REACH = 9.0
"""Standard deviations that an integral over noise spans."""
LEADING = 0.5
"""Share of `freezing` up to which forms to leading order in the noise are within 0.025 of the mean
mass, from 16 keys on."""


def participation(
    n: ArrayLike, gap: ArrayLike, noise: ArrayLike = 0.0, needles: ArrayLike = 1
) -> Numbers:
    """Participation ratio 1/Σw² of the needles' row under softmax; with noise its mean."""
    n, gap, noise, k = floats(n, gap, noise, needles)
    if noise.any():
        return noisy.participation(n, gap, noise, k)
    p = needle_mass(n, gap, 0, k)
    return 1 / (p**2 / k + (1 - p) ** 2 / np.maximum(n - k, 1))


def output_error(
    n: ArrayLike, gap: ArrayLike, noise: ArrayLike = 0.0, needles: ArrayLike = 1
) -> Numbers:
    """√(E‖o − v*‖² / E‖v*‖²) where v* is the mean of the needles' values, and all values are
    independent with mean 0 and one variance. Without noise (1 − p)·√(1 + k/(n − k))."""
    n, gap, noise, k = floats(n, gap, noise, needles)
    if noise.any():
        return noisy.output_error(n, gap, noise, k)
    return (1 - needle_mass(n, gap, 0, k)) * np.sqrt(1 + k / np.maximum(n - k, 1))


def rank_gap(n: ArrayLike, noise: ArrayLike) -> Numbers:
    """Gap at which a needle has the largest of n logits in half of the draws, `rank_kept` of ½:
    noise·Φ⁻¹(2^(−1/(n − 1))), which tends to noise·√(2 ln n).

    Below `gap_needed` for half the mass: mass is diluted before rank is lost.
    """
    n, noise = floats(n, noise)
    check(n, 2)
    return -noise * quantile(-np.expm1(-math.log(2) / (n - 1)))


def rank_kept(n: ArrayLike, gap: ArrayLike, noise: ArrayLike) -> Numbers:
    """Probability that one needle's logit is the largest among n − 1 of N(0, noise²):
    Φ(gap/noise)^(n − 1)."""
    n, gap, noise = floats(n, gap, noise)
    check(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(noise > 0, gap / np.where(noise > 0, noise, 1), np.sign(gap) * np.inf)
    below = 0.5 * erfc(-z / np.sqrt(2))
    return np.where(n > 1, np.exp((n - 1) * np.log(np.maximum(below, 1e-300))), 1.0)


def freezing(n: ArrayLike) -> Numbers:
    """Noise √(2 ln n) from which a few of n random logits hold all of the mass (the random energy
    model's transition); Σw² freezes at half of it."""
    (n,) = floats(n)
    check(n)
    return np.sqrt(2 * np.log(n))


def leads(n: ArrayLike, noise: ArrayLike) -> NDArray[np.bool_]:
    """Whether forms to leading order in the noise hold: below half of `freezing`."""
    n, noise = floats(n, noise)
    return noise <= LEADING * freezing(n)


def ssmax_gap_needed(n: ArrayLike, mass: ArrayLike, s: ArrayLike) -> Numbers:
    """Gap at which SSMax gives the needle this mass; tends to 1/s as n grows."""
    n, mass, s = floats(n, mass, s)
    return gap_needed(n, mass) / (s * np.log(n))


@dataclass(frozen=True)
class Row:
    """What a row comes to.

    Attributes:
        mass: of the needles. entropy: nats. participation: 1/Σw². rest: Σw² of all but needles.
        support: how many of those carry any weight. largest: weight.
    """

    mass: Numbers
    entropy: Numbers
    participation: Numbers
    rest: Numbers
    support: Numbers
    largest: Numbers


def entmax_row(
    n: ArrayLike, gap: ArrayLike, alpha: float, noise: float = 0.0, needles: ArrayLike = 1
) -> Row:
    """The needles' row under α-entmax, α > 1, w = [(α − 1) z − τ]₊^(1/(α − 1)).

    Exact without noise. With noise τ is taken where the mean of Σw over the noise is 1, and what
    depends on w is averaged at that τ. Where the needles hold half of the row or more, or
    `support` is 25 or more, draws from the engine come to within 0.03 of the mass, 0.25 nats of
    the entropy and 20 % of the participation; elsewhere a few random keys decide.

    Raises:
        ValueError: alpha is not above 1, noise or gap is below 0, or needles outnumber keys.
    """
    n, gap, k = floats(n, gap, needles)
    check(n, k)
    if alpha <= 1 or noise < 0 or (gap < 0).any():
        raise Refusal("alpha must be above 1, gap and noise at least 0")
    a = alpha - 1

    def rest(tau: Numbers, of: Callable[[Numbers], Numbers]) -> Numbers:
        """Sum over the other keys of a function of what lies above τ."""
        if noise == 0:
            return (n - k) * np.where(tau < 0, of(np.maximum(-tau, 1e-300)), 0)
        first = np.maximum(tau / (a * noise), -REACH)
        last = np.maximum(first, 0) + REACH
        x = first[..., None] + (last - first)[..., None] * (NODES + 1) / 2
        above = np.maximum(a * noise * x - tau[..., None], 1e-300)
        density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
        return (n - k) * (of(above) * density * SHARES).sum(-1) * (last - first) / 2

    low = -1 - a * noise * REACH + 0 * n
    high = a * np.maximum(gap, noise * REACH)  # Σw falls as τ rises
    for _ in range(80):
        tau = (low + high) / 2
        total = k * np.maximum(a * gap - tau, 0) ** (1 / a) + rest(tau, lambda u: u ** (1 / a))
        low, high = np.where(total > 1, tau, low), np.where(total > 1, high, tau)
    each = np.maximum(np.maximum(a * gap - low, 0) ** (1 / a), 1e-300)
    square = rest(low, lambda u: u ** (2 / a))
    entropy = -k * each * np.log(each) - rest(low, lambda u: u ** (1 / a) * np.log(u) / a)
    mass = np.minimum(k * each, 1)
    support = rest(low, np.ones_like)
    largest = each
    if noise:  # over the highest of the others
        x = np.linspace(-REACH, REACH, 400)
        above = np.minimum(0.5 * erfc(x / np.sqrt(2)), 1 - 1e-16)
        below = np.exp((n - k)[..., None] * np.log1p(-above))
        top = np.maximum(a * noise * x - low[..., None], 0) ** (1 / a)
        top = np.maximum((top[..., 1:] + top[..., :-1]) / 2, each[..., None])
        largest = (top * np.diff(below)).sum(-1) + each * below[..., 0]
    return Row(
        mass, np.maximum(entropy, 0), 1 / (k * each**2 + square), square, support,
        np.minimum(largest, 1),
    )  # fmt: skip


def adaptive_needle_mass(n: ArrayLike, gap: ArrayLike) -> Numbers:
    """Weight of the needle under adaptive temperature (arXiv 2410.01104).

    The row's entropy has a closed form, and so its β; the needle's gap is then β·gap.
    """
    by = AdaptiveTemperature().inverse_temperature(n, entropy(n, gap))
    return needle_mass(n, by * np.asarray(gap, float))
