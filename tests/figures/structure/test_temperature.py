"""A row at other temperatures is the mechanism's own at those temperatures."""

import numpy as np
import pytest
import torch

import engine
from engine.figures.base.picture import Context
from engine.figures.base.theme import DARK
from engine.figures.structure import temperature


def drawn(qkv, key="softmax", **parameters):
    mechanism = engine.MECHANISMS[key](**parameters)
    context = Context(
        att=mechanism.attend(qkv), head=1, row=9, qkv=qkv, mechanism=mechanism, theme=DARK,
        t=lambda key, /, **facts: key,
    )  # fmt: skip
    return list(temperature.pictures(context))


def test_curves_are_softmax_at_each_temperature():
    qkv = engine.sources.planted(n=40, heads=2, dim=16, gap=3.0, causal=True)
    (picture,) = drawn(qkv, temperature=3.0)
    lines = {line.name: line for line in picture.figure.data if line.name}
    assert list(lines) == ["T = 0.25", "T = 0.5", "T = 1", "T = 2", "T = 3", "T = 4"]
    for name, line in lines.items():
        att = engine.attend(qkv, "softmax", temperature=float(name.split()[-1]))
        w = att.weights(torch.tensor([9]))[1, 0].sort(descending=True).values[:10]
        shown = np.where(w >= temperature.FLOOR, w, np.nan)
        np.testing.assert_allclose(line.y, shown, rtol=1e-3)
        assert (line.line.color == DARK.accent) == (name == "T = 3")
    for name, t in (("half", 1.5), ("now", 3.0), ("double", 6.0)):
        effective = engine.attend(qkv, "softmax", temperature=t).rows().effective_tokens[1, 9]
        assert picture.facts[f"over_{name}"] == pytest.approx(float(effective), rel=1e-3)
    assert picture.facts["n"] == 10


def test_other_mechanisms_have_none():
    assert not drawn(engine.sources.planted(n=40, heads=2), key="window")
