"""Closed forms of one needle among equal keys, or noise: what mechanisms say of themselves.

Arguments are numbers or arrays, which broadcast; logarithms are natural, entropies in nats. A
needle's weight is p = e^gap / (e^gap + n − 1), the others share 1 − p.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.contract import Refusal

Array = NDArray[np.float64]
if TYPE_CHECKING:
    Numbers = Array
else:  # of one number numpy makes a float64, which no stub says
    Numbers = Array | np.float64


def floats(*values: ArrayLike) -> list[Array]:
    """As arrays of float64, of one shape."""
    found = [np.asarray(v, dtype=np.float64) for v in values]
    return [np.array(v) for v in np.broadcast_arrays(*found)]


def check(n: Numbers, fewest: Numbers | int = 1) -> None:
    """Raises ValueError where there are fewer keys than that."""
    if (n < fewest).any():
        raise Refusal("n must be at least {fewest:g}", fewest=np.max(fewest))


def needle_mass(
    n: ArrayLike, gap: ArrayLike, noise: ArrayLike = 0.0, needles: ArrayLike = 1
) -> Numbers:
    """Softmax weight of the needles together: 1/(1 + exp(ln((n − k)/k) + noise²/2 − gap)).

    Args:
        noise: standard deviation of the other logits; to leading order, for noise well below
            `freezing`. needles: how many, k, with the same gap.

    Raises:
        ValueError: there are more needles than keys.
    """
    n, gap, noise, k = floats(n, gap, noise, needles)
    check(n, k)
    with np.errstate(divide="ignore", over="ignore"):
        return 1 / (1 + np.exp(np.log(n - k) - np.log(k) + noise**2 / 2 - gap))


def entropy(
    n: ArrayLike, gap: ArrayLike, noise: ArrayLike = 0.0, needles: ArrayLike = 1
) -> Numbers:
    """Entropy of the needles' row under softmax, nats, by the chain rule: that of needles against
    the rest, and those inside each. One needle without noise: ln(e^gap + n − 1) − p·gap."""
    n, gap, noise, k = floats(n, gap, noise, needles)
    p = needle_mass(n, gap, noise, k)
    rest = gaussian_entropy(np.maximum(n - k, 1), noise)
    with np.errstate(divide="ignore", invalid="ignore"):
        split = -np.nan_to_num(p * np.log(p)) - np.nan_to_num((1 - p) * np.log1p(-p))
    return split + p * np.log(k) + (1 - p) * rest


def gaussian_entropy(n: ArrayLike, noise: ArrayLike) -> Numbers:
    """Mean entropy of softmax over n independent N(0, noise²) logits: ln n − noise²/2, nats.

    To leading order, for noise well below sqrt(2 ln n), where it freezes; never below 0 here.
    """
    n, noise = floats(n, noise)
    check(n)
    return np.maximum(np.log(n) - noise**2 / 2, 0)


def ssmax_needle_mass(n: ArrayLike, gap: ArrayLike, s: ArrayLike) -> Numbers:
    """Weight of the needle under softmax(s ln n · z), arXiv 2501.19399.

    n^(s·gap) / (n^(s·gap) + n − 1): it tends to 1 where s·gap > 1, to 0 where s·gap < 1.
    """
    n, gap, s = floats(n, gap, s)
    check(n)
    return needle_mass(n, s * np.log(n) * gap)


def entmax_needle_mass(n: ArrayLike, gap: ArrayLike, alpha: ArrayLike) -> Numbers:
    """Weight of the needle under α-entmax (arXiv 1905.05702): 1 where gap ≥ 1/(α − 1), for any n.

    Below that, (u + (α − 1) gap)^p + (n − 1) u^p = 1, p = 1/(α − 1), is solved for u by halving.
    At α = 2 it is 1/n + gap (n − 1)/n.

    Raises:
        ValueError: alpha is below 1, or gap below 0.
    """
    n, gap, alpha = floats(n, gap, alpha)
    check(n)
    if (alpha < 1).any() or (gap < 0).any():
        raise Refusal("alpha must be at least 1, gap at least 0")
    a = np.where(alpha > 1, alpha - 1, 1.0)
    low, high = np.zeros_like(n), n**-a  # all equal: n u^p = 1
    for _ in range(100):
        middle = (low + high) / 2
        above = (middle + a * gap) ** (1 / a) + (n - 1) * middle ** (1 / a) > 1
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    mass = np.minimum((low + a * gap) ** (1 / a), 1)
    return np.where(alpha > 1, mass, needle_mass(n, gap))


def gap_needed(
    n: ArrayLike, mass: ArrayLike, noise: ArrayLike = 0.0, needles: ArrayLike = 1
) -> Numbers:
    """Gap at which softmax gives the needles this mass: ln((n − k)/k) + noise²/2 + logit(mass).

    ln 2 more for every doubling of the text.

    Raises:
        ValueError: mass is not inside 0 … 1, or there are no keys but needles.
    """
    n, mass, noise, k = floats(n, mass, noise, needles)
    check(n, k + 1)
    if (mass <= 0).any() or (mass >= 1).any():
        raise Refusal("mass must lie between 0 and 1")
    return np.log(n - k) - np.log(k) + noise**2 / 2 + np.log(mass) - np.log1p(-mass)
