"""Pictures of softmax's remedies hold the weights and closed forms that they claim to."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch

import engine
from engine.contract.wording import worded
from engine.dilution import theory
from engine.figures.base.theme import DARK, LIGHT
from engine.figures.structure.pictures import Context, Picture, pictures
from engine.mechanisms.adaptive_temperature import beta, sharpening
from tests.pages.test_locales import WORDS
from tests.wording import facts

EVIL = "<b>&%{z}$x$\u202e"
KEYS = ("ssmax", "entmax", "softmax1", "adaptive_temperature", "differential", "sigmoid",
        "combined")  # fmt: skip


def t(key, /, **given):
    return key + "".join(f" {v}" for v in given.values())


def context(key: str, n: int = 200, theme=LIGHT, row: int | None = None, **parameters) -> Context:
    qkv = engine.sources.planted(n=n, heads=2, dim=16, gap=4.0, noise=1.0, causal=True)
    qkv = qkv.replace(tokens=tuple(EVIL if i == 3 else f" t{i}" for i in range(n)))
    mechanism = engine.make(key, **parameters)
    return Context(att=mechanism.attend(qkv), head=1, row=n - 1 if row is None else row, qkv=qkv,
                   mechanism=mechanism, theme=theme, t=t)  # fmt: skip


def drawn(c: Context) -> dict[str, Picture]:
    return {p.key: p for p in pictures(c)}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("row", [0, 1, 150, 199])
@pytest.mark.parametrize("tag", ["en", "zh"])
def test_each_row_can_be_drawn_and_has_words(key, row, tag):
    for name, picture in drawn(context(key, row=row, theme=DARK)).items():
        for part in ("title", "caption"):
            words = WORDS[tag][f"picture.{name}.{part}"]
            assert facts(words) <= picture.facts.keys()
            assert worded(words, tag, picture.facts)
        text = json.dumps(picture.figure.to_plotly_json(), default=str, ensure_ascii=False)
        assert "<b>" not in text and "\u202e" not in text


def test_other_mechanisms_are_left_alone():
    assert not [k for k in drawn(context("softmax")) if k.startswith("remedy")]


def test_ranks_are_the_row_sorted():
    c = context("ssmax")
    picture = drawn(c)["remedy_rank"]
    before, after = picture.figure.data
    for trace, att in ((before, engine.attend(c.qkv, "softmax")), (after, c.att)):
        falling = att.weights(slice(199, 200))[1, 0].sort(descending=True).values.numpy()
        at = np.asarray(trace.x)
        np.testing.assert_allclose(trace.y, falling[at - 1], rtol=1e-4)
        assert at[0] == 1
        assert (falling[at[-1] :] < 1e-8).all(), "a weight that could be drawn is missing"
    assert picture.facts["after"] == pytest.approx(float(c.att.weights(slice(199, 200))[1].max()))


def test_exact_zeros_have_a_line_of_their_own():
    c = context("entmax")
    picture = drawn(c)["remedy_rank_sparse"]
    w = c.att.weights(slice(199, 200))[1, 0]
    zeros = int((w == 0).sum())
    assert zeros > 100 and picture.facts["zeros"] == zeros
    line = picture.figure.data[2]
    assert list(line.x) == [200 - zeros + 1, 200]
    assert max(picture.figure.data[1].x) == 200 - zeros
    axis = picture.figure.layout.yaxis
    assert axis.ticktext[-1] == "0" and axis.tickvals[-1] == line.y[0] < min(axis.tickvals[:-1])


def test_negative_weights_are_drawn_apart():
    c = context("differential")
    picture = drawn(c)["remedy_rank_signed"]
    w = c.att.weights(slice(199, 200))[1, 0].numpy()
    assert picture.facts["negative"] == (w < 0).sum()
    assert picture.facts["mass"] == pytest.approx(-w[w < 0].sum(), rel=1e-5)
    assert picture.figure.data[2].y[0] == pytest.approx(-w.min(), rel=1e-5)


@pytest.mark.parametrize(("key", "parameters"), [
    ("ssmax", {"s": 0.6}), ("entmax", {"alpha": 1.3}), ("entmax", {"alpha": 1.0}),
    ("adaptive_temperature", {}),
])  # fmt: skip
def test_curves_are_what_the_mechanism_does(key, parameters):
    """Each point is what the engine gives to one key among equal others."""
    c = context(key, **parameters)
    found = drawn(c)
    response = found["remedy_response"].figure.data
    growth = found[f"remedy_growth_{key}"].figure.data
    gap, n = found["remedy_response"].facts["gap"], 200
    for trace, at, given in ((response[1], 120, None), (growth[1], 90, gap)):
        x, y = float(trace.x[at]), float(trace.y[at])
        lead, count = (x, n) if given is None else (given, int(x))
        k = torch.zeros(1, count, 1, dtype=torch.float64)
        k[0, 0] = lead
        qkv = engine.QKV(torch.ones_like(k[:, :1]), k, k, scale=1.0)
        weight = engine.attend(qkv, key, **parameters).weights()[0, 0, 0].item()
        assert y == pytest.approx(weight, abs=1e-6)
    np.testing.assert_allclose(growth[0].y, theory.needle_mass(growth[0].x, gap), rtol=1e-6)
    # softmax's line passes through this row's own largest weight
    largest = engine.attend(c.qkv, "softmax").weights(slice(199, 200))[1].max().item()
    assert theory.needle_mass(n, gap) == pytest.approx(largest, rel=1e-5)


def test_half_of_the_row_is_where_the_caption_says():
    c = context("ssmax", s=0.6)
    half = drawn(c)["remedy_response"].facts["half_after"]
    assert theory.ssmax_needle_mass(200, half, 0.6) == pytest.approx(0.5, abs=2e-3)


def test_betas_lie_on_the_papers_curve_and_its_end_is_said():
    c = context("adaptive_temperature")
    picture = drawn(c)["remedy_beta"]
    _, points, chosen = picture.figure.data
    entropy = engine.attend(c.qkv, "softmax").rows(torch.tensor([199])).entropy[1, 0].item()
    assert chosen.x[0] == pytest.approx(entropy, abs=1e-5)
    np.testing.assert_allclose(points.y, beta(torch.tensor(points.x)).numpy(), atol=1e-5)
    low, high = sharpening()
    assert beta(torch.tensor(high + 1e-3, dtype=torch.float64)) == 1
    assert beta(torch.tensor(high - 1e-3, dtype=torch.float64)) > 1
    assert beta(torch.tensor(low + 1e-3, dtype=torch.float64)) > 1
    assert 5.9 < high < 6


def test_halves_add_up_to_the_difference():
    c = context("differential", lambda_=0.3)
    first, second, positive, negative = drawn(c)["remedy_halves"].figure.data
    w = c.att.weights(slice(199, 200))[1, 0].numpy()
    np.testing.assert_allclose(np.add(first.y, second.y), w, atol=1e-6)
    np.testing.assert_allclose(np.add(positive.y, negative.y), w, atol=1e-6)


@pytest.mark.parametrize(("key", "name"), [("softmax1", "remedy_kept"), ("sigmoid", "remedy_sum")])
def test_sums_of_rows_and_how_they_shift(key, name):
    c = context(key, n=100)
    found = drawn(c)
    mass = c.att.weights().sum(-1)
    lines = {trace.name: trace.y for trace in found[name].figure.data}
    np.testing.assert_allclose(lines["head.name 1"], mass[1].numpy(), rtol=1e-4)
    assert found[name].facts["here"] == pytest.approx(mass[1, 99].item(), rel=1e-4)
    lower = c.qkv.replace(bias=lambda rows, cols: torch.full((2, len(rows), len(cols)), -5.0))
    moved = engine.attend(lower, key).weights()[1, 99].sum().item()
    shift = found["remedy_shift"]
    assert shift.facts["here"] == pytest.approx(mass[1, 99].item(), rel=1e-4)
    assert shift.facts["lower"] == pytest.approx(moved, rel=1e-3)


@pytest.mark.parametrize("key", KEYS)
def test_long_texts_stay_light(key):
    c = context(key, n=1500)
    began = time.perf_counter()
    found = drawn(c)
    assert time.perf_counter() - began < 5
    for picture in found.values():
        assert sum(len(trace.x) for trace in picture.figure.data) < 10_000
    assert "remedy_text_pooled" in found and found["remedy_text_pooled"].facts["stretch"] == 3
