"""Kernel regression against numpy, its limits, its gradient, its training."""

import math

import numpy as np
import pytest
import torch

from engine.lessons import regression
from engine.lessons.regression import KERNELS, Data, draw
from tests.refusals import refused


def by_hand(queries, x, y, w: float, kernel: str = "gaussian", others: bool = False):
    """The estimator as its authors wrote it: Σ K(w(q − x)) y / Σ K(w(q − x))."""
    far = w * (np.asarray(queries)[:, None] - np.asarray(x)[None])
    k = np.exp(-(far**2) / 2) if kernel == "gaussian" else (np.abs(far) <= 1) * 1.0
    if others:
        np.fill_diagonal(k, 0)
    with np.errstate(invalid="ignore"):
        return k @ np.asarray(y) / k.sum(1), k / k.sum(1, keepdims=True)


def random(n: int, seed: int = 0) -> Data:
    return draw(n, 37, 0.5, seed)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("w", [0.3, 1.0, 4.0, 9.0])
def test_as_numpy_works_it_out(kernel: str, w: float) -> None:
    data = random(41)
    expected, weights = by_hand(data.at, data.x, data.y, w, kernel)
    found = regression.predict(data, data.at, w, kernel).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9)
    att = regression.attention(data.at, data.x, data.y, w, kernel)
    np.testing.assert_allclose(att.weights()[0], np.nan_to_num(weights), atol=1e-6)


def test_data_are_the_article_s() -> None:
    data = draw(4000, 50, 0.5, 1)
    assert bool((data.x.diff() >= 0).all()) and data.x[0] >= 0 and data.x[-1] <= 5
    x = data.x.numpy()
    noise = data.y.numpy() - (2 * np.sin(x) + x**0.8)
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 0.5) < 0.02
    np.testing.assert_allclose(data.at, np.arange(0, 5, 0.1), atol=1e-12)
    assert torch.equal(draw(20).y, draw(20).y) and not torch.equal(draw(20).y, draw(20, seed=1).y)


def test_no_width_is_the_mean_and_a_narrow_one_the_nearest() -> None:
    data = random(30)
    mean = data.y.mean().expand(len(data.at))
    torch.testing.assert_close(regression.predict(data, data.at, 0.0), mean)
    torch.testing.assert_close(regression.predict(data, data.at, 0.0, "boxcar"), mean)
    nearest = data.y[(data.at[:, None] - data.x).abs().argmin(1)]
    torch.testing.assert_close(regression.predict(data, data.at, 1e5), nearest)
    for w in (0.5, 5.0):
        found = regression.predict(data, data.at, w)
        assert data.y.min() <= found.min() and found.max() <= data.y.max()
        moved = Data(data.x + 3, data.y, data.at + 3, data.truth, 0.5)
        torch.testing.assert_close(found, regression.predict(moved, moved.at, w))


