"""A scene, with a query and without."""

import numpy as np
import pytest
import torch

import engine
from engine.lessons import cues
from tests.refusals import refused


@pytest.mark.parametrize("seed", range(12))
def test_one_object_stands_out(seed: int) -> None:
    objects = cues.scene(seed)
    loud = cues.salience(cues.keys(objects))
    assert len(objects) == cues.COUNT and objects == cues.scene(seed)
    best = objects[int(loud.argmax())]
    assert best.colour != "grey"
    expected = [
        -sum(
            np.log(np.mean([getattr(o, kind) == getattr(one, kind) for o in objects]))
            for kind in cues.FEATURES
        )
        for one in objects
    ]
    np.testing.assert_allclose(loud, expected, atol=1e-12)


def test_without_a_query() -> None:
    objects = cues.scene(3)
    loud = cues.salience(cues.keys(objects))
    values = torch.tensor([one.value for one in objects]).double()
    even = cues.look(objects, None, without="average")
    assert even.output == pytest.approx(float(values.mean()))
    most = cues.look(objects, None, without="max")
    assert most.output == pytest.approx(objects[int(loud.argmax())].value)
    fixed = cues.look(objects, None, without="fixed")
    torch.testing.assert_close(fixed.weights.double(), loud.softmax(0), atol=1e-6, rtol=0)


def test_the_query_decides_and_salience_may_pull() -> None:
    objects = cues.scene(0)
    wish = {"colour": "grey", "shape": "circle", "size": None}
    seen = cues.look(objects, wish, strength=4.0)
    met = [(o.colour == "grey") + (o.shape == "circle") for o in objects]
    assert seen.matches.tolist() == met
    torch.testing.assert_close(
        seen.weights.double(), (4.0 * torch.tensor(met).double()).softmax(0), atol=1e-6, rtol=0
    )
    pulled = cues.look(objects, wish, strength=4.0, pull=1.5)
    loud = int(cues.salience(cues.keys(objects)).argmax())
    assert pulled.weights[loud] > seen.weights[loud]
    open_ = cues.look(objects, {}, strength=4.0)
    torch.testing.assert_close(open_.weights, torch.full_like(open_.weights, 1 / 8))


@pytest.mark.parametrize("wish", [{"colour": "blue"}, {"colour": "grey", "size": "small"}, {}])
def test_needles_that_stand_out_as_much_get_as_much(wish) -> None:
    glance = cues.look(cues.scene(0), wish, strength=2.0)
    needles, gap = cues.standing_out(glance)
    qkv = engine.sources.planted(n=8, heads=1, needles=needles, gap=gap, noise=0.0)
    theirs = engine.attend(qkv, "softmax").weights()[0, 0].sort().values
    if wish != {"colour": "grey", "size": "small"}:  # two scores only: then all weights agree
        np.testing.assert_allclose(glance.weights.sort().values, theirs, atol=1e-4)
    np.testing.assert_allclose(glance.weights.max(), theirs.max(), atol=1e-4)
    alone = cues.look(cues.scene(0), None, without="max")
    assert cues.standing_out(alone) == (1, 16.0)


def test_refused() -> None:
    with refused(match="at least one"):
        cues.look([], None)
    with refused(match="average, max, fixed"):
        cues.look(cues.scene(), None, without="loud")


@pytest.mark.parametrize("seed", range(51))
def test_the_goal_is_not_what_stands_out_already(seed: int) -> None:
    """Looking for it moves attention from one object to another, by a wide margin."""
    objects = cues.scene(seed)
    seen = cues.look(objects, {"colour": cues.goal(objects)}).weights
    drawn = cues.look(objects, None).weights
    assert int(seen.argmax()) != int(drawn.argmax())
    assert seen[drawn.argmax()] < drawn.max() / 3 and seen.max() > 0.7
