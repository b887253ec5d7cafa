"""Scoring functions side by side, and what 1/√d does."""

import numpy as np
import pytest
import torch

from engine.lessons import scoring
from tests.refusals import refused


def test_both_or_one() -> None:
    qkv = scoring.drawn(4, 4)
    additive, dot = scoring.both(qkv, 64)
    assert dot is not None
    expected = (qkv.q @ qkv.k.mT / 2).softmax(-1)
    torch.testing.assert_close(dot.weights(), expected)
    assert float((additive.weights() - expected).abs().max()) < 0.35
    additive, dot = scoring.both(scoring.drawn(3, 7), 8)
    assert dot is None and additive.weights().shape == (1, scoring.QUERIES, scoring.KEYS)
    torch.testing.assert_close(additive.weights().sum(-1), torch.ones(1, scoring.QUERIES))
    with refused(match="at least 1"):
        scoring.drawn(0, 4)


@pytest.mark.parametrize("d", scoring.WIDTHS)
def test_spread_as_theory_says(d: int) -> None:
    one = scoring.spread(d, keys=32)
    error = 5 * (2 + 6 / d) ** 0.5 / one.raw.shape[0] ** 0.5  # keys of a query share it
    assert one.variance[0] == pytest.approx(d, rel=error)
    assert one.variance[1] == pytest.approx(one.variance[0] / d)
    for i, scale in enumerate((1.0, d**-0.5)):
        w = torch.softmax(one.raw.double() * scale, -1)
        assert one.largest[i] == pytest.approx(float(w.amax(-1).mean()), abs=1e-5)
        entropy = -torch.xlogy(w, w).sum(-1).mean() / np.log(32)
        assert one.entropy[i] == pytest.approx(float(entropy), abs=1e-5)


def test_only_without_the_scale_it_saturates() -> None:
    found = scoring.spreads()
    without, with_ = zip(*(one.largest for one in found), strict=True)
    assert list(without) == sorted(without) and without[-1] > 0.9
    assert max(with_) - min(with_) < 0.05
    wide = found[-1].raw.flatten() / 512**0.5
    inside = float((wide.abs() < 1).float().mean())
    assert inside == pytest.approx(0.6827, abs=0.02)
    with refused(match="at least 2"):
        scoring.spread(4, keys=1)
