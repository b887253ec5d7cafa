"""What a summary knows is not computed again, and is the same."""

import pytest
import torch

import engine
from engine.kept import Kept


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_the_whole_map_is_the_summarys(pool, monkeypatch):
    att = engine.attend(engine.sources.planted(n=300, heads=2, dim=16, causal=True), "softmax")
    whole = att.heatmap(64, pool)
    kept = Kept(att, att.summary(64, ("max", "mean")), 64, "weight")
    torch.testing.assert_close(kept.heatmap(64, pool, slice(0, 300), slice(0, 300)), whole)
    monkeypatch.setattr(type(att), "heatmap", lambda *given: "computed")
    assert kept.heatmap(64, pool) is kept.summarised.maps[pool]
    assert kept.heatmap(64, pool, rows=slice(0, 299)) == "computed"
    assert kept.heatmap(32, pool) == kept.heatmap(64, pool, colour="row") == "computed"
    assert kept.rows() is kept.summarised.rows
    torch.testing.assert_close(kept.weights(slice(0, 3)), att.weights(slice(0, 3)))
