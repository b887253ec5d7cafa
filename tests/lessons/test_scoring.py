"""Scoring functions side by side, and what 1/√d does."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine.contract.learned import Learned
from engine.kernels.scoring import Additive as Network
from engine.lessons import scoring
from engine.mechanisms.additive import Additive
from tests.refusals import refused


def test_both_or_one() -> None:
    qkv = scoring.drawn(4, 4)
    additive, dot = scoring.both(qkv, 64)
    assert dot is not None
    expected = (qkv.q @ qkv.k.mT / 2).softmax(-1)
    torch.testing.assert_close(dot.weights(), expected)
    assert float((additive.weights() - expected).abs().max()) < 0.35
    additive, dot = scoring.both(scoring.drawn(3, 7), 8)
    assert dot is None and additive.weights().shape == (1, scoring.QUERIES, scoring.KEYS)
    torch.testing.assert_close(additive.weights().sum(-1), torch.ones(1, scoring.QUERIES))
    with refused(match="at least 1"):
        scoring.drawn(0, 4)


@pytest.mark.parametrize("d", scoring.WIDTHS)
def test_spread_as_theory_says(d: int) -> None:
    one = scoring.spread(d, keys=32)
    error = 5 * (2 + 6 / d) ** 0.5 / one.raw.shape[0] ** 0.5  # keys of a query share it
    assert one.variance[0] == pytest.approx(d, rel=error)
    assert one.variance[1] == pytest.approx(one.variance[0] / d)
    for i, scale in enumerate((1.0, d**-0.5)):
        w = torch.softmax(one.raw.double() * scale, -1)
        assert one.largest[i] == pytest.approx(float(w.amax(-1).mean()), abs=1e-5)
        entropy = -torch.xlogy(w, w).sum(-1).mean() / np.log(32)
        assert one.entropy[i] == pytest.approx(float(entropy), abs=1e-5)


def test_only_without_the_scale_it_saturates() -> None:
    found = scoring.spreads()
    without, with_ = zip(*(one.largest for one in found), strict=True)
    assert list(without) == sorted(without) and without[-1] > 0.9
    assert max(with_) - min(with_) < 0.05
    wide = found[-1].raw.flatten() / 512**0.5
    inside = float((wide.abs() < 1).float().mean())
    assert inside == pytest.approx(0.6827, abs=0.02)
    with refused(match="at least 2"):
        scoring.spread(4, keys=1)


def network(d: int, dk: int, hidden: int, seed: int, bias: bool) -> Network:
    """A network of any weights."""
    draw = torch.Generator().manual_seed(seed)
    shapes = ((1, hidden, d), (1, hidden, dk), (1, hidden), (1, hidden))
    w_q, w_k, b, w_v = (2 * torch.randn(shape, generator=draw) for shape in shapes)
    return Network(w_q, w_k, b if bias else torch.zeros_like(b), w_v)


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(1, 20), st.integers(0, 99))
def test_without_a_bias_no_network_explains_pairs_and_their_mirror_images(d, hidden, seed) -> None:
    """score(−q, −k) = −score(q, k), q·k = (−q)·(−k): R² is −Σs²/Σt², whatever the weights."""
    qkv, every = scoring.drawn(d, d, seed), slice(0, 1)
    plain = network(d, d, hidden, seed, bias=False)
    score, turned = (plain.scores(qkv, every, s * qkv.q, s * qkv.k) for s in (1, -1))
    torch.testing.assert_close(turned, -score, atol=1e-5, rtol=1e-5)
    product = qkv.q @ qkv.k.mT
    torch.testing.assert_close((-qkv.q) @ (-qkv.k).mT, product)
    learned = Learned(dict(zip(("w_q", "w_k", "b", "w_v"), vars(plain).values(), strict=True)))
    found = scoring.mirrored(qkv, Additive(hidden, learned=learned))
    s, t = (x[0].double() - x[0].double().mean(1, keepdim=True) for x in (score, product / d**0.5))
    share = float(s.square().sum() / t.square().sum())
    assert found.r2 == pytest.approx(-share, rel=1e-3, abs=1e-5) and found.r2 <= 0
    assert found.turned == pytest.approx(-found.score, abs=1e-4)
    assert found.product == pytest.approx(float(t.amax(1)[0] - t.amin(1)[0]), abs=1e-4)


def test_the_best_network_without_a_bias_scores_nothing() -> None:
    """Least squares on pairs and their mirror images leaves w_v at 0, and every weight even: the
    best R² is 0, where biases reach almost 1."""
    draw = torch.Generator().manual_seed(0)
    half = torch.randn(2, 1, 150, 4, generator=draw)
    plain = network(4, 4, 40, 1, bias=False)
    q, k = half.double()
    product = q @ k.mT
    rows, cols = q @ plain.w_q.double().mT, k @ plain.w_k.double().mT
    units = torch.cat([s * (rows[:, :, None] + cols[:, None]).tanh() for s in (1, -1)], 1)[0]
    target = torch.cat([product, product], 1)[0]
    left = (units - units.mean(1, keepdim=True)).flatten(0, 1)
    right = (target - target.mean(1, keepdim=True)).flatten()
    best = torch.linalg.lstsq(left, right[:, None], driver="gelsd").solution
    assert best.abs().max() < 1e-9 * right.abs().max()
    qkv = engine.QKV(half[0], half[1], half[1])
    assert float(Additive(9).fit(qkv).learned.fidelity.value) > 0.98
    assert scoring.mirrored(qkv, scoring.additive(qkv, 9)).r2 > 0.98
    assert scoring.mirrored(qkv, scoring.additive(qkv, 9, bias=False)).r2 <= 0


def test_rows_learned_from_and_the_one_held_out_are_told_apart() -> None:
    qkv = scoring.drawn(4, 4)
    for bias in (True, False):
        additive, dot = scoring.both(qkv, 64, bias)
        assert dot is not None
        found = scoring.apart(qkv, additive, dot)
        assert sorted(found.learned + found.held) == [0, 1, 2, 3] and len(found.held) == 1
        gap = (additive.weights() - dot.weights()).abs()[0]
        assert found.on_held == pytest.approx(float(gap[found.held].max()))
        assert found.on_learned == pytest.approx(float(gap[found.learned].max()))
        assert found.on_learned < 0.05 < 0.1 < found.on_held
    # as many units as pairs, and more: what was seen is matched, what was not is no better for it
    assert found.on_learned < 1e-5 and found.on_held > 0.3


def test_without_a_bias_widths_may_still_differ() -> None:
    qkv = scoring.drawn(3, 7)
    additive, dot = scoring.both(qkv, 8, bias=False)
    assert dot is None
    torch.testing.assert_close(additive.weights().sum(-1), torch.ones(1, scoring.QUERIES))
    other, _ = scoring.both(qkv, 8)
    assert not torch.allclose(other.weights(), additive.weights(), atol=0.01)
