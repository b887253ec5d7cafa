"""Heads as a text grows, and as passages are inserted."""

import numpy as np
import pytest

from engine.dilution.growth import Disturbed, Grown
from engine.figures.base.theme import LIGHT
from engine.figures.dilution import growing
from engine.text.locale import speaker

t = speaker("en")


def test_the_chosen_head_stands_out_and_training_ends() -> None:
    def head(n: int, h: int) -> Grown:
        return Grown(n, 0, h, n, 0.5, float(n) / (1 + h), 0.0, None, 1.0, 2.0, n > 100)

    grown = [head(n, h) for n in (64, 128) for h in (0, 1)]
    shape = growing.heads(grown, chosen=(0, 1), trained=100, theme=LIGHT, t=t)
    mine = [trace for trace in shape.data if trace.line.color == LIGHT.accent]
    assert [list(trace.y) for trace in mine] == [[32.0, 64.0], [2.0, 2.0]]
    assert shape.layout.shapes[0].x0 == 100
    bars = growing.ranking({(0, 0): 1.0, (0, 1): 0.2}, (0, 1), theme=LIGHT, t=t).data[0]
    assert list(bars.x) == [0.2, 1.0] and bars.marker.color[0] == LIGHT.accent


def test_maps_share_one_scale() -> None:
    maps = {64: np.full((4, 4), 2.0), 128: np.full((4, 4), 50.0)}
    shape = growing.head_maps(maps, trained=100, theme=LIGHT, t=t)
    assert [a.text for a in shape.layout.annotations] == [
        "n = 64", t("dilution.maps.beyond", n=128)
    ]  # fmt: skip
    assert {trace.zmax for trace in shape.data} == {np.log10(50.0)}
    assert float(shape.data[0].z[0][0]) == pytest.approx(np.log10(2.0))


def grown(n: int, head: int, **more) -> Grown:
    return Grown(
        **{
            "n": n, "layer": 0, "head": head, "visible": float(n), "normalised_entropy": 0.5,
            "effective_tokens": 9.0, "sink_mass": 0.25, "needle_mass": 0.125, "spread": 1.0,
            "baseline": 16.0, "beyond": False,
        }
        | more
    )  # fmt: skip


@pytest.mark.parametrize("metric", growing.GROWN)
def test_every_measure_of_a_growing_text(metric: str) -> None:
    found = [grown(n, head) for n in (64, 256) for head in (0, 1)]
    shape = growing.heads(found, chosen=(0, 1), trained=None, theme=LIGHT, t=t, metric=metric)
    mine = next(x for x in shape.data if x.name == "Layer 0 · head 1")
    assert list(mine.y) == [getattr(found[0], metric)] * 2
    baseline = [x for x in shape.data if x.name == t("dilution.baseline")]
    if metric == "effective_tokens":
        assert list(baseline[0].y) == [16.0, 16.0]
    elif metric == "normalised_entropy":
        assert list(baseline[0].y) == pytest.approx([np.log(16) / np.log(n) for n in (64, 256)])
    else:
        assert not baseline


def test_a_disturbed_text() -> None:
    found = [
        Disturbed(k, 100.0 * (k + 1), 0, head, 0.5 / (k + 1), 1.0 - k / 4)
        for k in (0, 2) for head in (0, 1)
    ]  # fmt: skip
    shape = growing.disturbed(found, (0, 1), trained=150, theme=LIGHT, t=t)
    lines = {x.name: x for x in shape.data if x.showlegend is not False}
    assert list(lines[t("stat.needle_mass")].y) == pytest.approx([0.5, 0.5 / 3])
    assert list(lines[t("stat.needle_hit")].y) == [1.0, 0.5]
    assert list(shape.layout.xaxis.ticktext) == ["100<br>+0", "300<br>+2"]
    assert shape.layout.shapes[0].x0 == 150
