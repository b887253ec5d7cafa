"""Where keys are hidden, structure is worked out from the weights that are left, and compared with
full attention without the same keys."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import torch

import engine
from engine.contract.views import Buckets, Factors, Memory, Routing, Segments
from engine.measure import windows
from engine.measure.attention import Attention
from engine.structure import buckets, factors, memory, remedies, routing, segments, spectra
from engine.structure.shown import Shown

N, ROW, HIDDEN = 40, 37, [0, 3, 35]


def shown(key: str, causal: bool = True, **parameters) -> Shown:
    qkv = engine.sources.planted(n=N, heads=2, dim=8, gap=3.0, causal=causal)
    mechanism = engine.make(key, **parameters)
    return Shown(mechanism.attend(qkv).hide(torch.tensor(HIDDEN)), 1, ROW, qkv, mechanism)


def softmax(given: Shown) -> np.ndarray:
    """Full attention of the chosen head, hidden alike, worked out by hand."""
    assert given.qkv is not None
    w = engine.attend(given.qkv, "softmax").weights()[1].double()
    w[:, HIDDEN] = 0
    return (w / w.sum(-1, keepdim=True).clamp_min(1e-30)).numpy()


def left(given: Shown) -> np.ndarray:
    """The chosen head's weights without the hidden keys, by hand."""
    w = given.att.whole.weights()[1].double()
    before = w.sum(-1, keepdim=True)
    w[:, HIDDEN] = 0
    if given.att.row_kind == "signed":
        return w.numpy()
    after = w.sum(-1, keepdim=True)
    return (w * torch.where(after != 0, before / after, 0)).numpy()


def test_an_attention_says_what_is_hidden_and_what_was_whole():
    for key in ("softmax", "ssmax"):
        qkv = engine.sources.planted(n=12, heads=1, dim=8)
        att = engine.attend(qkv, key)
        assert att.hidden_keys is None and att.whole is att
        twice = att.hide(torch.tensor([2])).hide(torch.tensor([5]))
        assert twice.hidden_keys is not None and twice.hidden_keys.tolist() == [2, 5]
        assert twice.whole is att
        torch.testing.assert_close(twice.weights(), att.hide(torch.tensor([2, 5])).weights())


def test_sinks_keep_what_they_took():
    qkv = engine.sources.planted(n=12, heads=1, dim=8).replace(sinks=torch.tensor([2.0]))
    att = engine.attend(qkv, "softmax")
    kept = att.hide(torch.tensor([0])).weights().sum(-1)
    torch.testing.assert_close(kept, att.weights().sum(-1))


@pytest.mark.parametrize(
    ("key", "more"), [("transformer_xl", {"memory": 5}), ("memory_tokens", {"slots": 3})]
)
def test_memory(key, more):
    given = shown(key, segment=8, **more)
    view = given.att.view(Memory)
    assert given.qkv is not None
    scene = memory.Scene(view, given, given.qkv)
    ours, full = left(given), softmax(given)
    some = scene.rows.numpy()
    np.testing.assert_allclose(scene.here, ours[some], atol=1e-5)
    np.testing.assert_allclose(scene.full, full[some], atol=1e-5)
    age = np.abs(some[:, None] - np.arange(N))
    for mass, w in zip(scene.by_age(), (ours, full), strict=True):
        assert mass[3] == pytest.approx(
            (w[some] * ((age >= 4) & (age < 8))).sum(1).mean(), abs=1e-5
        )
    if view.slots is not None:
        for slot in scene.holdings(view.slots):
            assert slot.mass == pytest.approx(ours[ROW, slot.keys].sum(), abs=1e-5)
            assert slot.full == pytest.approx(full[ROW, slot.keys].sum(), abs=1e-5)


@pytest.mark.parametrize(
    "key", ["ssmax", "entmax", "softmax1", "adaptive_temperature", "differential", "sigmoid"]
)
def test_remedies(key):
    given = shown(key)
    found, ours = remedies.row(given), left(given)[ROW]
    np.testing.assert_allclose(found.before, softmax(given)[ROW], atol=1e-5)
    np.testing.assert_allclose(found.after, ours, atol=1e-5)
    assert not found.seen[HIDDEN].any() and found.seen.sum() == ROW + 1 - len(HIDDEN)
    if (shifted := remedies.row_sum(given)) is not None:
        assert shifted[0](np.zeros(1))[0] == pytest.approx(ours.sum(), abs=1e-5)
    if (pair := remedies.two_parts(given)) is not None:
        np.testing.assert_allclose(pair.first - pair.lambda_ * pair.second, ours, atol=1e-5)


