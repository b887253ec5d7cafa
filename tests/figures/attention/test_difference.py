"""The difference map holds the differences, zero at paper, and names its pairs harmlessly."""

import json

import numpy as np
import pytest
import torch

import engine
from engine.figures.attention import difference as drawn
from engine.figures.base.theme import DARK, LIGHT
from engine.measure.comparison import Difference, difference

EVIL = "<b>&%{z}$x$\u202e"


def t(key, /, **facts):
    return key + "".join(f" {v}" for v in facts.values())


@pytest.fixture(scope="module")
def found():
    qkv = engine.sources.planted(n=48, heads=2, dim=8, causal=True)
    return difference(engine.attend(qkv, "window", window=6), engine.attend(qkv, "softmax"), 1)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_cells_are_the_differences_about_paper(found, theme):
    names = [EVIL if i == 1 else f" t{i}" for i in range(48)]
    figure = drawn.difference(found, theme=theme, t=t, queries=names, keys=names, query=7)
    trace = figure.data[0]
    np.testing.assert_allclose(trace.z, found.cells.numpy(), rtol=1e-6)
    assert trace.zmax == -trace.zmin == pytest.approx(drawn.usual(found.cells.numpy()))
    assert trace.colorscale[4][1] == theme.paper  # the middle of nine stops
    assert (trace.x0, trace.dx, trace.y0, trace.dy) == (0, 1, 0, 1)
    assert figure.layout.shapes[0].y0 == 6.5
    assert "␣t3" in trace.text[5][3] and f"{float(found.cells[5, 3]):+.3g}" in trace.text[5][3]
    text = json.dumps(figure.to_plotly_json(), default=str, ensure_ascii=False)
    assert "<b>" not in text and "\u202e" not in text


def test_colours_end_at_the_largest_unless_a_few_cells_would_leave_the_others_paper():
    even = Difference(
        torch.linspace(-1, 1, 400).reshape(20, 20), torch.arange(20), (0, 20) * 2, (1, 1)
    )
    trace = drawn.difference(even, theme=LIGHT, t=t).data[0]
    assert trace.zmax == 1 and trace.colorbar.ticktext is None
    cells = torch.full((20, 20), 0.01)
    cells[3, 4] = -0.9
    trace = drawn.difference(
        Difference(cells, torch.arange(20), (0, 20) * 2, (1, 1)), theme=LIGHT, t=t
    ).data[0]
    assert trace.zmax == pytest.approx(0.01) and trace.customdata[3][4] == pytest.approx(-0.9)
    assert list(trace.colorbar.ticktext) == ["≤ −0.01", "−0.005", "0", "0.005", "≥ 0.01"]


def test_a_logarithmic_scale_keeps_signs_and_says_the_values(found):
    figure = drawn.difference(found, theme=LIGHT, t=t, colour="log")
    trace, cells = figure.data[0], found.cells.numpy()
    top = np.abs(cells).max()
    assert (trace.zmin, trace.zmax) == (-drawn.DECADES, drawn.DECADES)
    assert (np.sign(trace.z) * np.sign(cells) >= 0).all()
    assert np.abs(trace.z).max() == pytest.approx(drawn.DECADES)
    np.testing.assert_allclose(trace.customdata, cells, rtol=1e-6)
    assert trace.colorbar.ticktext[-1] == f"+{top:.2g}"
    tenth = drawn.signed_log(np.array([-top / 10, top / 1e9, 0.0]), top)
    np.testing.assert_allclose(tenth, [1 - drawn.DECADES, 0, 0], atol=1e-6)


def test_pooled_and_sampled_cells_lie_where_they_belong():
    pooled = Difference(torch.ones(5, 4), torch.arange(20), (0, 20, 8, 24), (4, 4))
    trace = drawn.difference(pooled, theme=LIGHT, t=t).data[0]
    assert (trace.x0, trace.dx, trace.y0, trace.dy) == (9.5, 4, 1.5, 4)
    sampled = Difference(torch.ones(5, 4), torch.arange(2, 50, 10), (0, 50, 0, 4), (1, 1))
    assert sampled.sampled
    figure = drawn.difference(sampled, theme=LIGHT, t=t)
    assert (figure.data[0].y0, figure.data[0].dy) == (4.5, 10)
    assert figure.layout.yaxis.range == (49.5, -0.5)


def test_nothing_differs():
    none = Difference(torch.zeros(3, 3), torch.arange(3), (0, 3, 0, 3), (1, 1))
    trace = drawn.difference(none, theme=LIGHT, t=t, colour="log").data[0]
    assert (np.asarray(trace.z) == 0).all() and trace.zmin < trace.zmax
