"""What stands beside a map, and the maps it is a sum of, are what the weights are made of."""

import pytest
import torch

import engine
from engine.structure.beside import Curve, by_distance, halved
from engine.structure.deed import Deed, deed, path
from engine.structure.overlay import overlay
from engine.structure.parts import parts
from engine.structure.shown import Shown

N = 48
close = torch.testing.assert_close


def made(n: int = N, causal: bool = True) -> engine.QKV:
    draw = torch.Generator().manual_seed(7)
    q = torch.randn(2, n, 8, generator=draw)
    k, v = torch.randn(2, 2, N, 8, generator=draw).unbind(0)
    return engine.QKV(q, k, v, causal=causal)


def done(key: str, row: int = 40, head: int = 1, **params) -> tuple[Deed, torch.Tensor]:
    """What a mechanism did on a row, and the row's weights."""
    qkv = made()
    att, rows = engine.attend(qkv, key, **params), torch.tensor([row])
    mechanism = engine.make(key, **params)
    w = att.weights(rows)[head, 0]
    full = engine.attend(qkv, "softmax").weights(rows)[head, 0]
    return deed(Shown(att, head, row, qkv, mechanism), w, full), w


@pytest.mark.parametrize(("key", "params"), [("routing", {"top_k": 2}), ("differential", {})])
def test_parts_add_up_to_the_map(key, params):
    att = engine.attend(made(), key, **params)
    found = parts(att)
    assert len(found) > 1
    close(sum(part.weights() for part in found.values()), att.weights(), atol=1e-6, rtol=0)
    for part in found.values():
        assert not torch.equal(part.weights(), att.weights())


def test_what_is_no_sum_has_no_parts():
    assert not parts(engine.attend(made(), "softmax"))
    assert not parts(engine.attend(made(), "routing", paths=1))
    assert not parts(engine.attend(made(), "routing").hide(torch.tensor([0])))


def test_shares_down_the_tree_multiply_to_the_weight():
    att = engine.attend(made(), "hierarchical")
    (view,) = att.views
    for row in (3, 20, 47):
        w = att.weights(torch.tensor([row]))[1, 0]
        steps = path(w, view)
        assert [step.level for step in steps] == list(view.units)
        shares = torch.tensor([step.share for step in steps], dtype=torch.float64)
        assert float(shares.prod()) == pytest.approx(float(w.max()), abs=1e-6)
        within = view.within(torch.tensor([row]))
        for step, spans in zip(steps, view.units.values(), strict=True):
            unit = spans.tolist().index([step.start, step.stop])
            assert step.share == pytest.approx(float(within[step.level][1, 0, unit]), abs=1e-5)


def test_the_curve_of_a_bias_is_what_distance_leaves():
    found = overlay(engine.attend(made(), "relative", kind="alibi"), 1, 30)
    assert found is not None and isinstance(found.curve, Curve)
    slope = 2.0**-8
    for key, value in enumerate(found.curve.values):
        if key > 30:
            assert value is None
        else:
            assert value == pytest.approx(2.718281828 ** (-slope * (30 - key)), abs=1e-3)
    assert len(found.curve.others) == 1


def test_half_is_left_where_it_is_said():
    (view,) = engine.attend(made(), "relative", kind="alibi").views
    half = halved(view, 0)  # slope 1/16: half after ln 2 × 16 = 11.1 tokens
    assert half == 12
    factor = by_distance(view)[0]
    assert factor[half - 1] > 0.5 >= factor[half]
    assert halved(view, 1) is None, "nowhere in a text as short as this"


def test_the_stick_is_what_is_left_of_it():
    att = engine.attend(made(), "stick_breaking")
    (view,) = att.views
    rows = torch.tensor([0, 5, 47])
    left, w = view.left(rows), att.weights(rows).double()
    for i, row in enumerate(rows.tolist()):
        for key in range(N):
            close(left[:, i, key], 1 - w[:, i, key + 1 :].sum(-1), atol=1e-6, rtol=0)
        assert bool((left[:, i, row:] == 1).all())
    found = overlay(att, 1, 47)
    assert found is not None and found.curve is not None and found.curve.kind == "stick"


