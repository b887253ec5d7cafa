"""Plain attention against loops over pairs and the numbers of definitions."""

from __future__ import annotations

import math

import pytest
import torch

from engine.contract import QKV
from engine.kernels import dense


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("m", [4, 6, 9])
def test_is_its_definition_pair_by_pair(m, causal):
    draw = torch.Generator().manual_seed(m)
    q, k = torch.randn(4, 6, 3, generator=draw), torch.randn(2, m, 3, generator=draw)
    sinks, table = torch.randn(4, generator=draw), torch.randn(4, 6, m, generator=draw)
    qkv = QKV(
        q, k, k, causal=causal, scale=0.7, key_mask=torch.arange(m) != 1, softcap=1.5,
        sinks=sinks, mask=lambda rows, cols: (rows[:, None] + cols) % 3 > 0,
        bias=lambda rows, cols: table[:, rows][..., cols],
    )  # fmt: skip
    found = dense.softmax(qkv, temperature=0.5)
    for h in range(4):
        for i in range(6):
            e = [0.0] * m
            for j in range(m):
                if j != 1 and (i + j) % 3 and (not causal or j <= i + m - 6):
                    score = 0.7 * sum(float(q[h, i, d]) * float(k[h // 2, j, d]) for d in range(3))
                    z = 1.5 * math.tanh(score / 1.5) + float(table[h, i, j])
                    e[j] = math.exp(z / 0.5)
            total = sum(e) + math.exp(float(sinks[h]) / 0.5)
            assert found[h, i].tolist() == pytest.approx([x / total for x in e], abs=1e-7)


def test_rows_that_see_nothing_are_zero():
    qkv = QKV(torch.ones(1, 3, 2), torch.ones(1, 2, 2), torch.ones(1, 2, 2), causal=True)
    expected = [[0.0, 0.0], [1.0, 0.0], [0.5, 0.5]]
    assert dense.softmax(qkv)[0].tolist() == expected
    z = dense.entries(qkv, dense.logits(qkv), dense.allowed(qkv))
    assert dense.entmax(z, 1.5)[0].tolist() == expected


def test_entmax_by_hand():
    """Sparsemax of 1, 1/2 and −3 is 3/4, 1/4 and 0; at α = 1 it is softmax."""
    z = torch.tensor([[[1.0, 0.5, -3.0]]], dtype=torch.float64)
    expected = torch.tensor([[[0.75, 0.25, 0.0]]], dtype=torch.float64)
    torch.testing.assert_close(dense.entmax(z, 2.0), expected)
    torch.testing.assert_close(dense.entmax(z, 1.0), z.softmax(-1))


def test_pooling_by_hand():
    """Five keys seen of seven in two parts: three, then two."""
    e = dense.pooling(torch.tensor([True, False, True, True, True, False, True]), 2)
    assert (6 * e).round().tolist() == [[2, 0, 2, 2, 0, 0, 0], [0, 0, 0, 0, 3, 0, 3]]
    assert dense.pooling(torch.zeros(3, dtype=torch.bool), 4).tolist() == [[0.0, 0.0, 0.0]]
