"""Window and sinks against a band mask in torch's own attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import engine
from engine.contract import Grid
from tests import oracle
from tests.refusals import refused


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("window", "sinks"), [(1, 0), (7, 0), (7, 3), (64, 4), (1000, 0), (2, 500)]
)
def test_equals_a_band_mask(window, sinks, causal):
    draw = torch.Generator().manual_seed(window)
    q, k, v = torch.randn(3, 2, 300, 8, generator=draw).unbind(0)
    i = torch.arange(300)
    band = ((i[:, None] - i).abs() < window) | (i < sinks)
    if causal:
        band &= i <= i[:, None]
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=band)
    qkv = engine.QKV(q, k, v, causal=causal)
    att = engine.attend(qkv, "window", window=window, sinks=sinks)
    torch.testing.assert_close(att.output, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        att.weights().double(), oracle.softmax(qkv, pattern=band), atol=1e-6, rtol=1e-5
    )
    found = att.summary(40, ("max", "mean"))
    torch.testing.assert_close(found.output, expected, atol=1e-5, rtol=1e-5)
    expected_map = oracle.pooled(oracle.softmax(qkv, pattern=band), qkv, 40, "max")
    torch.testing.assert_close(found.maps["max"].double(), expected_map, atol=1e-5, rtol=1e-5)


def test_a_window_of_one_copies_the_value():
    qkv = engine.sources.planted(n=50, heads=1, dim=8, causal=True)
    assert torch.equal(engine.attend(qkv, "window", window=1, sinks=0).weights()[0], torch.eye(50))


def test_a_wide_window_is_softmax():
    qkv = engine.sources.planted(n=200, heads=2, dim=8)
    wide = engine.attend(qkv, "window", window=200, sinks=0)
    torch.testing.assert_close(
        wide.output, engine.attend(qkv, "softmax").output, atol=1e-6, rtol=1e-5
    )


def test_long_and_narrow_stays_cheap():
    """131,072 keys: statistics of a window cost what the window costs."""
    qkv = engine.sources.planted(n=2**17, heads=1, dim=8, causal=True)
    att = engine.attend(qkv, "window", window=64, sinks=4)
    rows = att.rows(torch.arange(0, 2**17, 4096))
    assert (rows.effective_tokens <= 68).all() and rows.visible[0, -1] == 2**17 - 4096 + 1
    one = att.weights(slice(100_000, 100_001))
    assert (one > 0).sum() == 68


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("n", "m"), [(40, 40), (7, 40), (40, 9)])
def test_operations_are_those_of_its_pairs(causal, n, m):
    q, k, v = torch.randn(2, n, 4), torch.randn(2, m, 4), torch.randn(2, m, 3)
    qkv = engine.QKV(q, k, v, causal=causal)
    rows = torch.arange(n) + (m - n if causal else 0)
    for window, sinks in ((1, 0), (5, 2), (64, 3), (4, 50)):
        pairs = (rows[:, None] - torch.arange(m)).abs() < window
        pairs |= torch.arange(m) < sinks
        if causal:
            pairs &= torch.arange(m) <= rows[:, None]
        made = engine.make("window", window=window, sinks=sinks)
        assert made.flops(qkv) == 2 * 2 * int(pairs.sum()) * 7


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("window", "dilation", "sinks", "whole"), [(4, 3, 0, False), (3, 5, 2, True), (1, 9, 4, True)]
)
def test_holes_and_global_tokens_pair_by_pair(window, dilation, sinks, whole, causal):
    """Longformer's pattern, said of each pair."""
    qkv = engine.sources.planted(n=40, heads=1, dim=4, causal=causal)
    more = {"window": window, "dilation": dilation, "sinks": sinks, "whole": whole}
    att = engine.attend(qkv, "window", **more)
    steps = {dilation * i for i in range(window)}
    for i in range(40):
        for j in range(40):
            seen = abs(i - j) in steps or j < sinks or (whole and i < sinks)
            assert bool(att.weights()[0, i, j] > 0) == (seen and (j <= i or not causal)), (i, j)
    torch.testing.assert_close(att.output, oracle.output(att.weights().double(), qkv).float())
    assert engine.make("window", **more).pairs(qkv) >= int((att.weights() > 0).sum())


@pytest.mark.parametrize("causal", [False, True])
def test_random_keys_are_drawn_for_each_query_from_those_it_sees(causal):
    """BigBird: as many as asked at most, evenly spread, the same on every call; more begin with
    fewer."""
    qkv = engine.sources.identical(n=400, heads=1, dim=4).replace(causal=causal)
    few, more = (
        engine.attend(qkv, "window", window=1, sinks=0, random=r).weights()[0] > 0 for r in (3, 9)
    )
    assert (more | ~few).all() and (few.sum(-1) <= 4).all() and few.sum() > 1000
    row, col = more.fill_diagonal_(False).nonzero(as_tuple=True)
    place = (col + 0.5) / ((row + 1.0) if causal else 400.0)
    late = place[row > 50]
    assert abs(float(late.mean()) - 0.5) < 0.02 and float(late.std()) == pytest.approx(
        12**-0.5, abs=0.02
    )


def test_on_an_image_a_window_has_no_holes():
    grid = Grid(3, 3, torch.cartesian_prod(torch.arange(3), torch.arange(3)))
    qkv = engine.sources.planted(n=9, heads=1, dim=4).replace(grid=grid)
    with refused(match="on an image a window has no dilation"):
        engine.attend(qkv, "window", dilation=2)
    w = engine.attend(qkv, "window", window=1, sinks=0, random=2).weights()[0]
    assert (w.diagonal() > 0).all() and ((w > 0).sum(-1) <= 3).all()