@pytest.mark.parametrize("rank", [4, 12])
@pytest.mark.parametrize("key", ["linformer", "nystrom", "truncated_svd"])
def test_factors_make_the_map(key, rank):
    qkv = made(causal=False)
    name = {"nystrom": "landmarks"}.get(key, "rank")
    att = engine.attend(qkv, key, **{name: rank})
    found = overlay(att, 1)
    assert found is not None and found.product is not None and found.product.rank == rank
    left, right = torch.tensor(found.product.left), torch.tensor(found.product.right)
    if found.product.middle:
        left = left @ torch.tensor(found.product.middle)
    close(left @ right, att.weights()[1].float(), atol=0.02, rtol=0.02)  # drawn to three digits
    assert left.shape[1] == rank


def test_what_a_repeated_key_erases_is_pointed_at():
    k = torch.randn(1, 12, 8, generator=torch.Generator().manual_seed(3))
    k[:, 9] = 2 * k[:, 4]
    q = torch.randn(1, 12, 8, generator=torch.Generator().manual_seed(4))
    for beta in (1.0, 0.5):
        att = engine.attend(
            engine.QKV(q, k, q, causal=True), "delta", beta=beta, half_life=1e9, spread=0.0
        )
        found = overlay(att, 0, 9)
        assert found is not None and found.mark is not None
        assert (found.mark.row, found.mark.key) == (9, 4)
        assert found.mark.share == pytest.approx(beta)
    (view,) = att.views
    assert bool((view.lost(torch.arange(12))[0].triu() == 0).all())
    assert overlay(att, 0, 0) is None, "before the first there is nothing to erase"


def test_slots_hold_what_came_before_and_what_is_read_of_it():
    qkv = made()
    att = engine.attend(qkv, "memory_tokens", segment=8, slots=3)
    found = overlay(att, 1, 40)
    assert found is not None and found.kind == "slots" and len(found.bands) == 5
    assert found.opens == 4
    band, w = found.bands[4], att.weights(torch.tensor([40]))[1, 0]
    cols = torch.tensor(band.cols)
    assert bool((cols[:40] >= 0).all()) and bool((cols[40:] == -1).all())
    for slot in range(3):  # a slot's weight belongs to its keys in equal parts
        mine = w[cols == slot]
        close(mine, mine.mean().expand_as(mine))
    each = torch.stack([w[cols == slot].sum() for slot in range(3)])
    close(each.sum(), w[:40].sum())
    shares = torch.tensor(band.fades).square()
    for slot in range(3):
        close(shares[cols == slot].sum(), torch.tensor(1.0), atol=0.02, rtol=0)
    told, _ = done("memory_tokens", segment=8, slots=3)
    assert told.kind == "slots" and told.numbers == {"slots": 3, "held": 40}
    assert told.shares["far"] == pytest.approx(float(w[:40].sum()), abs=1e-6)


@pytest.mark.parametrize(
    ("key", "params", "kind"),
    [("ssmax", {"s": 1.0}, "sharper"), ("entmax", {}, "zeroed"), ("sigmoid", {}, "overspent"),
     ("softmax1", {}, "unspent"), ("differential", {}, "subtracted"), ("softmax", {}, "same")],

)  # fmt: skip
def test_a_row_is_told_by_what_happened_to_it(key, params, kind):
    told, w = done(key, **params)
    assert told.kind == kind
    if told.kind == "sharper":
        assert told.shares["after"] > told.shares["before"] > 0
    if told.kind in ("unspent", "overspent"):
        assert told.shares["rest"] == pytest.approx(1 - float(w.sum()), abs=1e-5)
    if told.kind == "subtracted":
        assert told.shares["negative"] == pytest.approx(float(-w.clamp_max(0).sum()), abs=1e-6)
        assert told.numbers["below"] == int((w < 0).sum())
