"""An icicle's parts add up to their whole; entropies add up; differences are differences."""

import json
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
import torch

import engine
from engine.contract.views import Levels
from engine.figures.base.picture import Context
from engine.figures.base.theme import DARK, LIGHT
from engine.figures.structure import levels
from engine.text.tree import Tree

EVIL = "<b>&%{z}\u202e"


def t(key, /, **facts):
    return key + "".join(f" {v}" for v in facts.values())


def spans(*edges):
    return torch.tensor([[a, b] for a, b in pairwise(edges)])


def some(n=48, causal=True, **more):
    qkv = engine.sources.planted(n=n, heads=3, dim=16, gap=4.0, causal=causal)
    units = {
        "words": spans(*range(0, n, 3), n) if n % 3 else spans(*range(0, n + 1, 3)),
        "sentences": spans(0, 12, 36, n),
        "paragraphs": spans(0, n),
    }
    tokens = tuple(EVIL if i == 1 else f" t{i}" for i in range(n))
    return qkv.replace(tokens=tokens, units=units, **more)


def children(trace):
    found = defaultdict(list)
    for parent, value in zip(trace.parents, trace.values, strict=True):
        found[parent].append(value)
    return found


@pytest.mark.parametrize("key", ["softmax", "hierarchical", "softmax1"])
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_an_icicles_parts_are_exactly_their_whole(key, theme):
    qkv = some()
    att = engine.attend(qkv, key)
    weights = att.weights(torch.tensor([40]))[1, 0]
    tree = Tree.of(qkv.frame)
    figure = levels.icicle(weights, tree, qkv.tokens, query=40, theme=theme, t=t)
    (trace,) = figure.data
    assert trace.branchvalues == "total" and not trace.sort
    below = children(trace)
    for name, value in zip(trace.ids, trace.values, strict=True):
        if name in below:  # as the browser adds them up: one after the other
            total = 0.0
            for part in below[name]:
                total += part
            assert total == value
    assert trace.values[0] == pytest.approx(float(weights.sum()), abs=1e-6)
    masses = tree.masses(weights)
    for name, value in zip(trace.ids, trace.values, strict=True):
        if "." in name and "rest" not in name:
            level, unit = map(int, name.split("."))
            assert value == pytest.approx(float(masses[level][unit]), abs=1e-9)
    # the one paragraph is the whole, so that sentences come first
    assert {p for n, p in zip(trace.ids, trace.parents, strict=True) if n.startswith("1.")} == {
        "0"
    }
    text = json.dumps(figure.to_plotly_json(), default=str, ensure_ascii=False)
    assert "<b>" not in text and "\u202e" not in text


def test_long_rows_are_drawn_with_their_least_units_together():
    n = 4096
    qkv = engine.sources.planted(n=n, heads=1, noise=2.0)
    weights = engine.attend(qkv, "softmax").weights(torch.tensor([7]))[0, 0]
    trace = levels.icicle(weights, Tree.of(qkv.frame), None, query=7, theme=LIGHT, t=t).data[0]
    assert len(trace.ids) < levels.MOST_NODES + 1200
    assert any("rest" in name for name in trace.ids)
    below = children(trace)
    assert sum(below["0"]) == trace.values[0] == pytest.approx(1, abs=1e-6)
    assert trace.labels[0] == levels.quoted("7", 18)


def test_entropies_are_stacked_to_the_rows_own():
    qkv = some()
    tree = Tree.of(qkv.frame)
    rows = [
        (key, engine.attend(qkv, key).weights(torch.tensor([33]))[0, 0])
        for key in ("hierarchical", "softmax")
    ]
    figure = levels.entropies(rows, tree, theme=LIGHT, t=t)
    assert len(figure.data) == 4  # paragraphs, sentences, words, tokens
    stacked = np.sum([trace.x for trace in figure.data], axis=0)
    for (_, w), total in zip(rows, stacked, strict=True):
        p = w.double()
        assert total == pytest.approx(float(-torch.special.xlogy(p, p).sum()), abs=1e-6)
    assert figure.data[0].x == pytest.approx((0, 0))  # one paragraph: nothing to choose


