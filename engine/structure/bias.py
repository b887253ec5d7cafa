"""What position adds to scores, over stretches of distance."""

from __future__ import annotations

from math import tanh

import numpy as np

from engine.mechanisms.relative import Relative
from engine.structure.shown import Shown

ALONE, PER_FOLD = 48, 24
"""Distances that have a mean of their own; stretches further out, each time distance doubles."""


def told_apart(shown: Shown) -> int | None:
    """The largest distance that a relative position tells apart, if that is what was attended."""
    mechanism = shown.mechanism
    return mechanism.max_distance if isinstance(mechanism, Relative) else None


def window(slope: float, causal: bool) -> float:
    """Participation ratio of ALiBi's weights where all scores are equal, in a long text."""
    one = 1 / tanh(slope / 2)
    return one if causal else one**2 * tanh(slope)


def stretches(
    distance: np.ndarray, means: np.ndarray, pairs: np.ndarray, fewest: int
) -> tuple[np.ndarray, np.ndarray]:
    """(k) distances and (h k) means over stretches that grow with distance; NaN of too few pairs.

    The nearest distances stand by themselves.
    """
    side = np.where(
        np.abs(distance) <= ALONE, np.abs(distance),
        ALONE + np.ceil(PER_FOLD * np.log2(np.maximum(np.abs(distance), 1) / ALONE)),
    ) * np.sign(distance)  # fmt: skip
    _, first = np.unique(side, return_index=True)
    count = np.add.reduceat(pairs, first)
    total = np.add.reduceat(np.where(pairs > 0, means, 0) * pairs, first, axis=-1)
    middle = np.add.reduceat(distance, first) / np.diff([*first, len(distance)])
    return middle, np.where(count >= fewest, total / np.maximum(count, 1), np.nan)
