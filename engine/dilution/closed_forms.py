"""Means of a row with a planted needle, in closed form or by quadrature, at any length."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import lgamma

import numpy as np

from engine.contract import Refusal
from engine.dilution import noisy, theory
from engine.dilution.calibrate import Calibrated
from engine.mechanisms import MECHANISMS
from engine.mechanisms.entmax import Entmax

CLOSE = 0.62
"""Share of `freezing` up to which rows have about the same entropy."""


@dataclass(frozen=True)
class Setting:
    """A planted needle in closed form.

    Attributes:
        gap: logit of a needle over the others' mean. noise: standard deviation of the others.
        needles: how many. start: length at which mechanisms are matched to softmax; 0 for each at
            its paper's own setting.
    """

    gap: float = 5.0
    noise: float = 0.5
    needles: int = 1
    start: int = 0
    mechanisms: tuple[str, ...] = field(
        default=("softmax", "ssmax", "entmax", "adaptive_temperature")
    )


def settled(mechanism: str, setting: Setting) -> Calibrated:
    """The mechanism as it is drawn; where it is matched, its needles have softmax's mean mass at
    the start. One that sets its own temperature is not matched."""
    made = MECHANISMS[mechanism]()
    if not setting.start or made.sets_temperature:
        return Calibrated(made)
    if not isinstance(made, Entmax):
        return Calibrated(made.sharpened(1.0, setting.start) or made)
    of = (setting.start, setting.gap, setting.noise, setting.needles)
    aim, low, high = noisy.needle_mass(*of), 0.0, 4.0
    for _ in range(24):
        by = (low + high) / 2
        low, high = (by, high) if _entmax(made, of[0], by, setting).mass < aim else (low, by)
    return Calibrated(made, low)


def closed_form(
    mechanism: str, metric: str, n: np.ndarray, setting: Setting
) -> list[float | None]:
    """The metric's mean at lengths n; None where what is drawn would be more than a few hundredths
    off.

    Softmax and SSMax are exact at any noise, but for effective tokens: e to the mean entropy is
    within a tenth of the mean of e to the entropy below CLOSE of `freezing`, and where the needles
    hold a fifth of the row. Adaptive temperature takes β at the mean entropy, which
    rows keep close to below a third of it. For entmax see `theory.entmax_row`.

    Raises:
        ValueError: the mechanism has no such form.
    """
    found = settled(mechanism, setting)
    if isinstance(found.mechanism, Entmax):
        return _entmax_form(metric, n, setting, found)
    y, holds = np.full(n.shape, np.nan), np.full(n.shape, True)
    follows = found.mechanism.follows_entropy
    if follows:
        holds &= setting.noise <= theory.freezing(n) / 3
    n, k = n[holds], setting.needles
    h = noisy.entropy(n, setting.gap, setting.noise, k) if follows else 0.0
    by = found.mechanism.inverse_temperature(n, h)
    if by is None:
        raise Refusal(
            "{mechanism} has no closed form with noise", mechanism=found.mechanism.called
        )
    of = (n, by * setting.gap, by * setting.noise, k)
    shared = ("needle_mass", "entropy", "participation", "max_weight", "output_error")
    y[holds] = _of_entropy(
        metric, getattr(noisy, metric if metric in shared else "entropy")(*of), n
    )
    if metric == "effective_tokens":
        close = of[2] <= CLOSE * theory.freezing(n)
        holds[holds] = close | (noisy.needle_mass(*of) >= 0.2)
    return _where(holds, y)


def _entmax(made: Entmax, n: np.ndarray | int, by: float, setting: Setting) -> theory.Row:
    return theory.entmax_row(n, by * setting.gap, made.alpha, by * setting.noise, setting.needles)


def _entmax_form(
    metric: str, n: np.ndarray, setting: Setting, found: Calibrated
) -> list[float | None]:
    assert isinstance(found.mechanism, Entmax)
    row = _entmax(found.mechanism, n, found.scale, setting)
    y = {
        "needle_mass": row.mass,
        "participation": row.participation,
        "max_weight": row.largest,
        "output_error": np.sqrt((1 - row.mass) ** 2 + setting.needles * row.rest),
    }.get(metric, row.entropy)
    return _where((row.mass >= 0.5) | (row.support >= 25), _of_entropy(metric, y, n))


def _of_entropy(metric: str, y: np.ndarray, n: np.ndarray) -> np.ndarray:
    """What is said of the entropy y, if the metric is such a thing."""
    if metric == "normalised_entropy":
        return y / np.log(n)
    return np.exp(y) if metric == "effective_tokens" else y


def _where(holds: np.ndarray, y: np.ndarray) -> list[float | None]:
    return [float(v) if ok else None for v, ok in zip(y, holds, strict=True)]


def limits(metric: str, n: np.ndarray, causal: bool = False) -> dict[str, np.ndarray]:
    """What an even row and a row on one key have over n keys, where there is a limit; if causal,
    the mean of rows that see 1, 2, … n keys."""
    many, log, share = n, np.log(n), 1 / n
    if causal:
        many = (n + 1) / 2
        log = np.array([lgamma(x + 1) for x in n]) / n
        share = (np.log(n) + np.euler_gamma + 1 / (2 * n)) / n
    even = {
        "effective_tokens": many, "participation": many, "normalised_entropy": n**0,
        "entropy": log, "max_weight": share, "needle_mass": share,
    }  # fmt: skip
    one = {
        "effective_tokens": n**0, "participation": n**0, "normalised_entropy": 0 * n,
        "entropy": 0 * n, "max_weight": n**0, "needle_mass": n**0,
    }  # fmt: skip
    return {name: of[metric] for name, of in (("even", even), ("one", one)) if metric in of}
