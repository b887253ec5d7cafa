"""Window and sinks against a band mask in torch's own attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import engine
from tests import oracle


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
