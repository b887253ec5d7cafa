"""Pictures of memory hold the numbers of the view and of the weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import engine
from engine.contract.views import Memory
from engine.figures.base.picture import Context
from engine.figures.base.theme import DARK, LIGHT
from engine.figures.structure.pictures import pictures
from engine.structure import memory
from engine.structure.memory import KEPT, LATER, OUT, OWN, Scene
from engine.text.locale import speaker

EVIL = "<b>&%{z}$x$\u202e"


def context(
    key: str, n: int = 60, m: int | None = None, causal: bool = True, row: int = 41, **more
):
    draw = torch.Generator().manual_seed(n)
    q = 2 * torch.randn(4, n, 8, generator=draw)
    k, v = torch.randn(2, 2, m or n, 8, generator=draw).unbind(0)
    tokens = tuple(EVIL if i == 1 else f" t{i}" for i in range(m or n))
    qkv = engine.QKV(q, k, v, causal=causal, tokens=tokens)
    mechanism = engine.make(key, **more)
    return Context(mechanism.attend(qkv), 3, row, qkv, mechanism, LIGHT, speaker("en"))


def found(given: Context) -> dict:
    return {p.key: p for p in pictures(given)}


def scene(given: Context) -> Scene:
    assert given.qkv is not None
    return Scene(given.att.view(Memory), given, given.qkv)


CASES = [
    ("transformer_xl", {"segment": 8, "memory": 5}),
    ("transformer_xl", {"segment": 8, "memory": 0}),
    ("transformer_xl", {"segment": 500, "memory": 7}),
    ("memory_tokens", {"segment": 8, "slots": 3}),
    ("memory_tokens", {"segment": 8, "slots": 0}),
    ("memory_tokens", {"segment": 1, "slots": 2}),
    ("memory_tokens", {"segment": 500, "slots": 2}),
]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("n", "m"), [(60, 60), (9, 31), (31, 20), (1, 1)])
@pytest.mark.parametrize(("key", "more"), CASES)
def test_every_picture_has_its_words_and_is_inert(key, more, n, m, causal):
    given = context(key, n, m, causal, row=n - 1, **more)
    made = found(given)
    assert made
    for picture in made.values():
        assert given.t(f"picture.{picture.key}.title")
        said = given.t(f"picture.{picture.key}.caption", **picture.facts)
        assert "nan" not in said
        if picture.figure is None:
            assert picture.labels is not None and len(picture.labels) == m
            assert max(picture.labels) < len(picture.names)
        else:
            drawn = json.dumps(picture.figure.to_plotly_json(), default=str, ensure_ascii=False)
            assert "<b>" not in drawn and "\u202e" not in drawn


def test_mass_by_age_is_the_views_and_full_attentions():
    given = context("transformer_xl", segment=8, memory=5)
    picture = found(given)["memory_age"]
    bars, line = picture.figure.data
    view = given.att.view(Memory)
    np.testing.assert_allclose(bars.y, view.mass[3][: len(bars.y)], rtol=1e-6)
    assert sum(line.y) == pytest.approx(1, abs=1e-5)
    w = engine.attend(given.qkv, "softmax").weights()[3]
    age = (torch.arange(60)[:, None] - torch.arange(60)).abs()
    assert line.y[3] == pytest.approx(
        float((w * ((age >= 4) & (age < 8))).sum(-1).mean()), abs=1e-6
    )
    begin = torch.arange(60)[:, None] // 8 * 8
    lost = (w * (torch.arange(60) < begin - 5)).sum(-1).mean()
    assert picture.facts["lost"] == pytest.approx(float(lost), abs=1e-6)
    shade = picture.figure.layout.shapes[0]
    assert shade.x0 == pytest.approx(np.log2(13) + 0.5), "13 tokens back is beyond every row"


def test_kinds_of_keys():
    given = context("transformer_xl", segment=8, memory=5)
    kinds = scene(given).kinds([41])
    assert kinds.tolist() == [OUT] * 35 + [KEPT] * 5 + [OWN] * 2 + [LATER] * 18
    picture = found(given)["memory_text"]
    assert list(picture.labels) == [-1] * 35 + [0] * 5 + [1] * 2 + [-1] * 18
    assert picture.facts == {"row": 41, "own": 2, "kept": 5, "out": 35}


@pytest.mark.parametrize("key", ["transformer_xl", "memory_tokens"])
def test_frames_hold_mean_rows_of_their_segments(key):
    given = context(key, segment=8)
    (picture,) = (p for p in pictures(given) if p.key.endswith("moving"))
    assert picture.wide and len(picture.figure.frames) == 8
    steps = picture.figure.layout.sliders[0].steps
    assert picture.figure.layout.sliders[0].active == 5 and len(steps) == 8
    here = given.att.weights()[3, 24:32].mean(0)
    full = engine.attend(given.qkv, "softmax").weights()[3, 24:32].mean(0)
    strips, classes = picture.figure.frames[3].data
    np.testing.assert_allclose(strips.customdata, torch.stack([here, full]), atol=1e-5)
    np.testing.assert_allclose(
        strips.z, torch.stack([here, full]).clamp_min(1e-4).log10(), atol=1e-5
    )
    assert set(np.flatnonzero(np.asarray(classes.z)[0] == OWN)) == set(range(24, 32))
    assert f"{float(here[:24].sum()):.0%}" in steps[3].label


def test_segments_are_mean_mass_and_mark_what_is_out_of_reach():
    given = context("transformer_xl", segment=8, memory=5)
    picture = found(given)["memory_segments"]
    here, full, grey, marks = picture.figure.data
    w = given.att.weights()[3].split(8, 0)[4].mean(0)
    expected = [float(x.sum()) for x in w.split(8)]
    np.testing.assert_allclose(np.nan_to_num(here.z)[4], expected, atol=1e-6)
    np.testing.assert_allclose(np.nansum(full.z, 1), 1, atol=1e-5)
    gone = {(a, b) for a in range(8) for b in range(a - 1)}
    assert {(int(y), int(x)) for x, y in zip(marks.x, marks.y, strict=True)} == gone
    assert set(zip(*np.nonzero(grey.z == 1), strict=True)) == gone


def test_slots_are_shown_with_what_they_hold_and_get():
    given = context("memory_tokens", segment=8, slots=3)
    made = found(given)
    picture = made["memory_slots_held"]
    shares, here, full = picture.figure.data
    held, w = np.asarray(made["memory_slots_text"].labels), given.att.weights()[3, 41].numpy()
    theirs = engine.attend(given.qkv, "softmax").weights()[3, 41].numpy()
    assert (held[40:] == -1).all() and (held[:40] >= 0).all()
    for i in range(3):
        member = held == i
        np.testing.assert_allclose(shares.customdata[i], member[:40] / member.sum(), atol=1e-4)
        assert max(shares.z[i]) == 1
        assert here.x[i] == pytest.approx(w[member].sum(), abs=1e-6)
        assert full.x[i] == pytest.approx(theirs[member].sum(), abs=1e-6)
        assert len(set(w[member].round(7))) == 1, "a slot's weight is spread evenly"
    assert picture.facts["held"] == 40
    drift = made["memory_drift"].figure.data[1]
    slots = given.att.view(Memory).slots
    assert slots is not None
    weight = slots.held[1, :-1] * ~slots.drift[1].isnan()
    mean = (weight * slots.drift[1].nan_to_num(0)).sum(-1) / weight.sum(-1).clamp_min(1)
    np.testing.assert_allclose(drift.y, mean[1:], rtol=1e-5)


def test_long_texts_are_pooled_and_said_so():
    qkv = engine.sources.planted(n=1500, heads=1, dim=8, causal=True)
    for key in ("transformer_xl", "memory_tokens"):
        mechanism = engine.make(key, segment=16)
        given = Context(mechanism.attend(qkv), 0, 1200, qkv, mechanism, DARK, speaker("zh"))
        made = pictures(given)
        assert sum(len(p.figure.to_json()) for p in made if p.figure is not None) < 2**20
        moving = made[0]
        assert moving.facts["rows"] == 256 and len(moving.figure.frames) <= memory.PARTS
        title = moving.figure.layout.xaxis.title.text
        assert "12" in title and "256" in given.t(
            "picture." + made[1].key + ".caption", **made[1].facts
        )
