"""Figures hold the numbers they were given, name tokens by integer positions, and escape them."""

import json

import numpy as np
import pytest
import torch

import engine
from engine.figures.attention.groups import groups
from engine.figures.attention.heatmap import FLOOR, heatmap
from engine.figures.attention.mosaic import mosaic, png, reduced
from engine.figures.attention.rows import rows, stretches
from engine.figures.attention.steps import SHOWN, numbers, steps
from engine.figures.base.theme import DARK, LIGHT, colour_at, template

EVIL = "<b>&%{z}$x$\u202e"
LOOKS = [LIGHT, DARK]


def t(key, /, **facts):
    return key + "".join(f" {v}" for v in facts.values())


def tokens(n):
    return [EVIL if i == 1 else f" t{i}" for i in range(n)]


def inert(figure):
    text = json.dumps(figure.to_plotly_json(), default=str, ensure_ascii=False)
    assert "<b>" not in text and "\u202e" not in text


@pytest.fixture
def att():
    return engine.attend(engine.sources.planted(n=40, heads=4, dim=16, causal=True), "softmax")


@pytest.mark.parametrize("theme", LOOKS, ids=lambda theme: theme.name)
def test_heatmap_of_single_tokens(att, theme):
    cells = att.weights()[0]
    figure = heatmap(
        cells,
        theme=theme,
        t=t,
        rows=(0, 40),
        cols=(0, 40),
        queries=tokens(40),
        keys=tokens(40),
        query=7,
    )
    trace = figure.data[0]
    np.testing.assert_allclose(trace.z, cells.numpy(), rtol=1e-6)
    assert (trace.x0, trace.dx, trace.y0, trace.dy) == (0, 1, 0, 1)
    assert list(figure.layout.xaxis.tickvals) == list(range(40))
    assert figure.layout.yaxis.range == (39.5, -0.5)
    assert figure.layout.shapes[0].y0 == 6.5 and figure.layout.shapes[0].line.color == theme.accent
    assert "␣t3" in trace.text[5][3] and "5" in trace.text[5][3]
    inert(figure)


def test_heatmap_of_pooled_cells_says_so(att):
    figure = heatmap(
        att.heatmap(10)[0], theme=LIGHT, t=t, rows=(0, 40), cols=(0, 40), pool="sum",
    )  # fmt: skip
    assert figure.data[0].dx == 4 and figure.data[0].x0 == 1.5
    assert any("pool.sum.caption 4 4" in a.text for a in figure.layout.annotations)


def test_colour_modes_are_named_and_scaled():
    cells = np.array([[0.0, 0.5], [1e-9, 1.0]])
    for colour in ("weight", "log", "uniform", "row"):
        figure = heatmap(cells, theme=LIGHT, t=t, rows=(0, 2), cols=(0, 2), colour=colour)
        assert f"colour.{colour}.bar" in figure.data[0].colorbar.title.text
    log = heatmap(cells, theme=LIGHT, t=t, rows=(0, 2), cols=(0, 2), colour="log")
    assert log.data[0].z.min() == pytest.approx(np.log10(FLOOR))
    signed = heatmap(-cells, theme=LIGHT, t=t, rows=(0, 2), cols=(0, 2), signed=True)
    assert (signed.data[0].zmin, signed.data[0].zmax) == (-1, 1)
    assert signed.data[0].colorscale[4][1] == LIGHT.paper


def test_mosaic_has_one_picture_a_head(att):
    figure = mosaic(att.heatmap(16), theme=LIGHT, t=t, facts=["<b>"] * 4, chosen=2)
    assert len(figure.layout.images) == 4
    assert list(figure.data[0].customdata) == [0, 1, 2, 3]
    inert(figure)


def test_reduced_keeps_what_is_furthest_from_0():
    maps = np.zeros((1, 100, 100))
    maps[0, 33, 44], maps[0, 77, 5] = 0.9, -0.8
    small = reduced(maps, 16)
    assert small.shape[1] <= 16 and small.max() == 0.9 and small.min() == -0.8


def test_png_is_one():
    assert png(np.zeros((2, 3, 3), np.uint8)).startswith(b"\x89PNG\r\n\x1a\n")


