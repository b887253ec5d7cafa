"""Pictures of routing hold the view's numbers, name tokens, and escape them."""

import json
import time

import numpy as np
import pytest
import torch

import engine
from engine.contract.views import Routing
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import DARK, LIGHT
from engine.figures.structure.pictures import pictures
from engine.structure import routing
from engine.text.locale import speaker

EVIL = "<b>&%{z}$x$\u202e"
PARAMETERS = {
    "routing": {"width": 6},
    "kmeans": {"clusters": 5, "window": 12},
    "moba": {"block": 8, "top_k": 3},
    "capsule": {"capsules": 3, "iterations": 4},
}


def drawn(key, n=90, theme=LIGHT, tokens=True, head=1, row=40, **more):
    qkv = engine.sources.planted(n=n, heads=3, dim=16, noise=2.0, causal=True, **more)
    if tokens:
        qkv = qkv.replace(tokens=tuple(EVIL if i == 1 else f" t{i}" for i in range(n)))
    mechanism = engine.MECHANISMS[key](**PARAMETERS[key])
    att = mechanism.attend(qkv)
    context = Context(
        att=att, head=head, row=row, qkv=qkv, mechanism=mechanism, theme=theme, t=speaker("en")
    )
    return att, {p.key: p for p in pictures(context)}, context


def said(picture: Picture) -> list[str]:
    return [
        speaker(tag)(f"picture.{picture.key}.caption", **picture.facts) for tag in ("en", "zh")
    ]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("key", PARAMETERS)
def test_pictures_are_said_escaped_and_light(key, theme):
    _, found, _ = drawn(key, theme=theme)
    assert len(found) >= 3
    for picture in found.values():
        assert all(said(picture))
        assert (picture.figure is None) != (picture.labels is None)
        if picture.figure is not None:
            text = json.dumps(picture.figure.to_plotly_json(), default=str, ensure_ascii=False)
            assert "<b>" not in text and "\u202e" not in text
            assert picture.figure.layout.height <= 420


@pytest.mark.parametrize("key", PARAMETERS)
def test_long_texts_are_pooled_and_quick(key):
    _, found, context = drawn(key, n=3000, tokens=False, row=2900)
    began = time.perf_counter()
    pictures(context)
    assert time.perf_counter() - began < 2.0
    for picture in found.values():
        if picture.figure is not None:
            assert len(picture.figure.to_json()) < 2e6


def test_shares_are_the_probabilities():
    att, found, _ = drawn("routing")
    p = att.view(Routing).probabilities[1].numpy()
    figure = found["routing_paths"].figure
    np.testing.assert_allclose(np.stack([bar.y for bar in figure.data], 1), p, atol=1e-6)
    assert "␣t7" in figure.data[0].customdata[7]
    assert figure.layout.shapes[0].x0 == 40
    pooled = drawn("routing", n=400)[1]["routing_paths"].figure
    np.testing.assert_allclose(sum(bar.y for bar in pooled.data), 1, atol=1e-6)
    assert sum(pooled.data[0].width) == 400


def test_balance_is_switchs():
    att, found, _ = drawn("routing")
    gate = att.view(Routing).gate[1]
    first = torch.nn.functional.one_hot(gate.argmax(-1), 4).double().mean(0)
    expected = float(4 * (first * gate.mean(0)).sum())
    assert found["routing_balance"].facts["value"] == pytest.approx(expected, abs=1e-5)
    figure = found["routing_balance"].figure
    np.testing.assert_allclose(figure.data[0].y, first, atol=1e-6)
    np.testing.assert_allclose(figure.data[1].y, gate.mean(0), atol=1e-6)


def test_balance_is_1_where_all_paths_are_alike():
    qkv = engine.sources.planted(n=50, heads=2, dim=16)
    mechanism = engine.MECHANISMS["routing"](route="uniform", top_k=4)
    context = Context(
        att=mechanism.attend(qkv), head=0, row=0, qkv=qkv, mechanism=mechanism, theme=LIGHT,
        t=lambda key, /, **facts: key,
    )  # fmt: skip
    found = {p.key: p for p in pictures(context)}
    assert found["routing_balance"].facts["value"] == pytest.approx(1)
    assert found["routing_paths"].facts["entropy"] == pytest.approx(np.log(4), abs=1e-6)


def test_text_is_tinted_by_what_tells_tokens_apart():
    qkv = engine.sources.planted(n=96, heads=2, dim=64, layout="topics", needles=4, noise=8.0)
    mechanism = engine.MECHANISMS["routing"]().fit(qkv)
    att = mechanism.attend(qkv)
    context = Context(
        att=att, head=1, row=0, qkv=qkv, mechanism=mechanism, theme=LIGHT,
        t=lambda key, /, **facts: key,
    )  # fmt: skip
    found = {p.key: p for p in pictures(context)}
    p = att.view(Routing).probabilities[1]
    more = p - p.mean(0)
    expected = torch.where(more.amax(-1) >= routing.LEAN, more.argmax(-1), -1)
    assert list(found["routing_text"].labels) == expected.tolist()
    assert len(set(expected.tolist()) - {-1}) > 1


