"""One row under several mechanisms: the bars are its weights, the outline full attention's."""

import json

import numpy as np
import pytest

from engine.figures.attention.strips import POINTS, furthest, strips
from engine.figures.base.theme import LIGHT
from engine.measure.cells import Cells


def t(key, /, **facts):
    return key


ROW, FULL = np.array([0.5, 0.0, 0.5, 0.0]), np.array([0.25, 0.25, 0.25, 0.25])


def test_bars_and_outline():
    names = ["<b>x", "b", "c", "d"]
    figure = strips([("<i>A", ROW), ("B", FULL)], FULL, theme=LIGHT, t=t, keys=names, query=2)
    first, outline, second, _ = figure.data
    np.testing.assert_allclose(first.y, ROW)
    np.testing.assert_allclose(outline.y, FULL)
    np.testing.assert_allclose(second.y, FULL)
    assert list(first.x) == [0, 1, 2, 3]
    assert figure.layout.yaxis.range == figure.layout.yaxis2.range == (0, 0.51)
    assert figure.layout.shapes[0].x0 == 2
    assert figure.layout.height <= 420
    text = json.dumps(figure.to_plotly_json(), default=str, ensure_ascii=False)
    assert "<b>" not in text and "<i>" not in text


def test_signed_weights_go_below_zero_and_are_never_logarithmic():
    figure = strips(
        [("A", np.array([0.7, -0.3]))], np.array([0.5, 0.5]), theme=LIGHT, t=t, log=True
    )
    assert figure.layout.yaxis.range[0] == -0.3 and figure.layout.yaxis.type == "linear"
    assert figure.layout.yaxis.zeroline
    plain = strips([("A", ROW)], FULL, theme=LIGHT, t=t, log=True)
    assert plain.layout.yaxis.type == "log"
    assert plain.layout.yaxis.range[1] == pytest.approx(np.log10(0.5))


def test_long_rows_are_pooled_and_windows_cut():
    n = 4 * POINTS
    w = np.zeros(n)
    w[10], w[n - 1] = 0.5, -0.75
    figure = strips([("A", w)], np.abs(w), theme=LIGHT, t=t)
    assert len(figure.data[0].x) == POINTS
    assert figure.data[0].y[2] == 0.5 and figure.data[0].y[-1] == -0.75
    assert figure.data[0].customdata[2] == "8–11"
    part = strips([("A", w)], np.abs(w), theme=LIGHT, t=t, cols=(8, 16))
    assert list(part.data[0].x) == list(range(8, 16)) and part.data[0].y[2] == 0.5


def test_furthest_keeps_a_ragged_end():
    cells = Cells(0, 7, 3)
    np.testing.assert_allclose(furthest(np.array([1, 2, -5, 0, 0, 0, 4.0]), cells), [-5, 0, 4])
