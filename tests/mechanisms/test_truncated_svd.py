"""The truncated SVD: nothing of its rank is nearer."""

from __future__ import annotations

import pytest
import torch

from engine.contract.views import Factors
from engine.mechanisms.truncated_svd import TruncatedSVD
from tests import oracle
from tests.mechanisms.low_rank import made, weights

close = torch.testing.assert_close


@pytest.mark.parametrize(("n", "m"), [(40, 40), (30, 45), (45, 30)])
def test_nothing_of_its_rank_is_nearer(n, m):
    qkv = made(n, 2, m=m, sinks=torch.randn(4)).to(dtype=torch.float64)
    full = oracle.softmax(qkv)
    u, sigma, vh = torch.linalg.svd(full, full_matrices=False)
    for rank in (1, 5, 17):
        att = TruncatedSVD(rank).attend(qkv)
        expected = (u[..., :rank] * sigma[:, None, :rank]) @ vh[:, :rank]
        close(att.weights(), expected, atol=1e-9, rtol=1e-9)
        gone = (att.weights() - full).norm(dim=(1, 2))
        close(gone, sigma[:, rank:].square().sum(1).sqrt(), atol=1e-12, rtol=1e-10)
        spectrum = att.view(Factors).spectrum
        close(spectrum, sigma, atol=1e-8, rtol=1e-8)
    close(weights(TruncatedSVD(99), qkv), full, atol=1e-13, rtol=1e-12)


def test_a_truncated_map_is_no_distribution():
    w = weights(TruncatedSVD(4), made(40))
    assert (w < 0).any() and (w.sum(-1) - 1).abs().max() > 1e-3
