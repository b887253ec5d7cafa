"""The gap and the noise that come out are those that were asked for."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from tests import oracle
from tests.refusals import refused


def logits_of(**parameters) -> tuple[engine.QKV, torch.Tensor, torch.Tensor]:
    """The QKV, all logits, and which pairs are a query with one of its own needles."""
    qkv = engine.sources.planted(**parameters)
    z = oracle.logits(qkv)
    own = torch.zeros(qkv.n, qkv.m, dtype=torch.bool)
    needles = qkv.needles
    if needles is not None:
        turn = torch.arange(qkv.n)
        layout = parameters.get("layout", "shared")
        if layout == "shared":
            own[:, needles] = True
        else:
            which = turn * len(needles) // qkv.n if layout == "topics" else turn % len(needles)
            own[turn, needles[which]] = True
    return qkv, z, own


@settings(max_examples=30)
@given(
    gap=st.floats(0, 10), noise=st.floats(1.5, 3), needles=st.integers(1, 5),
    seed=st.integers(0, 1000), layout=st.sampled_from(["shared", "paired", "topics"]),
)  # fmt: skip
def test_gap_and_noise_come_out(gap, noise, needles, seed, layout):
    n = 900
    _, z, own = logits_of(
        n=n, heads=2, dim=64, gap=gap, noise=noise, needles=needles, seed=seed, layout=layout
    )
    torch.testing.assert_close(z[:, own], torch.full_like(z[:, own], gap), atol=1e-4, rtol=1e-4)
    rest = z[:, ~own]
    # keys are shared by rows, and by topics queries, too: n·heads independent draws, 5 errors wide
    draws = 2 * n
    assert abs(float(rest.mean())) < 5 * noise / draws**0.5
    assert abs(float(rest.std()) / noise - 1) < 5 / (2 * draws) ** 0.5
    a_row = z[0, 0, ~own[0]]
    assert abs(float(a_row.std()) / noise - 1) < 0.2 and abs(float(a_row.mean())) < 0.3 * noise
    kurtosis = float(((a_row - a_row.mean()) / a_row.std()).pow(4).mean())
    assert 2 < kurtosis < 4.6, "distractors' logits are not Gaussian"


def test_needles_are_seeded_and_never_first():
    for seed in range(40):
        qkv = engine.sources.planted(n=6, needles=5, heads=1, dim=8, seed=seed)
        assert qkv.needles is not None and qkv.needles.tolist() == [1, 2, 3, 4, 5]
    one = [int(engine.sources.planted(n=50, seed=s, heads=1, dim=8).needles[0]) for s in range(30)]
    assert len(set(one)) > 10
    a, b = (engine.sources.planted(n=64, seed=7) for _ in range(2))
    assert torch.equal(a.q, b.q) and torch.equal(a.k, b.k) and torch.equal(a.v, b.v)


@pytest.mark.parametrize("noise", [0.0])
@pytest.mark.parametrize("n", [2, 1000])
def test_needle_mass_is_its_closed_form(n, noise):
    """p = e^Δ / (e^Δ + n − 1) without noise; entropy and participation likewise."""
    gap = 5.0
    rows = engine.attend(
        engine.sources.planted(n=n, heads=1, gap=gap, noise=noise), "softmax"
    ).rows()
    p = exp(gap) / (exp(gap) + n - 1)
    entropy = log(exp(gap) + n - 1) - p * gap
    participation = 1 / (p * p + (1 - p) ** 2 / (n - 1))
    for value, expected in (
        (rows.needle_mass, p), (rows.entropy, entropy), (rows.participation, participation),
        (rows.max_weight, p),
    ):  # fmt: skip
        torch.testing.assert_close(value, torch.full_like(value, expected), atol=1e-4, rtol=1e-4)
    if n == 1000:
        assert (round(p, 6), round(entropy, 6), round(participation, 4)) == (
            0.129346, 6.398536, 57.1783,
        )  # fmt: skip


def test_identical_keys_are_exactly_uniform():
    rows = engine.attend(engine.sources.identical(n=777), "softmax").rows()
    torch.testing.assert_close(
        rows.effective_tokens, torch.full((1, 777), 777.0), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(rows.max_weight, torch.full((1, 777), 1 / 777), rtol=1e-5, atol=0)


def test_random_keys_leave_six_tenths():
    """q and k from N(0, 1): N_eff ≈ n e^(−1/2) (H 6.431 at n = 1,024)."""
    q, k = torch.randn(2, 1, 1024, 64, generator=torch.Generator().manual_seed(0)).unbind(0)
    rows = engine.attend(engine.QKV(q, k, k), "softmax").rows()
    assert abs(float(rows.entropy.mean()) - 6.431) < 0.02


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"needles": 5, "n": 5}, "needles must be at most 4"),
        ({"n": 0}, "n must be at least 1"),
        ({"dim": 1}, "dim must be at least 2"),
        ({"noise": -1.0}, "noise must be at least 0"),
        ({"noise": float("nan")}, "noise must be a number"),
        ({"layout": "sideways"}, "layout must be one of"),
        ({"layout": "paired", "noise": 0.1}, "needs noise of at least"),
        ({"layout": "topics", "needles": 0}, "at least one needle"),
    ],
)
def test_bad_parameters_get_a_sentence(parameters, words):
    with refused(match=words):
        engine.sources.planted(**parameters)
