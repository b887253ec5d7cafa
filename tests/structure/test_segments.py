"""Segments of a long text, neighbours taken together."""

import pytest
import torch

import engine
from engine.structure.segments import between, cut


def test_neighbours_are_taken_together():
    draw = torch.Generator().manual_seed(0)
    summary = torch.rand(7, 7, generator=draw)
    small = between(summary, 3)
    assert small.shape == (3, 3)
    assert float(small[1, 0]) == pytest.approx(float(summary[3:6, :3].sum(1).mean()))
    assert float(small[2, 2]) == pytest.approx(float(summary[6, 6]))
    found = cut(
        engine.attend(engine.sources.planted(n=400, heads=1), "softmax"),
        torch.stack([torch.arange(400), torch.arange(1, 401)], 1),
    )
    assert found.together == 5 and found.mass.shape == (80, 80)
    torch.testing.assert_close(found.mass.sum(1), torch.ones(80))
