"""Pictures of probes: a line a mechanism where the records say, what was trained on shaded."""

import numpy as np
import pytest

from engine.dilution.probes import CLASSES, METRICS
from engine.figures.base.theme import DARK, LIGHT
from engine.figures.dilution import probes as pictures
from engine.text.locale import speaker

NAMES = {"softmax": "Softmax", "ssmax": "<b>SSMax</b>"}
LENGTHS = (4, 16, 64)

t = speaker("en")


def records(kinds=tuple(NAMES), seeds=(0, 1, 2)) -> list[dict]:
    return [
        {"mechanism": kind, "seed": seed, "n": n} | dict.fromkeys(METRICS, 1 / n + 0.01 * seed)
        for kind in kinds for seed in seeds for n in LENGTHS
    ]  # fmt: skip


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dark", [False, True])
def test_lines_bands_and_chance(metric, dark) -> None:
    shape = pictures.lengths(
        records(), metric, NAMES, trained=16, theme=DARK if dark else LIGHT, t=t,
        own=records(("ssmax",), (7,)), own_name="mine",
    )  # fmt: skip
    shown = [trace for trace in shape.data if trace.showlegend is not False]
    assert [trace.name for trace in shown] == [
        "Softmax", "&lt;b&gt;SSMax&lt;/b&gt;", "mine", t("probes.chance"),
            t("probes.beyond", trained=16),
    ]  # fmt: skip
    low, high, line = shape.data[:3]
    np.testing.assert_allclose(line.x, LENGTHS)
    np.testing.assert_allclose(line.y, [1 / n + 0.01 for n in LENGTHS])
    np.testing.assert_allclose(low.y, [1 / n for n in LENGTHS])
    np.testing.assert_allclose(high.y, [1 / n + 0.02 for n in LENGTHS])
    assert shown[2].line.dash == "dash" and shown[2].line.color == (DARK if dark else LIGHT).accent
    assert line.line.dash != "dash"
    chance = [1 / CLASSES] * 3 if metric == "accuracy" else [1 / n for n in LENGTHS]
    np.testing.assert_allclose(np.interp(LENGTHS, shown[3].x, shown[3].y), chance, rtol=1e-3)
    (shaded,) = [one for one in shape.layout.shapes if one.type == "rect"]
    assert (shaded.x0, shaded.x1) == (16, 64)  # beyond, as everywhere
    assert shape.layout.yaxis.title.text == t(f"probes.metric.{metric}")


def test_a_training_is_drawn_as_it_goes() -> None:
    empty = pictures.training((), 500, theme=LIGHT, t=t)
    history = [(100, 2.0, 0.2), (200, 0.5, 0.9)]
    shape = pictures.training(history, 500, theme=LIGHT, t=t)
    loss, right = shape.data
    assert list(loss.x) == list(right.x) == [100, 200]
    assert list(loss.y) == [2.0, 0.5] and list(right.y) == [0.2, 0.9]
    assert right.yaxis == "y2"
    assert pictures.points(history)["traces"] == [
        {"x": [100, 200], "y": [2.0, 0.5]}, {"x": [100, 200], "y": [0.2, 0.9]},
    ]  # fmt: skip
    for axis in ("xaxis", "yaxis", "yaxis2"):  # so that nothing jumps
        assert empty.layout[axis].range == shape.layout[axis].range is not None
    levels = [one.y0 for one in shape.layout.shapes]
    assert levels == pytest.approx([np.log(CLASSES), 1 / CLASSES])
