"""Known laws, each with its source: in closed form, by products of maps, and in the engine."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import engine
import engine.models.zoo.network
from engine.dilution import laws
from engine.runtime.paths import ZOO
from tests.refusals import refused


@pytest.mark.parametrize("n", [1, 2, 5, 64, 500])
def test_the_first_token_takes_over_with_depth(n):
    """Position bias under causal masks (arXiv 2502.01951, theorem 4.1): by products, as Hölder's
    means, and by hand where there are two tokens: ½ of what is left goes over at each layer."""
    found = laws.first_token(n, 12)
    for t in (1, 2, 5, 12):
        assert laws.first_token_even(n, t) == pytest.approx(found[t - 1], abs=1e-4)
    assert (np.diff(found) >= -1e-12).all()
    if n == 2:
        assert found == pytest.approx(1 - 0.5 ** np.arange(1, 13))
    assert laws.first_token(n, 400)[-1] > 0.99


def test_even_causal_rows_are_the_engines():
    qkv = engine.sources.identical(n=40, heads=1, dim=8).replace(causal=True)
    w = engine.attend(qkv, "softmax").weights()[0].double().numpy()
    assert w == pytest.approx(laws.causal(40), abs=1e-6)
    alibi = engine.attend(qkv, "relative", kind="alibi").weights()[0].double().numpy()
    assert alibi == pytest.approx(laws.causal(40, 2.0**-8), abs=1e-6)
    near = engine.attend(qkv, "window", window=7, sinks=0).weights()[0].double().numpy()
    assert near == pytest.approx(laws.causal(40, window=7), abs=1e-6)
    with refused(match="no row of 0"):
        laws.causal(0)


@pytest.mark.parametrize(
    ("slope", "expected"), [(0.223, {1: 4, 2: 8, 4: 16, 10: 40}), (0.5, {4: 6, 10: 15})]
)
def test_alibi_s_peak_moves_back_by_layers(slope, expected):
    """arXiv 2502.01951, theorem 4.5: the peak of t + 1 layers lies ⌊t / (e^m − 1)⌋ back."""
    w, row = laws.causal(400, slope), np.zeros(400)
    row[-1] = 1.0
    for layers in range(1, 12):
        row = row @ w
        far = 399 - int(row.argmax())
        # between two that are all but equal, either
        assert abs(far - laws.alibi_peak(slope, layers)) <= 1
        assert row[399 - laws.alibi_peak(slope, layers)] == pytest.approx(row.max(), rel=1e-3)
        if layers - 1 in expected:
            assert laws.alibi_peak(slope, layers) == expected[layers - 1]


def test_a_window_delays_the_first_token_and_does_not_stop_it():
    """arXiv 2502.01951: nothing of it before the window's steps reach back so far, all in the
    end."""
    found = laws.first_token(64, 3000, window=8)
    assert (found[:8] == 0).all() and found[8] > 0 and found[-1] > 0.99


def test_two_softmaxes_differ_less_and_less_on_longer_texts():
    """Dispersion (arXiv 2406.04267): a change of the first 200 scores by at most 0.1 moves less
    of a row the longer it is, in inverse proportion; the numbers of the engine's own softmax."""
    draw = np.random.default_rng(0)
    for n, expected in ((1000, 8.48e-3), (4000, 2.49e-3), (16_000, 6.39e-4), (64_000, 1.66e-4)):
        moved = []
        for _ in range(20):
            z = draw.uniform(0, 1, n)
            other = z.copy()
            other[:200] += draw.uniform(0, 0.1, 200)
            first, second = (
                engine.attend(
                    engine.QKV(torch.ones(1, 1, 1).double(), torch.tensor(x)[None, :, None],
                               torch.zeros(1, n, 1).double(), scale=1.0), "softmax"
                ).weights()[0, 0].numpy()
                for x in (z, other)
            )  # fmt: skip
            moved.append(np.abs(first - second).sum() / 2)
        assert np.mean(moved) == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("likeness", [0.0, 0.3, 0.8])
def test_there_is_a_phase_change_at_one_over_one_less_likeness(likeness):
    """arXiv 2510.05554, among tokens of one cosine, in the engine: scores γ ln n times cosines."""
    critical = 1 / (1 - likeness)
    for n in (50, 400):
        x = np.linalg.cholesky(likeness + (1 - likeness) * np.eye(n))  # whose products these are
        x = torch.tensor(x)[None]
        for gamma in (0.5 * critical, critical, 2 * critical):
            qkv = engine.QKV(x, x, x, scale=gamma * log(n))
            own = float(engine.attend(qkv, "softmax").weights()[0, 3, 3])
            assert laws.kept_by_itself(n, gamma, likeness) == pytest.approx(own, abs=1e-6)
    for n in (10**2, 10**4, 10**8):
        assert laws.kept_by_itself(n, critical, likeness) == pytest.approx(0.5, abs=0.01)
    assert laws.kept_by_itself(10**12, 1.3 * critical, likeness) > 0.999
    assert laws.kept_by_itself(10**12, 0.7 * critical, likeness) < 0.001


def test_random_maps_have_one_large_singular_value():
    """Rank collapse in width (arXiv 2410.07799): numbers at σ = 1, and ‖A‖²/s₁² → e^σ²."""
    for n, expected in ((256, 0.230), (1024, 0.100)):
        first, second = laws.gap(n, 1.0)
        assert second == pytest.approx(expected, rel=0.15) and first == pytest.approx(1, abs=0.05)
    w = laws.random_map(1024, 1.0)
    assert (w**2).sum() / laws.gap(1024, 1.0)[0] ** 2 == pytest.approx(np.e, rel=0.03)
    # at little noise the edge of independent weights is where it is said to be
    assert laws.gap(800, 0.3)[1] == pytest.approx(laws.bulk(800, 0.3), rel=0.05)


def test_a_repeated_token_without_positions_is_read_evenly():
    """arXiv 2410.10781: no layer can tell its places apart, so that each row gives exactly 1/t to
    each of its t tokens; with RoPE it need not."""
    ids, n = torch.full((1, 30), 77), 30
    even = torch.tensor(laws.causal(n)).float()
    for name, alike in (("nope", True), ("softmax", False)):
        net = AutoModelForCausalLM.from_pretrained(ZOO / name, attn_implementation="eager")
        with torch.no_grad():
            found = net(ids, output_attentions=True).attentions
        for w in found:
            same = torch.allclose(w[0], even.expand_as(w[0]), atol=1e-5)
            assert same == alike
