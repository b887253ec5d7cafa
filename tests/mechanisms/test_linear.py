"""Linear attention: by hand, as a recurrence, and how near random features come."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import engine
from engine.contract.views import Factors
from engine.mechanisms.linear import CHUNK, FEATURE_MAPS, Linear, chunked, directions
from tests import oracle
from tests.mechanisms.low_rank import features, made

close = torch.testing.assert_close


def naive(qkv: engine.QKV, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    w = (q @ k.repeat_interleave(len(q) // len(k), 0).mT) * oracle.allowed(qkv)
    total = w.sum(-1, keepdim=True)
    return w / total.masked_fill(total == 0, 1)


def test_linear_by_hand():
    """elu(0)+1 = 1, elu(1)+1 = 2, elu(−1)+1 = 1/e: keys weigh 1 : 2 : 1/e for any q in one
    dimension, of those that are seen."""
    k = torch.tensor([0.0, 1.0, -1.0]).view(1, 3, 1)
    qkv = engine.QKV(torch.randn(1, 3, 1), k, torch.randn(1, 3, 1))
    raw = torch.tensor([1.0, 2.0, math.exp(-1)])
    close(Linear().attend(qkv).weights()[0], (raw / raw.sum()).expand(3, 3))
    causal = Linear().attend(qkv.replace(causal=True)).weights()[0]
    close(causal[1], torch.tensor([1 / 3, 2 / 3, 0]))


@pytest.mark.parametrize("feature_map", FEATURE_MAPS)
@pytest.mark.parametrize(
    ("n", "m"), [(5, 5), (200, 200), (130, 190), (190, 130), (1, 70), (70, 1)]
)
def test_carried_sums_are_the_whole_matrix(feature_map, n, m):
    mechanism = Linear(feature_map, features=12)
    for causal in (False, True):
        qkv = made(n, 2, m=m, causal=causal, key_mask=torch.arange(m) % 7 != 3)
        qkv = qkv.to(dtype=torch.float64)
        att = mechanism.attend(qkv)
        q, k = features(mechanism, qkv)
        expected = naive(qkv, q, k)
        close(att.weights(), expected, atol=1e-14, rtol=1e-12)
        close(att.output, oracle.output(expected, qkv), atol=1e-13, rtol=1e-12)


def test_chunks_are_the_recurrence():
    """S_i = S_{i−1} + k_i v_iᵀ, o_i = q_i S_i, one row at a time (arXiv 2006.16236, eq. 16–18)."""
    n = 3 * CHUNK + 5
    q, k, v = (torch.rand(2, n, 6, dtype=torch.float64) for _ in range(3))
    state, rows = torch.zeros(2, 6, 6, dtype=torch.float64), []
    for i in range(n):
        state = state + k[:, i, :, None] * v[:, i, None]
        rows.append((q[:, i, None] @ state)[:, 0])
    none = torch.zeros(2, 6, 6, dtype=torch.float64)
    found, after = chunked(q[:, None], k, v, none)
    close(found[:, 0], torch.stack(rows, 1), atol=1e-12, rtol=1e-12)
    close(after, state, atol=1e-12, rtol=1e-12)


def test_elu_keeps_what_adding_1_would_lose():
    x = torch.full((1, 4, 2), -30.0)
    qkv = engine.QKV(x, x, torch.randn(1, 4, 2))
    close(Linear().attend(qkv).weights(), torch.full((1, 4, 4), 0.25))
    assert (F.elu(x) + 1 == 0).all()


def test_a_row_that_meets_nothing_is_zero():
    q = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    k = torch.tensor([[[1.0, -1.0], [2.0, -1.0]]])
    att = Linear("relu").attend(engine.QKV(q, k, k))
    close(att.weights()[0], torch.tensor([[1 / 3, 2 / 3], [0, 0]]))
    assert (att.output[0, 1] == 0).all() and att.rows().argmax[0, 1] == -1


def test_feature_maps_have_at_most_their_rank():
    qkv = made(60).to(dtype=torch.float64)
    for mechanism, rank in ((Linear(), 8), (Linear("relu"), 8), (Linear("exp", features=11), 11)):
        sigma = torch.linalg.svdvals(mechanism.attend(qkv).weights())
        assert (sigma[:, rank:] < 1e-12 * sigma[:, :1]).all()
        assert mechanism.attend(qkv).view(Factors).rank == rank
    # the scores' rank is at most d; softmax's is not
    assert torch.linalg.matrix_rank(oracle.logits(qkv)).max() == 8
    assert torch.linalg.matrix_rank(oracle.softmax(qkv)).min() > 30


def test_the_scale_is_the_exponentials_alone():
    qkv = made(20)
    other = qkv.replace(scale=3.0)
    assert torch.equal(Linear().attend(qkv).output, Linear().attend(other).output)
    assert not torch.allclose(Linear("exp").attend(qkv).output, Linear("exp").attend(other).output)


def test_random_exponentials_come_near_to_softmax():
    """Unbiased kernel: the mean over seeds nears softmax's exponentials, like 1/√features."""
    qkv = made(30, seed=5).to(dtype=torch.float64)
    qkv = qkv.replace(q=qkv.q / 2, k=qkv.k / 2)
    full = oracle.softmax(qkv)
    errors = {}
    for width in (16, 4096):
        found = [
            (Linear("exp", features=width, seed=s).attend(qkv).weights() - full).norm()
            for s in range(4)
        ]
        errors[width] = float(torch.stack(found).mean() / full.norm())
    assert errors[4096] < 0.1 and errors[16] > 4 * errors[4096]
    negative = qkv.replace(scale=-0.3)
    found = Linear("exp", features=4096).attend(negative).weights()
    assert (found - oracle.softmax(negative)).norm() < 0.1 * oracle.softmax(negative).norm()


def test_random_exponentials_survive_large_keys():
    qkv = made(30)
    att = Linear("exp").attend(qkv.replace(k=40 * qkv.k, q=40 * qkv.q))
    w = att.weights()
    assert torch.isfinite(w).all() and torch.isfinite(att.output).all()
    close(w.sum(-1), torch.ones(4, 30), atol=1e-5, rtol=0)


def test_directions_are_orthogonal_within_a_block():
    w = directions(8, 20, seed=0)
    for block in w.split(8):
        gram = block @ block.T
        close(gram, gram.diagonal().diag(), atol=1e-10, rtol=0)


def test_masks_of_pairs_are_honoured():
    band = lambda rows, cols: (rows[:, None] - cols).abs() < 4  # noqa: E731
    qkv = made(40, mask=band).to(dtype=torch.float64)
    q, k = features(Linear(), qkv)
    att = Linear().attend(qkv)
    close(att.weights(), naive(qkv, q, k))
    close(att.output, oracle.output(naive(qkv, q, k), qkv))
