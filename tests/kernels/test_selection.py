"""What is chosen by content: ties by index, seeds apart, blocks and samples whole."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.kernels import selection


@settings(max_examples=100)
@given(st.lists(st.sampled_from([-9.0, 0.0, 1.0, 2.0, float("-inf")]), min_size=1, max_size=12),
       st.integers(1, 14))  # fmt: skip
def test_largest_takes_the_first_of_ties_and_nothing_at_minus_infinity(values, k):
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]
    expected = [i in order and values[i] > float("-inf") for i in range(len(values))]
    assert selection.largest(torch.tensor(values), k).tolist() == expected


def test_sample_is_spread_and_ends_at_the_ends():
    assert selection.sample(5, 9).tolist() == [0, 1, 2, 3, 4]
    some = selection.sample(1001, 11)
    assert some.tolist() == list(range(0, 1001, 100))


def test_seeds_are_points_far_apart_and_not_hidden_ones():
    axes = torch.eye(4, dtype=torch.float64)
    points = axes.repeat(25, 1)[None]
    weight = torch.ones(100, dtype=torch.float64)
    weight[3::4] = 0  # one axis is hidden
    for seed in range(20):
        found = selection.seeds(points, weight, 3, seed)[0]
        assert sorted(found.argmax(1).tolist()) == [0, 1, 2]


def test_more_seeds_than_points_repeat_them():
    points = torch.eye(2, dtype=torch.float64)[None]
    found = selection.seeds(points, torch.ones(2, dtype=torch.float64), 5, 0)
    assert found.shape == (1, 5, 2) and torch.isfinite(found).all()


def test_centroids_are_of_length_1_and_better_than_their_seeds():
    draw = torch.Generator().manual_seed(0)
    points = selection.unit(torch.randn(2, 300, 6, generator=draw))
    weight = torch.ones(300, dtype=torch.float64)
    start = selection.seeds(points, weight, 7, 0)
    found = selection.lloyd(points, weight, start)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2, 7, dtype=torch.float64))
    before, after = ((points @ c.mT).amax(-1).mean() for c in (start, found))
    assert after > before + 0.02
