"""Pictures of positions, additive scores and kernels hold the numbers that they claim to."""

from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import pytest
import torch

import engine
from engine.contract import Layer
from engine.contract.views import Bias
from engine.contract.wording import worded
from engine.figures.base.theme import DARK, LIGHT
from engine.figures.structure.pictures import Context, Picture, pictures
from engine.figures.structure.scorings import POINTS
from engine.kernels import positions
from engine.mechanisms.relative import KINDS
from engine.structure import bias
from engine.structure.scorings import less_mean
from tests.pages.test_locales import WORDS
from tests.wording import facts

EVIL = "<b>&%{z}$x$\u202e"


def t(key, /, **given):
    return key + "".join(f" {v}" for v in given.values())


def context(key: str, n: int = 90, theme=LIGHT, row: int = 30, causal: bool = True, **parameters):
    qkv = engine.sources.planted(n=n, heads=3, dim=16, causal=causal, needles=min(1, n - 1))
    at = torch.arange(n)
    q, k = positions.rotated(qkv.q, at), positions.rotated(qkv.k, at)
    qkv = qkv.replace(
        q=q, k=k, layer=Layer(q=qkv.q, k=qkv.k, rotary=True),
        tokens=tuple(EVIL if i == 3 else f" t{i}" for i in range(n)),
    )  # fmt: skip
    mechanism = engine.make(key, **parameters)
    return Context(att=mechanism.attend(qkv), head=1, row=min(row, n - 1), qkv=qkv,
                   mechanism=mechanism, theme=theme, t=t)  # fmt: skip


def drawn(c: Context) -> dict[str, Picture]:
    return {p.key: p for p in pictures(c)}


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    "key", [*(f"relative-{k}" for k in KINDS), "forgetting", "additive", "gaussian"]
)
def test_words_facts_and_escapes(key, causal, theme):
    key, _, kind = key.partition("-")
    c = context(key, theme=theme, causal=causal, **({"kind": kind} if kind else {}))
    found = drawn(c)
    assert found
    for name, picture in found.items():
        for tag in ("en", "zh"):
            words = WORDS[tag][f"picture.{name}.caption"]
            assert facts(words) <= picture.facts.keys(), name
            assert worded(words, tag, picture.facts)
            assert f"picture.{name}.title" in WORDS[tag]
        text = json.dumps(picture.figure.to_plotly_json(), default=str, ensure_ascii=False)
        assert "<b>" not in text and "\u202e" not in text
        assert picture.figure.layout.height <= 420


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_shortest_texts_are_drawn(kind, n):
    for causal in (True, False):
        assert drawn(context("relative", n=n, kind=kind, causal=causal))
    for key in ("additive", "gaussian"):
        drawn(context(key, n=n))


def test_alibi_s_lines_are_its_slopes():
    c = context("relative")
    picture = drawn(c)["bias_alibi"]
    chosen = picture.figure.data[-1]
    slope = float(positions.slopes(3)[1])
    assert chosen.line.color == LIGHT.accent and len(picture.figure.data) == 3
    np.testing.assert_allclose(chosen.y, -slope * np.array(chosen.x), rtol=1e-5)
    assert picture.facts["half"] == pytest.approx(np.log(2) / slope)
    assert picture.facts["window"] == pytest.approx(1 / np.tanh(slope / 2))
    assert picture.facts["origin"] == "bias.origin.before"


@pytest.mark.parametrize("causal", [True, False])
def test_the_window_is_the_participation_ratio_of_equal_scores(causal):
    n = 601
    qkv = engine.QKV(*torch.zeros(3, 4, n, 4).unbind(0), causal=causal)
    rows = engine.attend(qkv, "relative").rows(torch.tensor([600 if causal else 300]))
    for h in (0, 1):
        expected = bias.window(float(positions.slopes(4)[h]), causal)
        assert float(rows.participation[h, 0]) == pytest.approx(expected, rel=1e-4)


def test_measured_lines_are_means_of_the_view():
    c = context("relative", kind="rope")
    view = c.att.view(Bias)
    figure = drawn(c)["bias_logit"].figure
    content, whole = figure.data
    near = slice(0, 40)  # distances that stand by themselves
    np.testing.assert_allclose(np.array(whole.y)[near], view.logit[1, near].numpy(), rtol=1e-5)
    np.testing.assert_allclose(
        np.array(content.y)[near], (view.logit - view.value)[1, near].numpy(), rtol=1e-4, atol=1e-6
    )
    assert np.isnan(np.array(whole.y)[-1]) and view.pairs[-1] == 1  # one pair is no mean


def test_stretches_are_means_over_pairs():
    far = np.arange(-300, 301)
    means, pairs = np.random.default_rng(0).normal(size=(2, 601)), np.arange(601) + 1
    at, found = bias.stretches(far, means, pairs, 1)
    assert at[np.abs(at) <= bias.ALONE].tolist() == list(range(-bias.ALONE, bias.ALONE + 1))
    assert len(at) < 601 and (np.diff(at) > 0).all() and at[0] < -290 and at[-1] > 290
    np.testing.assert_allclose(
        found[:, np.abs(at) <= bias.ALONE], means[:, np.abs(far) <= bias.ALONE]
    )
    _, same = bias.stretches(far, far[None].astype(float), np.ones(601, int), 1)
    np.testing.assert_allclose(same[0], at)  # a mean distance where all weigh alike
    two = np.where(far == 300, 3, 1)  # the furthest three times
    _, more = bias.stretches(far, far[None].astype(float), two, 1)
    assert at[-1] == 298.5 and more[0, -1] == (297 + 298 + 299 + 3 * 300) / 6
    _, few = bias.stretches(far, means, np.zeros(601, int), 1)
    assert np.isnan(few).all()