def test_differences_are_of_units():
    qkv = some()
    tree = Tree.of(qkv.frame)
    a, b = (
        engine.attend(qkv, key).weights(torch.tensor([33]))[0, 0]
        for key in ("hierarchical", "softmax")
    )
    figure, level = levels.differences(a, b, tree, qkv.tokens, LIGHT, t)
    assert level == "tokens"
    np.testing.assert_allclose(figure.data[0].y, (a - b).numpy(), atol=1e-6)
    long = engine.sources.planted(n=4096, heads=1)
    w = torch.full((4096,), 1 / 4096)
    figure, level = levels.differences(w, w.flip(0), Tree.of(long.frame), None, LIGHT, t)
    assert level == "64" and len(figure.data[0].y) == 64 and not np.any(figure.data[0].y)


@pytest.mark.parametrize("aggregate", ["mean", "logsumexp"])
@pytest.mark.parametrize("hidden", [False, True])
def test_pictures_say_their_numbers(aggregate, hidden):
    qkv = some()
    att = engine.attend(qkv, "hierarchical", aggregate=aggregate)
    if hidden:
        att = att.hide(torch.tensor([0]))
    context = Context(
        att=att, head=2, row=30, qkv=qkv, mechanism=None, theme=LIGHT, t=t
    )  # fmt: skip
    first, second, third, fourth, last = levels.pictures(att.view(Levels), context)
    row = att.weights(torch.tensor([30]))[2, 0]
    assert (first.key, first.wide) == ("levels_icicle", True)
    sentences = torch.stack([row[a:b].sum() for a, b in qkv.units["sentences"].tolist()])
    assert first.facts["share"] == pytest.approx(float(sentences.max()), abs=1e-6)
    assert first.facts["count"] == 3 and EVIL not in first.facts["inside"]
    entropy = float(-torch.special.xlogy(row.double(), row.double()).sum())
    assert second.facts["ours"] == pytest.approx(entropy, abs=1e-5)
    assert second.facts["visible"] == int(qkv.frame.seen(torch.tensor([30]))[0]) - hidden
    if aggregate == "logsumexp":
        assert third.facts["moved"] < 1e-6
        assert second.facts["full"] == pytest.approx(second.facts["ours"], abs=1e-5)
    else:
        assert third.facts["moved"] > 0.01
    # rounding is no difference: the axis stays where a change could be seen
    span = third.figure.layout.yaxis.range
    assert span == (-levels.LITTLE, levels.LITTLE) if aggregate == "logsumexp" else span is None
    # the levels' shares multiply to the row itself; one paragraph is no choice, and is not drawn
    assert (fourth.key, fourth.wide, fourth.facts["rows"]) == ("levels_shares", True, 48)
    weight = np.ones(48)
    figures = [fourth.figure, *fourth.beside]
    assert len(figures) == 3
    for trace in (shape.data[0] for shape in figures):
        assert (trace.zmin, trace.zmax) == (0, 1)
        at = np.searchsorted(np.asarray(trace.x), np.arange(48), side="right") - 1
        weight *= np.asarray(trace.z)[30][at]
    assert np.allclose(weight, row, atol=1e-5)
    # siblings: 1² paragraph, 3² sentences, 4² + 8² + 4² words, 3² tokens in each of 16 words
    assert last.key == "levels_gather" and last.figure is None
    assert last.facts == {"units": 1 + 9 + 96 + 144, "tokens": 48**2}


def test_units_beyond_a_map_share_cells_and_the_picture_says_so():
    qkv = engine.sources.planted(n=4096, heads=1)
    att = engine.attend(qkv, "hierarchical")
    context = Context(att=att, head=0, row=9, qkv=qkv, mechanism=None, theme=DARK, t=t)
    *_, last, _ = levels.pictures(att.view(Levels), context)
    assert last.facts["rows"] == levels.MOST_ROWS and last.facts["notes"] == "levels.pooled"
    for trace in (shape.data[0] for shape in (last.figure, *last.beside)):
        assert len(trace.z) == levels.MOST_ROWS and len(trace.z[0]) <= levels.MOST_UNITS
        assert len(trace.x) == len(trace.z[0]) + 1 and trace.x[-1] == 4095.5
