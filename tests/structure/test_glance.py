"""The small pictures on Home say what the weights are."""

from math import exp

import pytest
import torch

import engine
from engine.contract.views import Factors, Routing
from engine.mechanisms import MECHANISMS
from engine.structure.glance import (
    Bars,
    Fade,
    Glance,
    Lanes,
    Map,
    Piles,
    Thin,
    Tree,
    Votes,
    glance,
)
from engine.structure.shown import Shown

N, ROW, HEAD = 64, 50, 1


def shown(key: str, **params) -> Shown:
    draw = torch.Generator().manual_seed(5)
    q, k, v = torch.randn(3, 2, N, 8, generator=draw).unbind(0)
    qkv = engine.QKV(q, k, v, causal=True)
    mechanism = engine.mechanisms.make(key, **params)
    return Shown(mechanism.attend(qkv).hide(torch.tensor([0])), HEAD, ROW, qkv, mechanism)


def row(of: Shown) -> torch.Tensor:
    return of.weights(of.here())[0].double()


def drawn(key: str, like: type, **params) -> tuple[Shown, Glance]:
    of = shown(key, **params)
    found = glance(of)
    assert isinstance(found, like)
    return of, found


@pytest.mark.parametrize("key", [key for key, cls in MECHANISMS.items() if cls.causal_ok])
def test_every_mechanism_has_one(key: str) -> None:
    assert glance(shown(key)) is not None


def test_in_one_round_what_is_read_is_in_the_bucket() -> None:
    of, found = drawn("lsh", Piles, rounds=1, buckets=4, scope="bucket")
    read = row(of) > 0
    inside = torch.tensor(found.groups) == found.own
    past = torch.arange(N) <= ROW
    past[0] = False  # set aside
    inside[ROW] = True  # a query sees itself
    assert torch.equal(read, inside & past) and 1 < read.sum() < ROW


def test_of_several_rounds_the_one_with_most_of_the_weight_is_shown() -> None:
    of, found = drawn("lsh", Piles, rounds=4, buckets=8)
    assert found.rounds == 4
    view, w = of.att.views[0], row(of)
    kept = [
        float(w[view.ids[HEAD, r] == view.queries[HEAD, r, ROW]].sum())
        for r in range(found.rounds)
    ]
    assert kept[found.round] == max(kept) > min(kept)


def test_slots_hold_all_earlier_segments() -> None:
    _, found = drawn("memory_tokens", Piles, segment=16, slots=4)
    assert found.kind == "slots" and found.own == -1 and found.count == 4
    held = torch.tensor(found.groups) >= 0
    assert bool(held[: ROW // 16 * 16].all()) and not held[ROW // 16 * 16 :].any()


def test_a_level_shares_out_the_whole_row() -> None:
    of, found = drawn("hierarchical", Tree)
    w = row(of)
    for spans, mass in zip(found.spans, found.mass, strict=True):
        assert sum(mass) == pytest.approx(1, abs=1e-5)
        for (a, b), share in zip(spans, mass, strict=True):
            assert share == pytest.approx(float(w[a:b].sum()), abs=1e-6)
    assert len(found.spans[0]) < len(found.spans[-1]) == N


def test_paths_mixed_are_the_row() -> None:
    of, found = drawn("routing", Lanes, width=8)
    mixed = sum(
        share * torch.tensor(cells) for share, cells in zip(found.shares, found.cells, strict=True)
    )
    # the first key is set aside in each path, so that rows are scaled path by path
    view = of.att.views[0]
    assert isinstance(view, Routing) and found.shares == pytest.approx(
        view.probabilities[HEAD, ROW].tolist()
    )
    assert float(mixed.sum()) == pytest.approx(1, abs=1e-5)
    whole = row(of)[: ROW + 1]
    assert len(found.cells[0]) == ROW + 1
    assert int(mixed.argmax()) == int(whole.argmax())


def test_a_capsules_row_keeps_what_its_head_agrees_on() -> None:
    of, found = drawn("capsule", Votes)
    share = sum(c * x for c, x in zip(found.coupling[HEAD], found.length, strict=True))
    assert found.kept == pytest.approx(share)
    whole = of.att.whole.weights(of.here())[HEAD, 0]
    assert float(whole.sum()) == pytest.approx(found.kept, rel=1e-4)


def test_a_bias_fades_as_its_slope_says() -> None:
    _, found = drawn("relative", Fade, kind="alibi")
    slope = 2.0**-8  # the second of two heads
    assert found.left == pytest.approx([exp(-slope * d) for d in found.back], rel=1e-4)
    assert found.back[0] == 0 and found.back[-1] == ROW


def test_what_was_written_fades_with_all_later_gates() -> None:
    _, found = drawn("delta", Fade, half_life=16.0, spread=0.0)
    assert found.left == pytest.approx([0.5 ** (d / 16) for d in found.back], rel=1e-3)


def test_bars_and_the_rest_are_the_row() -> None:
    of, found = drawn("entmax", Bars, alpha=1.5)
    w, full = row(of), of.full().weights(of.here())[0, 0]
    assert found.after == pytest.approx(w[list(found.keys)].tolist())
    assert found.before == pytest.approx(full[list(found.keys)].tolist())
    assert sum(found.after) + found.rest[1] == pytest.approx(1, abs=1e-5)
    assert sum(found.before) + found.rest[0] == pytest.approx(1, abs=1e-5)
    assert found.others == ROW - len(found.keys) and 0 not in found.keys
    assert max(found.before) == pytest.approx(float(full.max()))
    assert drawn("softmax", Bars)[1].before == ()


@pytest.mark.parametrize(
    ("key", "kind", "edges"),
    [("window", "window", ()), ("segmented", "segments", 3), ("moba", "blocks", 3)],
)
def test_maps_have_the_borders_of_their_pieces(key: str, kind: str, edges) -> None:
    params = {"window": {"window": 16}, "segmented": {"segment": 16}, "moba": {"block": 16}}[key]
    _, found = drawn(key, Map, **params)
    assert found.kind == kind and not found.overlay.bands
    assert len(found.overlay.edges[0]) == 3 if edges else not found.overlay.edges


def test_factors_are_pooled_from_those_of_the_head() -> None:
    of, found = drawn("linear", Thin)
    view = of.att.views[0]
    assert isinstance(view, Factors) and found.rank == view.rank
    queries, keys = view.factors(HEAD).values()
    assert torch.allclose(
        found.left[3], queries[6:8].sum(0) / queries[6:8].sum(0).max(), atol=1e-5
    )
    pooled = keys.unflatten(1, (32, 2)).sum(2)
    assert torch.allclose(found.right, pooled / pooled.max(), atol=1e-5)
