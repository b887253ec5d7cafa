"""Projections of keys to slots."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.kernels.projection import Dense, Pooling

close = torch.testing.assert_close


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 3))
@settings(max_examples=60)
def test_pooling_is_means_of_equal_segments(m, slots, hidden):
    seen = torch.ones(m, dtype=torch.bool)
    seen[torch.randperm(m, generator=torch.Generator().manual_seed(m))[:hidden]] = False
    pool = Pooling(m, slots, seen if hidden else None)
    e = pool.matrix(torch.zeros(1, dtype=torch.float64))[0]
    count = int(seen.sum()) if hidden else m
    assert pool.slots == max(1, min(slots, count))
    sizes = (e > 0).sum(1)
    assert sizes.sum() == count and sizes.max() - sizes.min() <= 1
    assert (e[:, ~seen] == 0).all() and (e >= 0).all()
    close(e.sum(1), torch.full((pool.slots,), float(count > 0), dtype=torch.float64))
    owner = e[:, seen].argmax(0)
    assert (owner.diff() >= 0).all(), "segments are consecutive"
    x = torch.randn(2, m, 3, dtype=torch.float64)
    close(pool.project(x), e @ x)


def test_a_map_of_each_head_reads_its_own_group():
    e, x = torch.randn(4, 3, 10), torch.randn(2, 10, 5)
    expected = torch.stack([e[h] @ x[h // 2] for h in range(4)])
    close(Dense(e).project(x), expected, atol=1e-5, rtol=1e-5)
    close(Dense(e[:1]).project(x), e[0] @ x, atol=1e-5, rtol=1e-5)