def test_rope_s_curve_and_t5_s_staircase():
    figure = drawn(context("relative", kind="rope"))["bias_decay"].figure
    assert figure.data[0].y[0] == 1
    np.testing.assert_allclose(
        figure.data[0].y, positions.decay(16, torch.arange(90)), rtol=1e-5, atol=1e-6
    )
    for causal in (True, False):
        picture = drawn(context("relative", kind="t5", causal=causal))["bias_buckets"]
        far = torch.tensor(picture.figure.data[0].x)
        assert list(picture.figure.data[0].y) == positions.buckets(far, causal, 128).tolist()
        assert len(picture.figure.data) == 2 - causal
        assert picture.facts["count"] == (32 if causal else 16)


@pytest.mark.parametrize("causal", [True, False])
def test_cope_counts_fewer_than_all(causal):
    """On equal scores of 0 each key counts half."""
    c = context("relative", kind="cope", causal=causal)
    qkv = c.qkv.replace(q=c.qkv.q * 0, layer=None)
    picture = drawn(dataclasses.replace(c, att=c.mechanism.attend(qkv)))["bias_counted"]
    *heads, all_of_them = picture.figure.data
    assert len(heads) == 3 and min(heads[-1].x) == 0
    near = np.array(heads[-1].x) <= 40
    np.testing.assert_allclose(np.array(heads[-1].y)[near], (np.arange(41) + 1) / 2, rtol=1e-5)
    assert list(all_of_them.x) == list(all_of_them.y)
    assert picture.facts["count"] == pytest.approx((picture.facts["far"] + 1) / 2, rel=0.02)


def test_fire_s_function_ends_alike_for_every_past():
    c = context("relative", kind="fire", length=64)
    figure = drawn(c)["bias_stretched"].figure
    values = c.att.view(Bias).values[1].numpy()
    assert [max(line.x) for line in figure.data] == [64, 256, 1024]
    for line in figure.data:
        assert line.y[-1] == pytest.approx(values[-1], rel=1e-6)
        assert min(values) - 1e-6 <= min(line.y) and max(line.y) <= max(values) + 1e-6
    near = [np.interp(16, line.x, line.y) for line in figure.data]
    assert len(set(np.round(near, 6))) == 3


def test_skew_greys_what_belongs_to_no_pair():
    c = context("relative", kind="music", row=11)
    before, after = (x[1].numpy() for x in c.att.view(Bias).skew)
    picture = drawn(c)["bias_skew"]
    grey_left, left, grey_right, right = picture.figure.data
    n = len(before)
    inside = np.tril(np.ones((n, n), bool))
    assert (
        np.isnan(np.array(right.z)[~inside]).all()
        and np.isnan(np.array(left.z)[~inside[:, ::-1]]).all()
    )
    np.testing.assert_allclose(np.array(right.z)[inside], after[inside])
    assert (np.isnan(np.array(grey_left.z)) == inside[:, ::-1]).all()
    assert (np.isnan(np.array(grey_right.z)) == inside).all()
    assert list(left.x) == list(range(n - 1, -1, -1))
    assert {s.y0 for s in picture.figure.layout.shapes} == {10.5}
    pair = np.array(left.z)[30, list(left.x).index(7)]  # query 30, 7 back: key 23
    assert pair == np.array(right.z)[30, 23]


def test_additive_density_counts_pairs_held_out():
    c = context("additive")
    picture = drawn(c)["additive_scores"]
    assert picture.facts["r2"] == pytest.approx(float(c.att.fidelity.value[1]))
    assert picture.facts["rows"] == 90 // 4
    counts = np.array(picture.figure.data[0].customdata)
    assert 0.98 * picture.facts["pairs"] <= counts.sum() <= picture.facts["pairs"]
    z = torch.tensor([[1.0, 2.0, 9.0]])
    less = less_mean(z, torch.tensor([[True, True, False]]))
    assert less[0, :2].tolist() == [-0.5, 0.5]


@pytest.mark.parametrize("key", ["relative", "additive", "gaussian"])
def test_what_is_set_aside_is_no_trouble(key):
    c = context(key)
    hidden = dataclasses.replace(c, att=c.att.hide(torch.tensor([0, 7])))
    for picture in drawn(hidden).values():
        if picture.key == "gaussian_kernel":
            assert len(picture.figure.data[1].x) == 29


def test_kernel_points_lie_on_the_kernel():
    c = context("gaussian", width=3.0)
    line, points = drawn(c)["gaussian_kernel"].figure.data
    assert len(points.x) == 31  # what a causal row may see
    q, k = c.qkv.q[1, 30], c.qkv.k[1, :31]
    np.testing.assert_allclose(points.x, (q - k).norm(dim=-1), rtol=1e-5)
    np.testing.assert_allclose(points.y, c.att.weights()[1, 30, :31], rtol=1e-4)
    np.testing.assert_allclose(np.interp(points.x, line.x, line.y), points.y, rtol=0.02)
    assert sum(points.y) == pytest.approx(1, abs=1e-5)


def test_long_texts_stay_light():
    c = context("gaussian", n=6000, row=5999)
    points = drawn(c)["gaussian_kernel"].figure.data[1]
    assert len(points.x) == POINTS and max(points.y) == c.att.weights(slice(5999, 6000))[1].max()
    c = context("relative", n=6000, kind="rope")
    c.att.views  # noqa: B018  (drawn from, not part of drawing)
    began = time.perf_counter()
    found = drawn(c)
    assert time.perf_counter() - began < 2
    assert sum(len(trace.x) for p in found.values() for trace in p.figure.data) < 20_000