def test_text_is_not_tinted_by_noise():
    att, found, _ = drawn("routing")
    p = att.view(Routing).probabilities[1]
    assert float((p - p.mean(0)).abs().max()) < routing.LEAN
    assert "routing_text" not in found and "routing_flow" in found


def test_flow_carries_every_token_once():
    att, found, _ = drawn("routing")
    (sankey,) = found["routing_flow"].figure.data
    link, first = sankey.link, len(sankey.node.label) - 4
    assert sum(link.value) == pytest.approx(90, abs=1e-4)
    p = att.view(Routing).probabilities[1]
    for path in range(4):
        into = [v for v, b in zip(link.value, link.target, strict=True) if b - first == path]
        assert sum(into) == pytest.approx(float(p[:, path].sum()), abs=1e-4)


def test_clusters_say_who_is_left_out():
    att, found, _ = drawn("kmeans")
    view = att.view(Routing)
    facts = found["cluster_left"].facts
    assert facts["queries"] == int((att.weights()[1].sum(-1) == 0).sum()) > 0
    assert facts["keys"] == int((view.labels[1] < 0).sum()) > 0
    queries, keys = found["cluster_left"].figure.data
    np.testing.assert_allclose(queries.z[0], view.dropped[1].float(), atol=1e-6)
    np.testing.assert_allclose(keys.z[0], (view.labels[1] < 0).float(), atol=1e-6)
    np.testing.assert_allclose(found["cluster_load"].figure.data[0].y, view.load[1], atol=1e-6)
    assert list(found["cluster_text"].labels) == view.labels[1].tolist()


def test_cluster_map_shows_every_key_in_its_cluster():
    att, found, _ = drawn("kmeans")
    figure = found["cluster_map"].figure
    labels = att.view(Routing).labels[1]
    for j, trace in enumerate(figure.data[:6]):  # −1, then 0 … 4
        assert len(trace.x) == int((labels == j - 1).sum())
    assert 0 < found["cluster_map"].facts["share"] <= 1
    assert figure.data[-1].marker.color == LIGHT.accent


def test_block_choices_are_the_choices():
    att, found, _ = drawn("moba")
    chosen = att.view(Routing).choices[1]
    expected = np.zeros((90, 12))
    for i in range(90):
        for b in chosen[i].tolist():
            if b >= 0:
                expected[i, b] = 1
    np.testing.assert_allclose(found["block_choices"].figure.data[0].z, expected)
    mine = {int(b) for b in chosen[40] if b >= 0} - {5}
    assert found["block_choices"].facts["chosen"] == ", ".join(map(str, sorted(mine)))
    labels = np.array(found["block_text"].labels)
    assert (labels[41:] == -1).all() and (labels[40] == 0)
    carries = att.weights()[1, 40].numpy() > 0
    np.testing.assert_array_equal(labels >= 0, carries)


def test_block_load_is_of_those_who_could():
    att, found, _ = drawn("moba")
    chosen = att.view(Routing).choices[1]
    rate = found["block_load"].figure.data[0].y
    for b in range(12):
        could = [i for i in range(90) if i // 8 > b]
        votes = [i for i in could if b in chosen[i].tolist()]
        assert rate[b] == pytest.approx(len(votes) / len(could) if could else 0)


def test_couplings_play_every_iteration():
    att, found, _ = drawn("capsule")
    steps = att.view(Routing).iterations
    figure = found["capsule_couplings"].figure
    assert len(figure.frames) == 4 == len(figure.layout.sliders[0].steps)
    for frame, step in zip(figure.frames, steps, strict=True):
        np.testing.assert_allclose(frame.data[0].z, step[:, 40], atol=1e-6)
    np.testing.assert_allclose(figure.frames[0].data[0].z, 1 / 3, atol=1e-6)
    np.testing.assert_allclose(figure.data[0].z, steps[-1, :, 40], atol=1e-6)
    entropy = -(steps * steps.log()).sum(-1).mean(-1)
    lines = {line.name: line.y for line in found["capsule_entropy"].figure.data}
    np.testing.assert_allclose(lines["Head 1"], entropy[:, 1], atol=1e-5)
    assert lines["Head 1"][0] == pytest.approx(np.log(3), abs=1e-6)


def test_presence_is_the_capsules_length():
    att, found, _ = drawn("capsule")
    view = att.view(Routing)
    np.testing.assert_allclose(
        found["capsule_presence"].figure.data[0].z, view.presence.T, atol=1e-6
    )
    kept = att.weights()[1].sum(-1).mean()
    assert found["capsule_presence"].facts["kept"] == pytest.approx(float(kept), abs=1e-5)
