"""Known laws of attention through depth, at growing length, and of random maps.

Layers here only mix: each row becomes the mean of what it attends to, with no residual. n counts
keys, t layers; weights are shares.
"""

from __future__ import annotations

from math import exp, floor, lgamma, log

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from engine.contract import Refusal

Rows = Float[ndarray, "n n"]
STEPS = 4001
"""Of a quadrature over depth."""


def causal(n: int, slope: float = 0.0, window: int | None = None) -> Rows:
    """Causal attention with equal scores, less `slope` a token (ALiBi), over the last `window`."""
    if n < 1:
        raise Refusal("there is no row of {n} keys", n=n)
    far = np.arange(n)[:, None] - np.arange(n)
    seen = (far >= 0) & (far < (window or n))
    w = np.where(seen, np.exp(-slope * np.maximum(far, 0)), 0.0)
    return w / w.sum(1, keepdims=True)


def first_token(n: int, layers: int, slope: float = 0.0, window: int | None = None) -> ndarray:
    """What the last of n rows holds of the first token after 1, 2, … layers, (layers)."""
    w, row = causal(n, slope, window), np.zeros(n)
    row[-1] = 1.0
    found = []
    for _ in range(layers):
        row = row @ w
        found.append(row[0])
    return np.array(found)


def first_token_even(n: int, layers: int) -> float:
    """The same in closed form where all scores are equal: a row is a mean of those up to it, and
    t means of means are ∫ (1 − e⁻ᵘ)^(n−1) uᵗ⁻¹ e⁻ᵘ du / (t − 1)! (Hölder's means).

    It tends to 1 with depth at any length: arXiv 2502.01951, theorem 4.1.
    """
    t = layers
    step = (t + 12 * t**0.5 + 30) / STEPS
    u = (np.arange(STEPS) + 0.5) * step
    density = np.exp((t - 1) * np.log(u) - u - lgamma(t))
    y = density * (-np.expm1(-u)) ** (n - 1)
    return float(y.sum() * step)


def alibi_peak(slope: float, layers: int) -> int:
    """How far back the largest weight lies after t layers of ALiBi, far from the first token: the
    mode of a sum of t geometric steps, ⌊(t − 1) / (e^slope − 1)⌋ (arXiv 2502.01951, theorem 4.5,
    whose t is one less)."""
    return floor((layers - 1) / (exp(slope) - 1))


def kept_by_itself(n: int, gamma: float, likeness: float) -> float:
    """A row's weight on its own token among n whose cosines with each other are all `likeness`,
    scores times γ ln n: 1 in the limit of long texts if γ > 1/(1 − likeness), else 0.

    Source: arXiv 2510.05554.
    """
    return 1 / (1 + (n - 1) * exp(-gamma * log(n) * (1 - likeness)))


def random_map(n: int, noise: float, seed: int = 0) -> Rows:
    """Softmax of independent scores N(0, noise²)."""
    z = np.random.default_rng(seed).normal(0, noise, (n, n))
    w = np.exp(z - z.max(1, keepdims=True))
    return w / w.sum(1, keepdims=True)


def gap(n: int, noise: float, seed: int = 0) -> tuple[float, float]:
    """The two largest singular values of a random map: the second falls with the length, so that
    each layer brings all tokens nearer to one direction (arXiv 2410.07799)."""
    s = np.linalg.svd(random_map(n, noise, seed), compute_uv=False)
    return float(s[0]), float(s[1])


def bulk(n: int, noise: float) -> float:
    """Where the second singular value lies in the limit of long texts: 2 √((e^noise² − 1) / n),
    the edge of n × n independent weights of that variance."""
    return 2 * ((exp(noise**2) - 1) / n) ** 0.5
