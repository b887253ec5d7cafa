"""Bars in an order: each with its name and number, and a line at the threshold."""

import json

import pytest

from engine.figures.attention.ranking import ranking
from engine.figures.base.theme import LIGHT


def test_bars_stand_in_order_with_what_they_stand_for():
    figure = ranking(
        ["a", "<b>x", "c"], [0.9, 0.4, 0.2], theme=LIGHT, numbers=["90%", "40%", "20%"],
        data=[[1, 0], [0, 2], [0, 1]], chosen=1, least=0.3, end=1.0,
    )  # fmt: skip
    (bars,) = figure.data
    assert list(bars.x) == [0.9, 0.4, 0.2] and list(bars.text) == ["90%", "40%", "20%"]
    assert [tuple(x) for x in bars.customdata] == [(1, 0), (0, 2), (0, 1)]
    assert list(bars.marker.color) == [LIGHT.quiet, LIGHT.accent, LIGHT.grid]
    low, high = figure.layout.yaxis.range
    assert low > high and figure.layout.xaxis.range[1] > 1
    (line,) = figure.layout.shapes
    assert line.x0 == line.x1 == 0.3
    assert "<b>" not in json.dumps(figure.to_plotly_json(), default=str)


@pytest.mark.parametrize("number", ["0.12 nats", "0.12 奈特"])
def test_a_long_number_has_room_beside_the_longest_bar(number):
    figure = ranking(["a", "b"], [1.0, 0.1], theme=LIGHT, numbers=[number, "0"])
    assert 1.4 < figure.layout.xaxis.range[1] < 2


def test_nothing_to_rank_is_an_empty_picture():
    assert len(ranking([], [], theme=LIGHT, numbers=[]).data[0].y) == 0