def test_steps_show_the_row(att):
    row = att.steps(1, 30)
    figure = steps(row, keys=tokens(40), theme=DARK, t=t)
    scores, _, weights, output = figure.data
    assert len(scores.x) == SHOWN and len(weights.x) == SHOWN + 1
    assert sum(weights.x) == pytest.approx(1, abs=1e-5)
    assert max(weights.x) == pytest.approx(float(row.weights.max()), abs=1e-6)
    for length, side in zip(scores.x, scores.textposition, strict=True):
        assert side == ("inside" if abs(length) > 0.7 * max(map(abs, scores.x)) else "outside")
    assert np.nansum(output.z) == pytest.approx(float(row.output.sum()), abs=1e-4)
    inert(figure)
    said = numbers(row, 30)
    assert said is not None and f"{float(row.weights.max()):.3f}" in said


def test_numbers_are_only_said_of_a_softmax(att):
    cold = engine.attend(att.qkv, "softmax", temperature=0.25)
    assert numbers(cold.steps(1, 30), 30) is None


def test_groups_that_are_numbers_have_upright_whole_ticks_and_small_shares_their_digits():
    few = groups(torch.eye(3) / 100, names=["0", "1", "2"], row=1, theme=LIGHT, t=t)
    assert few.layout.xaxis.dtick == 1 and few.layout.xaxis.tickangle is None
    assert few.data[0].colorbar.tickformat != ".0%"  # which would say 1% six times
    names = [f"{i:,}" for i in range(30)]
    many = groups(torch.eye(30), names=names, row=None, theme=LIGHT, t=t)
    assert list(many.layout.xaxis.ticktext) == ["0", "5", "10", "15", "20", "25"]
    assert many.data[0].colorbar.tickformat == ".0%"


def test_groups_are_named_and_escaped():
    figure = groups(torch.eye(3), names=[EVIL, "b", "c"], row=1, theme=LIGHT, t=t)
    assert list(figure.layout.xaxis.tickvals) == [0, 1, 2]
    assert figure.layout.shapes[0].y0 == 0.5
    inert(figure)


def test_names_of_groups_of_patches_are_not_cut_and_the_axes_say_what_they_are():
    names = ["(13–16,13–16)", "(10,13)…(12,16)", "CLS"]
    figure = groups(torch.eye(3), names=names, row=1, theme=LIGHT, t=t, patches=True)
    assert list(figure.layout.xaxis.ticktext) == names
    assert figure.layout.yaxis.title.text == t("axis.query_groups.patches")


def test_many_groups_are_counted_on_their_axes_and_named_when_pointed_at():
    figure = groups(
        torch.eye(412), names=[f"Line {i}." for i in range(412)], row=None, theme=LIGHT, t=t
    )
    assert list(figure.layout.yaxis.tickvals) == [0, 100, 200, 300, 400]
    assert "411." in figure.data[0].x[411] and "%{x}" in figure.data[0].hovertemplate


def test_groups_of_one_name_stay_apart():
    figure = groups(torch.eye(4), names=["Yes.", "No.", "Yes.", "Yes."], row=1, theme=LIGHT, t=t)
    (trace,) = figure.data
    assert len(set(trace.x)) == 4 and tuple(trace.x) == tuple(trace.y)
    assert ["".join(c for c in name if c.isprintable()) for name in trace.x] == [
        "Yes.", "No.", "Yes.", "Yes.",
    ]  # fmt: skip
    assert list(figure.layout.xaxis.ticktext) == ["Yes.", "No.", "Yes.", "Yes."]


def test_rows_are_averaged_over_stretches():
    at, lines = stretches(np.arange(1000.0)[None], 10)
    assert len(at) == 10 and lines[0, 0] == pytest.approx(49.5) and at[0] == 49.5
    figure = rows(
        torch.ones(2, 9), torch.arange(1, 10).repeat(2, 1), head=1, query=3, theme=LIGHT, t=t
    )
    assert len(figure.data) == 3 and figure.data[-1].line.color == LIGHT.accent


@pytest.mark.parametrize("theme", LOOKS, ids=lambda theme: theme.name)
def test_scales_rise_evenly_in_lightness(theme):
    def lightness(colour):
        r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return 0.2126 * r**2.2 + 0.7152 * g**2.2 + 0.0722 * b**2.2

    steps = np.diff([lightness(colour_at(theme.weight, i / 32)) for i in range(33)])
    assert (steps < 0).all() if theme is LIGHT else (steps > 0).all()
    assert theme.weight[0] == theme.paper == theme.signed[4]
    assert template(theme).layout.font.color == theme.ink
