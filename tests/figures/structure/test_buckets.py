"""Pictures of hash buckets hold what the hash did, and what full attention says of it."""

import json

import numpy as np
import pytest
import torch

import engine
from engine.contract.views import Buckets
from engine.figures.base.theme import DARK, LIGHT
from engine.figures.structure.pictures import Context, pictures
from engine.kernels import hashing, patterns
from engine.mechanisms.lsh import Lsh

EVIL = "<b>&%{z}$x$\u202e"


def t(key, /, **facts):
    return key + "".join(f" {v}" for v in facts.values())


def drawn(theme=LIGHT, n=60, row=41, head=1, **parameters):
    qkv = engine.sources.planted(n=n, heads=2, dim=16, causal=True, seed=4)
    qkv = qkv.replace(tokens=tuple(EVIL if i == 1 else f" t{i}" for i in range(n)))
    mechanism = Lsh(**{"buckets": 6, "rounds": 4} | parameters)
    att = mechanism.attend(qkv)
    context = Context(att, head, row, qkv, mechanism, theme, t)
    return qkv, att, {p.key.removeprefix("buckets_"): p for p in pictures(context)}


@pytest.fixture(scope="module")
def shown():
    return drawn()


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("scope", ["bucket", "chunk"])
def test_all_are_there_and_inert(theme, scope):
    _, _, found = drawn(theme, scope=scope, chunk=10)
    sorted_as = "order" if scope == "bucket" else "chunks"
    assert list(found) == ["text", "rounds", sorted_as, "load", "mass", "recall", "plane"]
    for picture in found.values():
        if picture.figure is not None:
            said = json.dumps(picture.figure.to_plotly_json(), default=str, ensure_ascii=False)
            assert "<b>" not in said and "\u202e" not in said


def test_text_and_load_are_the_first_round(shown):
    _, att, found = shown
    view = att.view(Buckets)
    ids = view.ids[1, 0]
    assert list(found["text"].labels) == ids.tolist() and len(found["text"].names) == 6
    own = int(view.queries[1, 0, 41])
    assert found["text"].facts["mates"] == int((ids == own).sum())
    keys, queries, even = found["load"].figure.data
    assert list(keys.y) == torch.bincount(ids, minlength=6).tolist()
    assert sum(queries.y) == 60 and set(even.y) == {10.0}


def test_rounds_mark_what_the_query_reads(shown):
    _, att, found = shown
    view, figure = att.view(Buckets), found["rounds"].figure
    z = np.array(figure.data[0].z)
    np.testing.assert_array_equal(z[:4], view.ids[1].numpy() % len(LIGHT.tints))
    read = att.weights()[1, 41] > 0
    np.testing.assert_array_equal(np.isfinite(z[4]), read.numpy())
    assert found["rounds"].facts["read"] == int(read.sum())
    for r in range(4):
        same = (view.ids[1, r] == view.queries[1, r, 41]).nonzero()[:, 0]
        assert list(figure.data[1 + r].x) == same.tolist()
    colours = dict.fromkeys(c for _, c in figure.data[0].colorscale)
    assert list(colours) == [*LIGHT.tints, LIGHT.accent]


def test_a_long_text_is_told_around_the_query():
    _, _, found = drawn(n=1500, row=1000, buckets=16)
    facts, figure = found["rounds"].facts, found["rounds"].figure
    assert facts["start"] <= 1000 <= facts["stop"] and facts["stop"] - facts["start"] == 255
    assert np.array(figure.data[0].z).shape == (5, 256) and figure.data[0].x0 == facts["start"]
    facts = found["order"].facts
    assert (facts["shown"], facts["keys"]) == (1024, 1500)
    assert len(found["order"].figure.data[0].x) == 1024
    assert sum(len(trace.x) for trace in found["plane"].figure.data) <= 2 * 1024 + 65


@pytest.mark.parametrize("scope", ["bucket", "chunk"])
def test_order_is_sorted_and_cut(scope):
    _, att, found = drawn(scope=scope, chunk=10)
    view = att.view(Buckets)
    picture = found["order" if scope == "bucket" else "chunks"]
    points = picture.figure.data[0]
    assert list(points.y) == view.order[1, 0].tolist() and list(points.x) == list(range(60))
    lines = picture.figure.data[1]
    assert np.isnan(lines.y[2::3]).all() and set(lines.y[::3]) == {60} and lines.zorder < 0
    if scope == "chunk":
        assert list(lines.x[::3]) == list(lines.x[1::3]) == [9.5, 19.5, 29.5, 39.5, 49.5]
    low, high = (int(x[1, 0, 41]) for x in (att.pattern.low, att.pattern.high))
    shade = next(s for s in picture.figure.layout.shapes if s.type == "rect")
    assert (shade.x0, shade.x1) == (low - 0.5, high - 0.5)
    assert picture.facts["count"] == high - low