@pytest.mark.parametrize(
    ("key", "causal", "more"),
    [("linear", True, {}), ("linear", False, {}), ("linformer", False, {"rank": 6}),
     ("nystrom", False, {"landmarks": 6}), ("truncated_svd", False, {"rank": 6})],
)  # fmt: skip
def test_factors(key, causal, more):
    given = shown(key, causal, **more)
    assert given.qkv is not None and given.mechanism is not None
    scene = factors.Scene(given.att.view(Factors), given, given.qkv, given.mechanism)
    ours, full = left(given), softmax(given)
    np.testing.assert_allclose(scene.full, full, atol=1e-5)
    product = reduce(torch.matmul, scene.factors().values()).numpy()
    seen = np.tri(N, dtype=bool) if causal else np.ones((N, N), bool)
    np.testing.assert_allclose(product[seen], ours[seen], atol=2e-4)
    found = scene.errors()
    if found.own is not None:
        apart = np.linalg.norm(ours - full) / np.linalg.norm(full)
        assert found.mine[0] == pytest.approx(apart, rel=1e-3)
        assert spectra.spectrum(scene.full, given.qkv.v[1]).sigma[0] == scene.spectrum.sigma[0]


def test_segments():
    given = shown("segmented", segment=8, integrate="pool")
    table, share = segments.across(given, given.att.view(Segments), 1)
    ours, of = left(given), np.arange(N) // 8
    other = ours * (of[:, None] != of)
    expected = [[other[of == a][:, of == b].sum(1).mean() for b in range(5)] for a in range(5)]
    np.testing.assert_allclose(table, expected, atol=1e-5)
    assert share == pytest.approx(other.sum(1).mean(), abs=1e-5)


def test_summaries_are_the_views_where_nothing_is_hidden():
    """What is worked out from weights is what the mechanism says itself."""
    given = shown("segmented", segment=8, integrate="concat")
    nothing = Shown(given.att.whole.hide(torch.tensor([], dtype=torch.long)), 1, ROW, given.qkv,
                    given.mechanism)  # fmt: skip
    view = given.att.view(Segments)
    assert view.summary is not None
    torch.testing.assert_close(
        segments.across(nothing, view, 1)[0], view.summary[1], atol=1e-5, rtol=1e-4
    )


def test_windows_and_blocks_are_read_without_them():
    given = shown("window", window=6, sinks=2)
    found = segments.window_cut(given)
    assert found is not None
    np.testing.assert_array_equal(found.label >= 0, left(given)[ROW] > 0)
    given = shown("moba", block=8, top_k=2)
    read = routing.blocks_read(given.att.view(Routing), given)
    np.testing.assert_array_equal(read >= 0, left(given)[ROW] > 0)


def test_buckets():
    given = shown("lsh", buckets=4, rounds=2)
    found = buckets.hashes(given.att.view(Buckets), given)
    assert found is not None
    np.testing.assert_array_equal(found.read, left(given)[ROW] > 0)
    np.testing.assert_allclose(found.weights, softmax(given)[found.rows], atol=1e-5)
    grown = found.by_rounds()
    assert all(0 <= x <= 1 + 1e-6 for part in (grown.mass, grown.recall, grown.cost) for x in part)
    assert not found.seen[:, HIDDEN].any()


def test_what_was_removed_is_the_mass_on_hidden_keys():
    """By hand: of three causal rows, the first had all of it on the key that is hidden."""
    w = torch.tensor([[[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.2, 0.3, 0.5]]])
    att = Attention.from_weights(w, causal=True)
    assert torch.equal(att.removed(), torch.zeros(1, 3))
    hidden = att.hide(torch.tensor([0]))
    torch.testing.assert_close(hidden.removed(), torch.tensor([[1.0, 0.75, 0.2]]))
    torch.testing.assert_close(hidden.removed(slice(1, 2)), torch.tensor([[0.75]]))
    again = hidden.hide(torch.tensor([2]))
    torch.testing.assert_close(again.removed(), torch.tensor([[1.0, 0.75, 0.7]]))


@pytest.mark.parametrize("key", ["softmax", "lsh", "hierarchical", "entmax"])
def test_what_was_removed_and_what_was_kept_add_up(key, monkeypatch):
    """In pieces, too: kept rows before scaling and the rest are the whole row."""
    qkv = engine.sources.planted(n=50, heads=2, dim=8, causal=True)
    att = engine.attend(qkv, key)
    keys = torch.tensor([0, 7, 30])
    expected = att.weights()[..., keys].sum(-1)
    monkeypatch.setattr(windows, "LARGEST", 2 * 3 * 11)
    torch.testing.assert_close(att.hide(keys).removed(), expected, atol=1e-6, rtol=1e-5)
