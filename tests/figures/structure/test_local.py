"""What a window cuts off, against full attention's own weights."""

import numpy as np
import pytest
import torch

import engine
from engine.figures.base.picture import Context
from engine.figures.base.theme import LIGHT
from engine.figures.structure import local


def t(key, /, **facts):
    return key


def drawn(qkv, key="window", row=40, **parameters):
    mechanism = engine.MECHANISMS[key](**parameters)
    att = mechanism.attend(qkv)
    context = Context(
        att=att, head=1, row=row, qkv=qkv, mechanism=mechanism, theme=LIGHT, t=t
    )  # fmt: skip
    return {p.key: p for p in local.pictures(context)}


@pytest.mark.parametrize("causal", [False, True])
def test_what_is_cut_off(causal):
    qkv = engine.sources.planted(n=60, heads=2, dim=16, gap=3.0, causal=causal)
    found = drawn(qkv, window=8, sinks=3)
    full = engine.attend(qkv, "softmax").weights()[1]
    apart = (torch.arange(60)[:, None] - torch.arange(60)).abs()
    near, first = apart < 8, (apart >= 8) & (torch.arange(60) < 3)
    shares = [(full * part).sum(1) for part in (near, first, ~near & ~first)]
    for line, share in zip(found["window_lost"].figure.data, shares, strict=True):
        np.testing.assert_allclose(line.y, share, atol=1e-5)
    facts = found["window_lost"].facts
    assert facts["lost"] == pytest.approx(float(shares[2].mean()), abs=1e-5)
    assert facts["at"] == int(shares[2].argmax()) and facts["notes"] == ""
    # the text says what the row's own weights say
    w = engine.attend(qkv, "window", window=8, sinks=3).weights(torch.tensor([40]))[1, 0]
    text = found["window_text"]
    assert [label >= 0 for label in text.labels] == (w > 0).tolist()
    assert text.facts["keys"] == int((w > 0).sum())
    assert list(text.labels[:3]) == [1, 1, 1] and text.labels[40] == 0


@pytest.mark.parametrize("causal", [False, True])
def test_the_outline_holds_exactly_what_a_row_sees(causal):
    qkv = engine.sources.planted(n=30, heads=2, dim=8, causal=causal)
    outline = drawn(qkv, row=3, window=4, sinks=0)["window_cut"].figure.data[1]
    seen = engine.attend(qkv, "window", window=4, sinks=0).weights()[1] > 0
    for i in range(30):
        at = [x for x, y in zip(outline.x, outline.y, strict=True) if abs(y - i) <= 0.5]
        keys = seen[i].nonzero()[:, 0]
        assert int(keys[0]) - 0.5 in at and int(keys[-1]) + 0.5 in at


def test_what_the_outline_cannot_show_is_said():
    qkv = engine.sources.planted(n=30, heads=2, dim=8)
    holes = {"window": 4, "sinks": 0, "dilation": 2, "random": 3, "whole": True}
    found = drawn(qkv, row=3, **holes)["window_cut"]
    assert found.facts["window"] == 8
    assert found.facts["notes"] == "segments.dilatedsegments.randomsegments.whole"
    plain = drawn(qkv, row=3, window=4, sinks=0, whole=False)["window_cut"]
    assert plain.facts["notes"] == "" and plain.facts["window"] == 4


def test_other_mechanisms_have_none():
    assert not drawn(engine.sources.planted(n=60, heads=2), key="softmax")
