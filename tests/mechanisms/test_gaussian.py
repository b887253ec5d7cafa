"""Nadaraya–Watson by hand in numpy, its limits, and what keys of one length make of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import engine
from engine.mechanisms.gaussian import Gaussian
from tests import oracle
from tests.refusals import refused

close = torch.testing.assert_close


def made(n: int = 60, m: int | None = None, shift: float = 0.0, **more) -> engine.QKV:
    draw = torch.Generator().manual_seed(n)
    q = torch.randn(4, n, 8, generator=draw) + shift
    k = torch.randn(2, m or n, 8, generator=draw) + shift
    v = torch.randn(2, m or n, 5, generator=draw)
    return engine.QKV(q, k, v, **more)


def by_hand(qkv: engine.QKV, width: float) -> np.ndarray:
    q, k = qkv.q.double().numpy(), qkv.k.double().numpy()
    z = np.stack(
        [-((q[h][:, None] - k[h // 2]) ** 2).sum(-1) / (2 * width**2) for h in range(len(q))]
    )
    z = np.where(oracle.allowed(qkv).numpy(), z, -np.inf)
    top = z.max(-1, keepdims=True)
    e = np.exp(z - np.where(np.isfinite(top), top, 0))
    total = e.sum(-1, keepdims=True)
    return e / np.where(total > 0, total, 1)


@pytest.mark.parametrize("width", [0.4, 1.0, 3.0])
@pytest.mark.parametrize(("n", "m", "causal"), [(60, 60, True), (60, 60, False), (7, 20, True),
                                                (20, 7, True)])  # fmt: skip
def test_is_nadaraya_watson(width, n, m, causal):
    mask = torch.arange(m) % 5 != 2
    qkv = made(n, m, causal=causal, key_mask=mask)
    expected = torch.from_numpy(by_hand(qkv, width))
    att = engine.attend(qkv, "gaussian", width=width)
    close(att.weights().double(), expected, atol=5e-6, rtol=1e-4)
    close(att.output.double(), oracle.output(expected, qkv), atol=1e-5, rtol=1e-4)
    close(att.summary(16).output.to(att.output), att.output, atol=1e-5, rtol=1e-5)


def test_regression_of_the_course():
    """One dimension, as in the introductory article: y = 2 sin x + x^0.8, w = 1/σ = 1."""
    draw = np.random.default_rng(0)
    x = np.sort(draw.uniform(0, 5, 50))
    y = 2 * np.sin(x) + x**0.8 + draw.normal(0, 0.5, 50)
    at = np.arange(0, 5, 0.1)
    kernel = np.exp(-((at[:, None] - x) ** 2) / 2)
    expected = (kernel / kernel.sum(1, keepdims=True)) @ y
    q, k, v = (torch.from_numpy(a)[None, :, None] for a in (at, x, y))
    found = engine.attend(engine.QKV(q, k, v), "gaussian", width=1.0).output[0, :, 0]
    close(found, torch.from_numpy(expected), atol=1e-12, rtol=1e-12)
    assert y.min() <= found.min() and found.max() <= y.max()


def test_wide_is_the_mean_and_narrow_the_nearest():
    qkv = made()
    wide = engine.attend(qkv, "gaussian", width=1e4)
    mean = qkv.v.mean(1, keepdim=True).repeat_interleave(2, 0).expand(-1, 60, -1)
    close(wide.output, mean, atol=1e-5, rtol=1e-5)
    narrow = engine.attend(qkv, "gaussian", width=1e-2)
    far = torch.cdist(qkv.q, qkv.k.repeat_interleave(2, 0))
    nearest = F.one_hot(far.argmin(-1), 60).float()
    two = far.topk(2, largest=False).values
    clear = (two[..., 1] ** 2 - two[..., 0] ** 2) > 20 * 2 * 1e-4
    assert clear.float().mean() > 0.9
    close(narrow.weights()[clear].float(), nearest[clear], atol=1e-6, rtol=0)


@pytest.mark.parametrize("causal", [False, True])
def test_keys_of_one_length_make_it_softmax_at_a_temperature(causal):
    """|q − k|² = |q|² + 1 − 2 q·k: softmax of q·k/σ², that is of temperature scale·σ²."""
    qkv = made(causal=causal)
    qkv = qkv.replace(k=F.normalize(qkv.k, dim=-1))
    expected = engine.attend(qkv, "softmax", temperature=qkv.factor * 0.7**2).weights()
    close(engine.attend(qkv, "gaussian", width=0.7).weights(), expected, atol=2e-6, rtol=1e-5)


def test_only_distances_count():
    """Far from the origin, where squares are large beside distances, and whatever the scale."""
    near, far = made(width := 30), made(width, shift=30.0)
    close(
        engine.attend(far, "gaussian").weights().double(),
        torch.from_numpy(by_hand(far, 2.0)), atol=1e-5, rtol=1e-3,
    )  # fmt: skip
    close(engine.attend(near.replace(scale=9.0), "gaussian").weights(),
          engine.attend(near, "gaussian").weights())  # fmt: skip


def test_a_bias_is_added_to_the_score():
    ramp = lambda rows, cols: (cols % 3).float().expand(4, len(rows), -1)  # noqa: E731
    qkv = made(20, bias=ramp)
    far = torch.cdist(qkv.q.double(), qkv.k.double().repeat_interleave(2, 0)) ** 2
    z = -far / 2 + (torch.arange(20) % 3)
    att = engine.attend(qkv, "gaussian", width=1.0)
    close(att.weights().double(), z.softmax(-1), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("key", ["gaussian", "additive"])
def test_levels_of_dot_products_are_refused_by_name(key):
    for name, value in (("sinks", torch.zeros(4)), ("softcap", 2.0)):
        with refused(match=name):
            engine.attend(made(5, **{name: value}), key)


def test_steps_know_that_scores_are_no_products():
    qkv = made(20)
    steps = engine.attend(qkv, "gaussian", width=1.5).steps(3, 7)
    far = (qkv.q[3, 7] - qkv.k[1]).square().sum(-1)
    close(steps.scores, -far / 2 / 1.5**2, atol=1e-4, rtol=1e-5)
    assert not steps.product and engine.attend(qkv, "softmax").steps(0, 0).product


def test_refuses_widths_that_differ():
    qkv = made()
    with refused(match="one width"):
        engine.attend(qkv.replace(k=qkv.k[..., :3]), "gaussian")


def test_flops_count_the_products():
    qkv = made(7, 9, causal=True)
    pairs = int(oracle.allowed(qkv).sum())
    squares = (4 * 7 + 2 * 9) * 8
    assert Gaussian().flops(qkv) == 2 * (4 * pairs * (8 + 2 + 5) + squares)
