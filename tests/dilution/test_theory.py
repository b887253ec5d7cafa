"""Closed forms against known values, against attention itself, and against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine.dilution import noisy, theory
from tests.refusals import refused


def row(n: int, gap: float, mechanism: str = "softmax", **parameters) -> engine.metrics.RowStats:
    """Statistics of one needle among equal others, by the engine."""
    logits = torch.zeros(1, n, 1, dtype=torch.float64)
    logits[0, n // 2] = gap
    one = torch.ones_like(logits[:, :1])
    qkv = engine.QKV(one, logits, torch.ones_like(logits), scale=1.0,
                     needles=torch.tensor([n // 2]))  # fmt: skip
    return engine.attend(qkv, mechanism, **parameters).rows()


def test_known_values():
    assert theory.needle_mass(1000, 5) == pytest.approx(0.129346, abs=5e-7)
    assert theory.entropy(1000, 5) == pytest.approx(6.398536, abs=5e-7)
    assert theory.participation(1000, 5) == pytest.approx(57.1783, abs=5e-5)
    assert theory.needle_mass(1000, math.log(999)) == pytest.approx(0.5)
    assert theory.participation(1000, math.log(999)) == pytest.approx(4 * 999 / 1000)
    assert theory.needle_mass(65536, 5) == pytest.approx(0.00226, abs=5e-6)
    assert theory.ssmax_needle_mass(65536, 5, 0.43) == pytest.approx(0.999997, abs=5e-7)
    assert theory.gaussian_entropy(1024, 1) == pytest.approx(6.431, abs=5e-4)
    assert theory.gaussian_entropy(8192, 2) == pytest.approx(7.011, abs=5e-4)
    assert (theory.needle_mass(1, 3), theory.entropy(1, 3)) == (1, 0)


@settings(max_examples=40)
@given(st.integers(2, 3000), st.floats(0, 12))
def test_equals_attention(n, gap):
    found = row(n, gap)
    assert theory.needle_mass(n, gap) == pytest.approx(found.needle_mass.item(), abs=1e-12)
    assert theory.entropy(n, gap) == pytest.approx(found.entropy.item(), abs=1e-10)
    assert theory.participation(n, gap) == pytest.approx(found.participation.item(), rel=1e-9)
    scaled = row(n, gap, "ssmax", s=0.5).needle_mass.item()
    assert theory.ssmax_needle_mass(n, gap, 0.5) == pytest.approx(scaled, abs=1e-12)
    adaptive = row(n, gap, "adaptive_temperature").needle_mass.item()
    assert theory.adaptive_needle_mass(n, gap) == pytest.approx(adaptive, abs=1e-9)
    for alpha in (1.0, 1.3, 1.5, 2.0, 2.7):
        sparse = row(n, gap, "entmax", alpha=alpha).needle_mass.item()
        assert theory.entmax_needle_mass(n, gap, alpha) == pytest.approx(sparse, abs=1e-9)


@given(st.integers(2, 10**6), st.floats(0.01, 0.99))
def test_the_gap_needed_gives_the_mass(n, mass):
    gap = theory.gap_needed(n, mass)
    assert theory.needle_mass(n, gap) == pytest.approx(mass, rel=1e-9)
    if n > 2:
        assert theory.gap_needed(2 * n - 1, mass) - gap == pytest.approx(math.log(2), abs=1e-9)
    scaled = theory.ssmax_gap_needed(n, mass, 0.43)
    assert theory.ssmax_needle_mass(n, scaled, 0.43) == pytest.approx(mass, rel=1e-9)


@settings(max_examples=20)
@given(st.integers(2, 2000), st.floats(0, 3), st.sampled_from([1.3, 1.5, 2.0]))
def test_an_entmax_row_without_noise_is_exact(n, gap, alpha):
    found, made = theory.entmax_row(n, gap, alpha), row(n, gap, "entmax", alpha=alpha)
    assert found.mass == pytest.approx(theory.entmax_needle_mass(n, gap, alpha), abs=1e-9)
    assert found.entropy == pytest.approx(made.entropy.item(), abs=1e-6)
    assert found.participation == pytest.approx(made.participation.item(), rel=1e-6)
    assert found.largest == pytest.approx(made.max_weight.item(), abs=1e-6)


def test_an_entmax_row_of_a_few_random_keys_is_not_mistaken_for_one_of_many():
    """Where random keys lie above the needle, the threshold does, too."""
    n = np.array([64.0, 4096.0, 2.0**20])
    found = theory.entmax_row(n, 1.0, 1.5, 3.0)
    assert (found.mass < 0.5).all() and (found.support < 25).all()
    assert np.isfinite(found.entropy).all() and (found.largest <= 1).all()


@pytest.mark.parametrize(("gap", "noise"), [(1.0, 0.5), (2.0, 0.5), (4.0, 1.0), (2.0, 1.0)])
@pytest.mark.parametrize("n", [64, 512])
def test_an_entmax_row_among_noise_is_what_draws_come_to(gap, noise, n):
    found = theory.entmax_row(n, gap, 1.5, noise, 2)
    holds = found.mass >= 0.5 or found.support >= 25
    assert holds == ((gap, noise, n) not in ((2.0, 1.0, 64), (2.0, 1.0, 512), (1.0, 0.5, 64)))
    if not holds:
        return
    qkv = engine.sources.planted(n=n, heads=2, gap=gap, noise=noise, needles=2, seed=3)
    rows = engine.attend(qkv, "entmax", alpha=1.5).rows()
    assert found.mass == pytest.approx(float(rows.needle_mass.mean()), abs=0.03)
    assert found.entropy == pytest.approx(float(rows.entropy.mean()), abs=0.25)
    square = float((1 / rows.participation).mean())
    assert 1 / found.participation == pytest.approx(square, rel=0.2)
    assert found.largest == pytest.approx(float(rows.max_weight.mean()), abs=0.02)


def test_an_entmax_row_tends_to_softmax():
    found = theory.entmax_row(300, 4.0, 1.001, 0.7)
    assert found.mass == pytest.approx(theory.needle_mass(300, 4.0, 0.7), rel=0.02)
    assert found.entropy == pytest.approx(theory.entropy(300, 4.0, 0.7), rel=0.02)
    with refused(match="above 1"):
        theory.entmax_row(10, 1.0, 1.0)


def test_entmax_is_one_hot_from_one_over_alpha_less_one_on():
    n = np.array([2, 100, 10**6])
    for alpha in (1.5, 2.0, 3.0):
        edge = 1 / (alpha - 1)
        assert (theory.entmax_needle_mass(n, edge, alpha) == pytest.approx(1)) is True
        assert (theory.entmax_needle_mass(n, edge - 0.01, alpha) < 1).all()
    gap = np.linspace(0, 1, 11)[:, None]
    np.testing.assert_allclose(
        theory.entmax_needle_mass(n, gap, 2.0), 1 / n + gap * (n - 1) / n, atol=1e-12
    )
    u = (-gap / 2 + np.sqrt(gap**2 / 4 - n * (gap**2 / 4 - 1))) / n
    np.testing.assert_allclose(
        theory.entmax_needle_mass(n, gap, 1.5), (u + gap / 2) ** 2, atol=1e-12
    )


def test_ssmax_has_its_threshold_where_s_times_gap_is_one():
    n = np.array([10.0, 1e3, 1e6])
    np.testing.assert_allclose(theory.ssmax_needle_mass(n, 2.0, 0.5), n / (2 * n - 1))
    assert (np.diff(theory.ssmax_needle_mass(n, 2.2, 0.5)) > 0).all()
    assert (np.diff(theory.ssmax_needle_mass(n, 1.8, 0.5)) < 0).all()


def test_gaussian_entropy_is_what_is_measured():
    qkv = engine.sources.planted(n=1024, heads=4, gap=0.0, needles=0, noise=1.0)
    found = engine.attend(qkv, "softmax").rows().entropy.mean().item()
    assert theory.gaussian_entropy(1024, 1.0) == pytest.approx(found, abs=0.02)


def test_what_cannot_be_is_refused():
    for call in (
        lambda: theory.needle_mass(0, 1), lambda: theory.gap_needed(1, 0.5),
        lambda: theory.gap_needed(10, 1.0), lambda: theory.entmax_needle_mass(10, 1, 0.5),
    ):  # fmt: skip
        with refused():
            call()


def drawn(n: int, gap: float, noise: float, needles: int, rows: int = 4000) -> torch.Tensor:
    """Weights of rows of random logits, needles first, (rows n)."""
    z = torch.randn(rows, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z *= noise
    z[:, :needles] = gap
    return z.softmax(-1)


@pytest.mark.parametrize(
    ("n", "noise", "needles"), [(1024, 0.5, 1), (1024, 1.0, 4), (256, 0.8, 2)]
)
def test_noise_and_several_needles_land_on_the_draws(n: int, noise: float, needles: int) -> None:
    gap = 5.0
    w = drawn(n, gap, noise, needles)
    mass = w[:, :needles].sum(1).mean()
    assert float(theory.needle_mass(n, gap, noise, needles)) == pytest.approx(
        float(mass), rel=0.02
    )
    entropy = -(w * w.log()).sum(1).mean()
    assert float(theory.entropy(n, gap, noise, needles)) == pytest.approx(float(entropy), rel=0.02)
    participation = (1 / w.square().sum(1)).mean()
    found = float(theory.participation(n, gap, noise, needles))
    assert found == pytest.approx(float(participation), rel=0.01)


def test_output_error_is_that_of_random_values() -> None:
    n, gap, noise, k, d = 512, 4.0, 0.6, 2, 64
    w = drawn(n, gap, noise, k, rows=400)
    v = torch.randn(40, n, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    aim = v[:, :k].mean(1, keepdim=True)
    missed = (w @ v - aim).square().sum() / (aim.square().sum() * len(w))
    expected = float(theory.output_error(n, gap, noise, k))
    assert expected == pytest.approx(float(missed.sqrt()), rel=0.02)
    one = float(theory.output_error(1000, 5.0))
    p = float(theory.needle_mass(1000, 5.0))
    assert one**2 == pytest.approx((1 - p) ** 2 * (1 + 1 / 999))


def test_rank_is_kept_longer_than_mass() -> None:
    assert float(theory.rank_kept(1000, 3.5, 1.0)) == pytest.approx(0.793, abs=1e-3)
    assert float(theory.rank_kept(5, 1.0, 0.0)) == 1 and float(theory.rank_kept(1, -1.0, 1.0)) == 1
    n = np.array([16.0, 256.0, 4096.0, 2.0**20])
    for noise in (0.25, 1.0, 2.0, 3.0):
        rank = theory.rank_gap(n, noise)
        np.testing.assert_allclose(theory.rank_kept(n, rank, noise), 0.5, rtol=1e-6)
        assert (rank < noise * theory.freezing(n)).all()
        assert (noisy.gap_needed(n, 0.5, noise) > rank).all()
    assert float(theory.rank_gap(2.0**60, 1.0)) == pytest.approx(
        theory.freezing(2.0**60), rel=0.05
    )
    at = theory.freezing(n)  # where ln n + s²/2 touches s·√(2 ln n)
    assert theory.gap_needed(n + 1, 0.5, at) == pytest.approx(at * theory.freezing(n))


@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_half_the_mass_at_the_gap_needed(noise: float) -> None:
    gap = theory.gap_needed(1024, 0.5, noise, 2)
    assert float(theory.needle_mass(1024, gap, noise, 2)) == pytest.approx(0.5)
    measured = drawn(1024, float(gap), noise, 2)[:, :2].sum(1).mean()
    assert float(measured) == pytest.approx(0.5, abs=0.01)
