"""What segments cut off, against full attention's own weights."""

import json

import numpy as np
import pytest
import torch

import engine
from engine.contract.views import Segments
from engine.figures.base.picture import Context
from engine.figures.base.theme import LIGHT
from engine.figures.structure import segments
from engine.structure.segments import sampled


def t(key, /, **facts):
    return key + "".join(f" {v}" for v in facts.values())


def drawn(qkv, row=40, head=1, **parameters):
    att = engine.attend(qkv, "segmented", **parameters)
    context = Context(
        att=att, head=head, row=row, qkv=qkv, mechanism=None, theme=LIGHT, t=t
    )  # fmt: skip
    return {p.key: p for p in segments.pictures(att.view(Segments), context)}


@pytest.mark.parametrize("causal", [False, True])
def test_what_is_cut_off(causal):
    qkv = engine.sources.planted(n=100, heads=2, dim=16, gap=3.0, causal=causal)
    qkv = qkv.replace(tokens=tuple(f"<b>{i}" for i in range(100)))
    found = drawn(qkv, segment=16)
    assert list(found) == [
        "segments_cut", "segments_mass", "segments_lost", "segments_text",
    ]  # fmt: skip
    full = engine.attend(qkv, "softmax").weights()[1]
    of = torch.arange(100) // 16
    outside = (full * (of[:, None] != of)).sum(1)
    facts = found["segments_lost"].facts
    assert facts["lost"] == pytest.approx(float(outside.mean()), abs=1e-5)
    assert facts["most"] == pytest.approx(float(outside.max()), abs=1e-5)
    assert facts["at"] == int(outside.argmax()) and facts["notes"] == ""
    own, lost = found["segments_lost"].figure.data
    np.testing.assert_allclose(np.array(own.y) + np.array(lost.y), 1, atol=1e-5)
    np.testing.assert_allclose(lost.y, outside.numpy(), atol=1e-5)
    mass = found["segments_mass"].figure.data[0].z
    for a in range(7):
        for b in range(7):
            expected = full[of == a][:, of == b].sum(1).mean()
            assert mass[a][b] == pytest.approx(float(expected), abs=1e-5)
    cells, outline = found["segments_cut"].figure.data
    np.testing.assert_allclose(10 ** cells.z[5, :3], full[5, :3].clamp_min(1e-4), rtol=1e-4)
    assert outline.x[:2] == (-0.5, 15.5) and outline.y[2] == 15.5
    assert len(outline.x) == 7 * 6
    assert found["segments_text"].labels == of.tolist()
    assert "<b>" not in json.dumps(
        [p.figure and p.figure.to_plotly_json() for p in found.values()], default=str
    )


def test_summaries_are_shown_where_there_are_any():
    qkv = engine.sources.planted(n=90, heads=2, dim=16, causal=True)
    found = drawn(qkv, segment=10, integrate="pool")
    assert "segments_reach" in found and "segments_text" not in found
    att = engine.attend(qkv, "segmented", segment=10, integrate="pool")
    summary = att.view(Segments).summary[1]
    np.testing.assert_allclose(found["segments_summary"].figure.data[0].z, summary, atol=1e-6)
    mean = float(summary.sum(1).mean())
    assert found["segments_summary"].facts["mean"] == pytest.approx(mean)


def test_long_texts_are_sampled_and_say_so():
    qkv = engine.sources.planted(n=3000, heads=1, dim=8, causal=True)
    found = drawn(qkv, row=5, head=0, segment=64)
    assert "250 3000" in found["segments_cut"].facts["notes"]
    assert found["segments_cut"].figure.data[0].dy == 12  # a row stands for its stretch
    rows = sampled(3000)
    full = engine.attend(qkv, "softmax").weights(rows)[0]
    of = torch.arange(3000) // 64
    lost = (full * (of[rows, None] != of)).sum(1)
    assert found["segments_lost"].facts["lost"] == pytest.approx(float(lost.mean()), abs=1e-5)