@pytest.mark.parametrize("others", [True, False])
def test_loss_and_slope(others: bool) -> None:
    data, w, h = random(25), 1.7, 1e-5
    total, slope = regression.loss(data, w, others)
    expected, _ = by_hand(data.x, data.x, data.y, w, others=others)
    assert total == pytest.approx(((expected - data.y.numpy()) ** 2).sum(), rel=1e-9)
    up, down = (
        ((by_hand(data.x, data.x, data.y, w + e, others=others)[0] - data.y.numpy()) ** 2).sum()
        for e in (h, -h)
    )
    assert slope == pytest.approx((up - down) / (2 * h), rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_training_improves_what_is_left_out(seed: int) -> None:
    data = random(50, seed)
    steps = list(regression.train(data, 1.0, 0.02))
    assert [s.step for s in steps] == list(range(regression.STEPS + 1))
    assert steps[-1].end == "done" and not any(s.end for s in steps[:-1])
    assert steps[-1].loss < 0.8 * steps[0].loss
    assert steps[-1].loss < 1.03 * regression.best(data)[1]
    assert steps[1].w == pytest.approx(1.0 - 0.02 * regression.loss(data, 1.0)[1])
    assert regression.error(data, steps[-1].w) < regression.error(data, 1.0)


def test_points_that_see_themselves_learn_the_noise() -> None:
    data = random(50)
    *_, with_own = regression.train(data, 1.0, 0.1, others=False)
    *_, without = regression.train(data, 1.0, 0.1)
    assert with_own.w > 2 * without.w and with_own.loss < without.loss
    assert regression.error(data, with_own.w) > regression.error(data, without.w)
    assert regression.loss(data, 1e6, others=False)[0] < 1e-9


def test_a_rate_that_is_too_large_is_stopped() -> None:
    steps = list(regression.train(random(50), 1.0, 1e4))
    assert steps[-1].end == "diverged" and len(steps) <= regression.PATIENCE + 2
    assert all(math.isfinite(s.w) and math.isfinite(s.loss) for s in steps)
    assert steps[-1].loss > steps[0].loss
    (first,) = list(regression.train(random(50), 1.0, math.inf))
    assert first.end == "diverged" and first.w == 1.0


def test_what_can_not_be_learned_is_named() -> None:
    assert regression.trouble(random(1), 1.0, True) == "alone"
    assert regression.trouble(random(1), 1.0, False) == "one"
    same = draw(10, span=0.0)
    assert regression.trouble(same, 1.0, True) == "same"
    torch.testing.assert_close(
        regression.predict(same, same.at, 3.0), same.y.mean().expand(len(same.at))
    )
    assert regression.trouble(random(10), 0.0, True) == "flat"
    assert regression.loss(random(10), 0.0)[1] == 0
    assert regression.trouble(random(10), 1.0, True) == ""
    lone = random(1)
    assert torch.equal(regression.predict(lone, lone.at, 2.0), lone.y.expand(len(lone.at)))
    for bad in ({"n": 0}, {"tests": 0}, {"span": 6.0}, {"noise": -1.0}):
        with refused():
            draw(**bad)
    with refused(match="kernel"):
        regression.predict(random(5), random(5).at, 1.0, "box")
    with refused(match="finite"):
        regression.predict(random(5), random(5).at, math.nan)


def test_a_boxcar_that_reaches_nothing_leaves_a_gap() -> None:
    data = random(8)
    found = regression.predict(data, data.at, 50.0, "boxcar")
    reached = ((data.at[:, None] - data.x).abs() <= 1 / 50).any(1)
    assert bool((found.isnan() == ~reached).all()) and bool((~reached).any())


def test_sharper_weights_and_turns() -> None:
    data = random(50)
    wide, narrow = regression.sharpness(data, 1.0), regression.sharpness(data, 20.0)
    assert narrow.points < wide.points and narrow.largest > wide.largest
    assert narrow.turns > wide.turns
    assert regression.turns(torch.tensor([0.0, 1, 2, 1, 0, 3]).double()) == 2
    assert regression.turns(torch.ones(5).double()) == 0


def test_only_a_shrinking_width_is_consistent() -> None:
    *_, found = regression.consistency(2.0, draws=3)
    assert found.sizes == list(regression.SIZES)
    assert found.shrinking[-1] < 0.5 * found.fixed[-1]
    assert found.slope("shrinking") < -0.2 < -0.1 < found.slope("fixed")
    n = torch.tensor(found.sizes).double()
    exact = regression.Consistency(found.sizes, (3 * n**-0.4).tolist(), [1.0] * len(n), 50)
    assert exact.slope("fixed") == pytest.approx(-0.4) and exact.slope("shrinking") == 0


def test_the_article_s_five_steps_overshoot_and_stay_restless() -> None:
    """w = 9.0 and 13 turns, as the article's own figure has a curve that follows the noise."""
    data = draw()
    steps = list(regression.train(data, regression.START, regression.RATE, regression.EPOCHS))
    assert [s.step for s in steps] == [0, 1, 2, 3, 4, 5] and steps[-1].end == "done"
    expected = 1.0
    for _ in range(5):  # the same by hand, with the slope taken numerically
        up, down = (
            (
                (by_hand(data.x, data.x, data.y, expected + e, others=True)[0] - data.y.numpy())
                ** 2
            ).sum()
            for e in (1e-5, -1e-5)
        )
        expected -= 0.5 * (up - down) / 2e-5
    assert steps[-1].w == pytest.approx(expected, abs=1e-3) and f"{steps[-1].w:.1f}" == "9.0"
    assert regression.sharpness(data, steps[-1].w).turns == 13
    fine = torch.linspace(0, 5, 501, dtype=torch.float64)
    assert regression.turns(regression.truth(fine)) == 2