def test_mass_between_buckets_is_full_attentions(shown):
    qkv, att, found = shown
    view = att.view(Buckets)
    full = engine.attend(qkv, "softmax").weights()[1]
    mine, keys = view.queries[1, 0], view.ids[1, 0]
    table = np.array(found["mass"].figure.data[0].z)
    for a in range(6):
        for b in range(6):
            some = full[mine == a]
            expected = some[:, keys == b].sum(-1).mean() if len(some) else 0.0
            assert table[a, b] == pytest.approx(float(expected), abs=1e-5)
    inside = (full * (mine[:, None] == keys)).sum(-1).mean()
    assert found["mass"].facts["share"] == pytest.approx(float(inside), abs=1e-5)


def test_growth_is_mass_and_recall_of_nested_rounds(shown):
    qkv, _, found = shown
    full = engine.attend(qkv, "softmax").weights()[1]
    top = full.topk(8).indices
    mass, recall, cost = (np.array(line.y) for line in found["recall"].figure.data)
    seen = torch.ones(60, 60).tril().bool()
    for i, rounds in enumerate((1, 2, 4, 8, 16)):
        near = patterns.Hashed.of(qkv, 6, rounds).allows(torch.arange(60), torch.arange(60))[1]
        near &= seen
        assert mass[i] == pytest.approx(float((full * near).sum(-1).mean()), abs=1e-5)
        hits = [
            float(near[r, top[r][: r + 1]].float().mean()) for r in range(60)
        ]  # early rows have fewer than 8
        assert recall[i] == pytest.approx(float(np.mean(hits)), abs=1e-5)
        share = near.sum(-1) / seen.sum(-1)
        assert cost[i] == pytest.approx(float(share.mean()), abs=1e-5)
    for line in (mass, recall, cost):
        assert (np.diff(line) >= 0).all()
    assert found["recall"].facts["mass"] == mass[2]


@pytest.mark.parametrize("shared_qk", [False, True])
def test_the_plane_holds_every_mate_in_its_sector(shared_qk):
    _, att, found = drawn(n=200, row=150, buckets=8, shared_qk=shared_qk)
    view, figure = att.view(Buckets), found["plane"].figure
    others, mates, query = figure.data
    x, y = np.array(mates.x), np.array(mates.y)
    assert len(x) == int((view.ids[1, 0] == view.queries[1, 0, 150]).sum())
    assert (x >= np.abs(y) - 1e-6).all() and query.x[0] >= abs(query.y[0])
    inside = (np.array(others.x) >= np.abs(np.array(others.y))).sum() + len(x)
    assert found["plane"].facts["inside"] == inside
    queries, _ = hashing.compared(att.qkv, shared_qk)
    z = (queries[1, 150] @ view.rotations[0]).abs().sort(descending=True).values
    length = float(queries[1, 150].norm()) * 4
    assert query.x[0] == pytest.approx(float(z[0]) / length, rel=1e-5)
    assert query.y[0] == pytest.approx(float(z[1]) / length, rel=1e-5)


def test_one_bucket_has_no_plane_and_keeps_everything():
    _, _, found = drawn(buckets=1)
    assert "plane" not in found
    assert found["recall"].facts["mass"] == pytest.approx(1, abs=1e-5)
    assert found["mass"].facts["share"] == pytest.approx(1, abs=1e-5)


def test_hidden_keys_are_in_no_bucket():
    qkv = engine.sources.planted(n=30, heads=1, dim=16)
    qkv = qkv.replace(key_mask=torch.arange(30) % 3 > 0)
    mechanism = Lsh(buckets=4, shared_qk=True, scope="chunk", chunk=6)
    att = mechanism.attend(qkv)
    found = {p.key: p for p in pictures(Context(att, 0, 3, qkv, mechanism, LIGHT, t))}
    assert list(found["buckets_text"].labels)[::3] == [-1] * 10
    assert len(found["buckets_chunks"].figure.data[0].x) == 20
    assert sum(found["buckets_load"].figure.data[0].y) == 20
