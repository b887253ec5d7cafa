"""Exact means over noise, against draws in float64, against a sum by hand, and in their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.dilution import noisy, theory
from tests.refusals import refused

NAMES = ("needle_mass", "entropy", "participation", "max_weight", "output_error")
TERMS = (1e-4, 1e-4, 1e-3, 3e-4, 1e-4)  # of the quadrature


def rows(n: int, gap: float, noise: float, needles: int, count: int) -> torch.Tensor:
    """Weights of softmax over random logits, needles first, (count n)."""
    z = torch.randn(count, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z *= noise
    z[:, :needles] = gap
    return z.softmax(-1)


def statistics(w: torch.Tensor, needles: int) -> torch.Tensor:
    """Of each row, in the order of NAMES, (5 count); of the output error its square, that of
    values with variance 1: the rest's weight squared, and needles·Σw² of the rest."""
    mass, rest = w[:, :needles].sum(1), w[:, needles:]
    error = (1 - mass) ** 2 + needles * rest.square().sum(1)
    entropy = -torch.xlogy(w, w).sum(1)
    return torch.stack([mass, entropy, 1 / w.square().sum(1), w.max(1).values, error])


@pytest.mark.parametrize(
    ("n", "gap", "noise", "needles"),
    [
        (16, 6.0, 3.0, 4), (64, 6.0, 3.0, 1), (300, 4.0, 1.0, 16), (256, 10.0, 4.0, 1),
        (1024, 6.0, 0.5, 1), (1024, 6.0, 2.0, 1), (1024, 6.0, 3.0, 2), (4096, 1.0, 1.5, 1),
        (64, 36.0, 17.0, 1),
    ],
)  # fmt: skip
def test_means_are_those_of_draws_at_any_noise(n, gap, noise, needles):
    drawn = statistics(rows(n, gap, noise, needles, 2**22 // max(n, 512)), needles)
    mean, error = drawn.mean(1), drawn.std(1) / drawn.shape[1] ** 0.5
    for i, (name, off) in enumerate(zip(NAMES, TERMS, strict=True)):
        found = float(getattr(noisy, name)(n, gap, noise, needles))
        if name == "output_error":
            found **= 2
        assert found == pytest.approx(float(mean[i]), rel=off, abs=4 * float(error[i])), name


def test_what_was_drawn_where_noise_freezes():
    """Σw² freezes at half the critical noise, where n·e^(−s²) is 18.8; and a random key is the
    largest long before the needle's share says so."""
    assert float(noisy.participation(1024, 6.0, 2.0)) == pytest.approx(49.2, abs=0.1)
    assert float(noisy.max_weight(4096, 1.0, 1.5)) == pytest.approx(0.0206, abs=1e-4)
    assert float(noisy.needle_mass(4096, 1.0, 1.5)) == pytest.approx(0.000216, abs=1e-6)
    assert float(noisy.needle_mass(16, 6.0, 3.0)) == pytest.approx(0.555, abs=1e-3)


@pytest.mark.parametrize(("gap", "noise"), [(3.0, 1.0), (0.0, 2.0), (1.0, 6.0)])
def test_two_keys_are_an_integral_over_one_logit(gap, noise):
    x = np.linspace(-12, 12, 100_001)
    chance = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) * (x[1] - x[0])
    p = 1 / (1 + np.exp(noise * x - gap))
    q = 1 - p
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nan_to_num(p * np.log(p)) - np.nan_to_num(q * np.log(q))
    each = (p, entropy, 1 / (p**2 + q**2), np.maximum(p, q), 2 * q**2)
    for name, off, values in zip(NAMES, TERMS, each, strict=True):
        found = float(getattr(noisy, name)(2, gap, noise)) ** (2 if name == "output_error" else 1)
        assert found == pytest.approx(float(values @ chance), rel=2 * off), name


@settings(max_examples=40)
@given(st.integers(2, 10**6), st.floats(0, 20), st.integers(1, 16))
def test_without_noise_they_are_the_closed_forms(n, gap, needles):
    needles = min(needles, n)
    for name in ("needle_mass", "entropy", "participation", "output_error"):
        found = getattr(noisy, name)(n, gap, 0.0, needles)
        form = getattr(theory, name)(n, gap, 0.0, needles)
        assert found == pytest.approx(form, rel=1e-5, abs=1e-5), name
    mass = theory.needle_mass(n, gap, 0.0, needles)
    assert noisy.max_weight(n, gap, 0.0, needles) == pytest.approx(mass / needles, rel=1e-3)


def test_needles_alone_share_evenly():
    found = [float(getattr(noisy, name)(8, 3.0, 1.0, 8)) for name in NAMES]
    assert found == pytest.approx([1, math.log(8), 8, 1 / 8, 0], abs=1e-5)


@settings(max_examples=30)
@given(st.integers(2, 10**6), st.floats(0.01, 0.99), st.floats(0, 3), st.integers(1, 4))
def test_the_gap_needed_gives_the_mass(n, mass, noise, needles):
    needles = min(needles, n - 1)
    gap = noisy.gap_needed(n, mass, noise, needles)
    assert float(noisy.needle_mass(n, gap, noise, needles)) == pytest.approx(mass, abs=1e-5)


def test_forms_to_leading_order_hold_up_to_half_of_freezing():
    n, gap = np.array([16.0, 64, 256, 1024, 4096, 2.0**20])[:, None], np.linspace(0, 14, 8)
    for share in (0.3, theory.LEADING):
        noise = share * theory.freezing(n)
        assert theory.leads(n, noise).all() and not theory.leads(n, noise * 2.01).any()
        off = theory.needle_mass(n, gap, noise) - noisy.needle_mass(n, gap, noise)
        assert np.abs(off).max() < 0.025
    noise = 0.9 * theory.freezing(n)
    off = theory.needle_mass(n, gap, noise) - noisy.needle_mass(n, gap, noise)
    assert np.abs(off).max() > 0.05


def test_what_cannot_be_is_refused():
    for call in (
        lambda: noisy.needle_mass(2, 1.0, 1.0, 3), lambda: noisy.gap_needed(4, 1.0, 1.0),
        lambda: noisy.gap_needed(1, 0.5, 1.0),
    ):  # fmt: skip
        with refused():
            call()
