"""Means of rows with a needle, at any length, against draws and against theory."""

from functools import cache

import numpy as np
import pytest
import torch

import engine
from engine.dilution import noisy, theory
from engine.dilution.closed_forms import Setting, closed_form, settled
from engine.kernels.dense import entmax
from engine.mechanisms.adaptive_temperature import beta
from tests.refusals import refused

LENGTHS = np.array([16.0, 64.0, 256.0, 1024.0, 4096.0])
METRICS = ("needle_mass", "effective_tokens", "entropy", "normalised_entropy", "participation",
           "max_weight")  # fmt: skip


@cache
def drawn(mechanism: str, n: int, setting: Setting) -> dict[str, tuple[float, float]]:
    """The metrics of random rows under a mechanism at its own setting, in float64: mean, error."""
    rows = max(200, 2 ** (17 if mechanism == "entmax" else 19) // n)
    z = torch.randn(rows, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z *= setting.noise
    z[:, : setting.needles] = setting.gap
    w = z.softmax(-1)
    entropy = -torch.xlogy(w, w).sum(1)
    if mechanism == "ssmax":
        w = (0.43 * np.log(n) * z).softmax(-1)
    elif mechanism == "entmax":
        w = entmax(z[None], 1.5)[0]
    elif mechanism == "adaptive_temperature":
        w = (beta(entropy)[:, None] * z).softmax(-1)
    entropy = -torch.xlogy(w, w).sum(1)
    found = (w[:, : setting.needles].sum(1), entropy.exp(), entropy, entropy / np.log(n),
             1 / w.square().sum(1), w.max(1).values)  # fmt: skip
    each = zip(METRICS, found, strict=True)
    return {name: (float(x.mean()), float(x.std()) / rows**0.5) for name, x in each}


@pytest.mark.parametrize("mechanism", Setting().mechanisms)
@pytest.mark.parametrize(("gap", "noise"), [(6.0, 0.5), (6.0, 1.5), (6.0, 3.0), (2.0, 1.0)])
def test_what_is_drawn_is_what_rows_come_to(mechanism, gap, noise):
    """Wherever there is a curve; that it ends where it must is the next test."""
    setting = Setting(gap, noise)
    for metric in METRICS:
        curve = closed_form(mechanism, metric, LENGTHS, setting)
        for n, y in zip(LENGTHS, curve, strict=True):
            if y is None:
                continue
            expected, error = drawn(mechanism, int(n), setting)[metric]
            rough = mechanism in ("entmax", "adaptive_temperature")
            bound = (0.15 if rough else 0.1 if metric == "effective_tokens" else 2e-3) * expected
            assert y == pytest.approx(
                expected, abs=bound + 4 * error + (0.02 if rough else 1e-5)
            ), (metric, n)


def test_a_curve_is_drawn_where_it_holds_and_ends_there():
    def drawn_at(mechanism: str, metric: str, noise: float) -> list[int]:
        curve = closed_form(mechanism, metric, LENGTHS, Setting(6.0, noise))
        return [int(n) for n, y in zip(LENGTHS, curve, strict=True) if y is not None]

    everywhere = LENGTHS.astype(int).tolist()
    for metric in METRICS:
        assert drawn_at("softmax", metric, 0.5) == everywhere
        assert drawn_at("entmax", metric, 0.5) == everywhere
        assert drawn_at("adaptive_temperature", metric, 0.5) == everywhere
        if metric != "effective_tokens":
            assert drawn_at("softmax", metric, 3.0) == everywhere == drawn_at("ssmax", metric, 3.0)
    assert drawn_at("softmax", "effective_tokens", 3.0) == [16]  # the needle holds half of it
    assert drawn_at("softmax", "effective_tokens", 2.0) == everywhere
    assert drawn_at("adaptive_temperature", "needle_mass", 1.2) == [1024, 4096]
    assert drawn_at("entmax", "needle_mass", 3.0) == []


def test_each_at_its_papers_own_setting_or_matched() -> None:
    """Matched at 64 keys entmax's logits are scaled by 0.311, so that its threshold is 6.43 and a
    needle 6 ahead thins out; as its paper has it, that needle keeps everything at any length."""
    last = np.array([2.0**20])
    own, matched = Setting(6.0, 0.5), Setting(6.0, 0.5, start=64)
    assert settled("entmax", own).scale == 1 and settled("ssmax", own).mechanism.s == 0.43
    assert closed_form("entmax", "needle_mass", last, own) == pytest.approx([1.0])
    scale = settled("entmax", matched).scale
    assert scale == pytest.approx(0.311, abs=5e-4) and 2 / scale == pytest.approx(6.43, abs=0.01)
    assert closed_form("entmax", "needle_mass", last, matched) == pytest.approx([0.465], abs=1e-3)
    assert settled("ssmax", matched).mechanism.s == pytest.approx(1 / np.log(64))
    assert settled("softmax", matched).mechanism.temperature == 1
    start = np.array([64.0])
    for key in ("ssmax", "entmax"):
        assert closed_form(key, "needle_mass", start, matched) == pytest.approx(
            [float(noisy.needle_mass(64, 6.0, 0.5))], abs=1e-4
        )
    # what sets its own temperature is never matched
    adaptive = settled("adaptive_temperature", matched)
    assert (adaptive.scale, adaptive) == (1.0, settled("adaptive_temperature", own))


def test_without_noise_they_are_the_theorys() -> None:
    n = np.array([64.0, 1024.0])
    setting = Setting(gap=5.0, noise=0.0)
    plain = closed_form("softmax", "needle_mass", n, setting)
    assert plain == pytest.approx(theory.needle_mass(n, 5.0).tolist(), rel=1e-5)
    scaled = closed_form("ssmax", "needle_mass", n, setting)
    assert scaled == pytest.approx(
        engine.theory.ssmax_needle_mass(n, 5.0, 0.43).tolist(), rel=1e-5
    )
    adaptive = closed_form("adaptive_temperature", "needle_mass", n, setting)
    assert adaptive == pytest.approx(theory.adaptive_needle_mass(n, 5.0).tolist(), rel=1e-4)
    with refused(match="closed form"):
        closed_form("window", "needle_mass", n, setting)
