"""Every stage of a small attention, with each scoring function."""

import pytest
import torch

from engine.lessons import pooling
from tests.refusals import refused


@pytest.mark.parametrize("scoring", pooling.SCORINGS)
@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (4, 6)])
def test_stages_follow_from_one_another(scoring: str, shape: tuple[int, int]) -> None:
    qkv = pooling.drawn(*shape, seed=2)
    found = pooling.pool(qkv, scoring)
    assert found.scores.shape == shape
    torch.testing.assert_close(found.weights.double(), found.scores.double().softmax(-1))
    torch.testing.assert_close(found.output.double(), found.weights.double() @ found.v)
    att = pooling.attend(qkv, scoring)
    torch.testing.assert_close(found.output.double(), att.output[0].double(), atol=1e-6, rtol=0)
    assert bool((found.output <= found.v.amax(0) + 1e-9).all())
    assert bool((found.output >= found.v.amin(0) - 1e-9).all())


def test_scores_are_what_they_are_called() -> None:
    qkv = pooling.drawn(2, 3, seed=1, first=(1.5, -0.5))
    q, k = qkv.q[0], qkv.k[0]
    assert q[0].tolist() == [1.5, -0.5]
    torch.testing.assert_close(pooling.pool(qkv, "dot").scores, q @ k.T / 2**0.5)
    near = -(q[:, None] - k).square().sum(-1) / (2 * 0.7**2)
    torch.testing.assert_close(pooling.pool(qkv, "gaussian", width=0.7).weights, near.softmax(-1))
    cold = pooling.pool(qkv, "dot", temperature=0.5).weights
    torch.testing.assert_close(cold, (q @ k.T * 2**0.5).softmax(-1))


def test_numbers_have_one_decimal_and_bad_ones_are_refused() -> None:
    qkv = pooling.drawn(4, 6, seed=5)
    for x in (qkv.q, qkv.k, qkv.v):
        torch.testing.assert_close(x, x.round(decimals=1), atol=0, rtol=0)
        assert not bool(((x == 0) & x.signbit()).any())
    with refused(match="at least one query"):
        pooling.drawn(0, 3)
    with refused(match="dot, additive, gaussian"):
        pooling.attend(qkv, "cosine")
