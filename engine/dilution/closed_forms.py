"""Metrics of a row with a planted needle, in closed form, at any length."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import lgamma

import numpy as np

from engine.contract import Refusal
from engine.dilution import theory
from engine.mechanisms import MECHANISMS


@dataclass(frozen=True)
class Setting:
    """A planted needle in closed form.

    Attributes:
        gap: logit of a needle over the others' mean. noise: standard deviation of the others.
        needles: how many. start: length at which remedies equal softmax.
    """

    gap: float = 5.0
    noise: float = 0.5
    needles: int = 1
    start: int = 64
    mechanisms: tuple[str, ...] = field(
        default=("softmax", "ssmax", "entmax", "adaptive_temperature")
    )


def sharpness(mechanism: str, n: np.ndarray, setting: Setting) -> np.ndarray:
    """Factor on the logits of n keys; remedies with a parameter equal softmax at the start.

    Raises:
        ValueError: the mechanism has no such form.
    """
    made = MECHANISMS[mechanism]()
    made = made.sharpened(1.0, setting.start) or made
    h = theory.entropy(n, setting.gap, setting.noise, setting.needles)
    found = made.inverse_temperature(n, h)
    if found is None:
        raise Refusal("{mechanism} has no closed form with noise", mechanism=mechanism)
    return np.broadcast_to(found, n.shape)


def closed_form(
    mechanism: str, metric: str, n: np.ndarray, setting: Setting
) -> list[float | None]:
    """The metric at lengths n; None where noise freezes and the form no longer holds."""
    if mechanism == "entmax":
        return entmax_form(metric, n, setting)
    by = sharpness(mechanism, n, setting)
    gap, noise = by * setting.gap, by * setting.noise
    of = (n, gap, noise, setting.needles)
    forms = {
        "needle_mass": lambda: theory.needle_mass(*of),
        "entropy": lambda: theory.entropy(*of),
        "normalised_entropy": lambda: theory.entropy(*of) / np.log(n),
        "effective_tokens": lambda: np.exp(theory.entropy(*of)),
        "participation": lambda: theory.participation(*of),
        "max_weight": lambda: theory.needle_mass(*of) / setting.needles,
        "output_error": lambda: theory.output_error(*of),
    }
    y = forms[metric]()
    holds = np.atleast_1d(noise < 0.75 * theory.freezing(n))
    return [float(v) if ok else None for v, ok in zip(y, holds, strict=True)]


ALPHA = 1.5


def entmax_form(metric: str, n: np.ndarray, setting: Setting) -> list[float | None]:
    """The metric under entmax, sharpened so that its needles begin with softmax's mass."""
    start, k = setting.start, setting.needles
    aim = theory.needle_mass(start, setting.gap, setting.noise, k)

    def row(n: np.ndarray | int, by: float) -> theory.Row:
        return theory.entmax_row(n, by * setting.gap, ALPHA, by * setting.noise, k)

    low, high = 0.0, 4.0
    for _ in range(40):
        by = (low + high) / 2
        low, high = (by, high) if row(start, by).mass < aim else (low, by)
    found = row(n, low)
    y = {
        "needle_mass": found.mass,
        "entropy": found.entropy,
        "normalised_entropy": found.entropy / np.log(n),
        "effective_tokens": np.exp(found.entropy),
        "participation": found.participation,
        "max_weight": found.mass / k,
        "output_error": np.sqrt((1 - found.mass) ** 2 + k * found.rest),
    }[metric]
    holds = (found.mass >= 0.5) | (found.support >= 25)
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
