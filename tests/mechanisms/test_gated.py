"""A gate on what each head gives: by hand, open and shut, and the gate's own fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import engine
from engine.contract import QKV, Layer, Learned
from engine.contract.views import Gate
from engine.mechanisms import gated
from engine.mechanisms.gated import Gated
from tests import oracle


def made(n: int = 40, heads: int = 2, d: int = 8, seed: int = 0, **more) -> QKV:
    draw = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(heads, n, d, generator=draw, dtype=torch.float64) for _ in range(3))
    x = torch.randn(n, 6, generator=draw, dtype=torch.float64)
    return QKV(q, k, v, layer=Layer(x=x), **more)


def brought(w: list[list[float]], b: list[float]) -> Gated:
    weights = {"w_gate": torch.tensor(w), "b_gate": torch.tensor(b)}
    return replace(Gated(), learned=Learned(weights))


def test_by_hand():
    """Even scores; gates of σ(0) and σ(ln 3): rows of ½ and ¾, in equal parts."""
    zero = torch.zeros(1, 2, 1, dtype=torch.float64)
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    qkv = QKV(zero, zero, torch.tensor([[[4.0], [8.0]]]).double(), layer=Layer(x=x))
    att = brought([[float(np.log(3))]], [0.0]).attend(qkv)
    expected = torch.tensor([[[0.25, 0.25], [0.375, 0.375]]], dtype=torch.float64)
    torch.testing.assert_close(att.weights(), expected, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(att.output[0, :, 0], torch.tensor([3, 4.5]).double(), rtol=1e-6,
                               atol=1e-6)  # fmt: skip
    torch.testing.assert_close(att.view(Gate).open, torch.tensor([[0.5, 0.75]]))


@pytest.mark.parametrize("causal", [False, True])
def test_open_it_is_softmax_and_shut_it_is_nothing(causal):
    qkv = made(causal=causal)
    expected = oracle.softmax(qkv)
    for att in (
        engine.attend(qkv, "gated", gate="open"),
        brought([[0.0] * 6] * 2, [50.0, 50.0]).attend(qkv),
    ):
        torch.testing.assert_close(att.weights(), expected)
        torch.testing.assert_close(att.output, oracle.output(expected, qkv))
    shut = brought([[0.0] * 6] * 2, [-800.0, 0.0]).attend(qkv)
    found = shut.summary(8)
    assert (shut.weights()[0] == 0).all() and (found.output[0] == 0).all()
    assert (found.maps["max"][0] == 0).all() and (found.rows.kept_mass[0] == 0).all()
    torch.testing.assert_close(found.output[1], 0.5 * oracle.output(expected, qkv)[1])


def test_a_row_keeps_its_shape_and_its_sum_is_the_gate():
    """Streamed, by rows, in windows: one gate."""
    qkv = made(causal=True, sinks=torch.tensor([0.5, -1.0]).double())
    att, plain = engine.attend(qkv, "gated"), engine.attend(qkv, "softmax")
    opened = att.view(Gate).open.double()
    torch.testing.assert_close(
        att.weights(), plain.weights() * opened[..., None], atol=1e-6, rtol=1e-6
    )
    found, whole = att.summary(8), plain.summary(8)
    torch.testing.assert_close(found.rows.entropy, whole.rows.entropy)
    torch.testing.assert_close(
        found.rows.kept_mass.double(), whole.rows.kept_mass.double() * opened, atol=1e-6, rtol=1e-6
    )
    steps = att.steps(1, 7)
    torch.testing.assert_close(steps.weights, att.weights()[1, 7])


def test_a_gate_that_can_be_read_off_the_token_is_found():
    """Every third token looks at the first alone, and its input says so: there the gate shuts."""
    n = 90
    draw = torch.Generator().manual_seed(0)
    parks = torch.arange(n) % 3 == 0
    q = torch.zeros(1, n, 2, dtype=torch.float64)
    q[0, :, 0] = torch.where(parks, 20.0, -20.0)
    k = torch.zeros(1, n, 2, dtype=torch.float64)
    k[0, 0, 0] = 1
    x = torch.cat([parks[:, None].double(), 0.1 * torch.randn(n, 3, generator=draw)], 1)
    qkv = QKV(q, k, k, causal=True, scale=1.0, layer=Layer(x=x.double()))
    att = engine.attend(qkv, "gated")
    opened = att.view(Gate).open[0]
    assert opened[3:][parks[3:]].max() < 0.1 < 0.9 < opened[3:][~parks[3:]].min()
    assert att.fidelity is not None
    assert float(att.fidelity.value) > 0.9 > float(att.fidelity.random)
    assert float(att.weights()[0, 3:, 0].mean()) < 0.1 * float(
        oracle.softmax(qkv)[0, 3:, 0].mean()
    )


def test_the_fit_is_ridge_regression():
    """Against numpy's least squares with as many rows more as there are features."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(1, 30, 4, generator=draw, dtype=torch.float64)
    y = torch.randn(2, 30, generator=draw, dtype=torch.float64)
    w, b = gated.ridge(x, y)
    z = (x - x.mean(1, keepdim=True))[0].numpy()
    more = np.sqrt(gated.RIDGE * (z**2).sum(0).mean()) * np.eye(4)
    for h in range(2):
        level = float(y[h].mean())
        target = np.concatenate([y[h].numpy() - level, np.zeros(4)])
        expected = np.linalg.lstsq(np.concatenate([z, more]), target, rcond=None)[0]
        np.testing.assert_allclose(w[h], expected, atol=1e-10)
        assert float(b[h]) == pytest.approx(level - float(x[0].mean(0) @ w[h]))
