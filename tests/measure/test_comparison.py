"""What one attention keeps of another: by hand, in the limits, and against plain float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine.measure import comparison
from engine.measure.attention import Attention
from engine.measure.comparison import SAMPLE, WHOLE, difference, evenly
from tests import oracle
from tests.refusals import refused

NAMES = ("captured_mass", "total_variation", "kl", "output_error", "top_recall")


def stored(rows, v=None, **frame):
    """One head of given weights."""
    w = torch.tensor([rows], dtype=torch.float64)
    return Attention.from_weights(w, None if v is None else torch.tensor([v]).double(), **frame)


def by_hand(w, other, out, given, signed=False):
    """The five numbers of one row, from their definitions, with numpy alone."""
    total = np.abs(other).sum()
    if total == 0:
        return [math.nan] * 5
    q = np.abs(other) / total
    captured = q[w != 0].sum()
    if signed:
        apart, kl = np.abs(w - other).sum() / 2, math.nan
    elif w.sum() == 0:
        apart, kl = 1.0, math.inf
    else:
        p = w / w.sum()
        apart = np.abs(p - q).sum() / 2
        some = q > 0
        gone = bool((p[some] == 0).any())
        kl = math.inf if gone else float((q[some] * np.log(q[some] / p[some])).sum())
    best = [j for j in np.argsort(-other, kind="stable")[:8] if other[j] > 0]
    mine = {int(j) for j in np.argsort(-w, kind="stable")[:8] if w[j] > 0}
    recall = len(mine & set(best)) / len(best) if best else math.nan
    error = np.linalg.norm(out - given) / np.linalg.norm(given)
    return [captured, apart, kl, error, recall]


def test_two_rows_by_hand():
    values = [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    reference = stored([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]], values)
    att = stored([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]], values)
    found = engine.compare(att, reference)
    assert found.captured_mass.tolist() == [[0.75, 1.0]]
    assert found.total_variation.tolist() == [[0.25, 0.75]]
    assert found.kl[0, 0] == math.inf and found.kl[0, 1] == pytest.approx(math.log(4))
    # o = (.5, .5) against (.5, .25); (.25, .25) against (1, 0)
    expected = [[0.25 / math.hypot(0.5, 0.25), math.hypot(0.75, 0.25)]]
    np.testing.assert_allclose(found.output_error.numpy(), expected, rtol=1e-12)
    # the reference's three largest are a, b, c; c weighs nothing here
    assert found.top_recall.tolist() == [[pytest.approx(2 / 3), 1.0]]
    assert found.rows.tolist() == [0, 1]
    means = found.means()
    assert float(means["captured_mass"][0]) == 0.875 and float(means["kl"][0]) == math.inf


def test_shares_are_compared_where_rows_give_mass_away():
    att, reference = stored([[0.1, 0.3]]), stored([[0.25, 0.75]])
    assert (att.row_kind, reference.row_kind) == ("substochastic", "stochastic")
    found = engine.compare(att, reference)
    np.testing.assert_allclose(found.total_variation, 0, atol=1e-15)
    np.testing.assert_allclose(found.kl, 0, atol=1e-15)
    twice = engine.compare(stored([[0.5, 1.5]]), reference)  # rows above 1
    np.testing.assert_allclose(twice.total_variation, 0, atol=1e-15)


def test_signed_rows_have_no_shares():
    att, reference = stored([[1.5, -0.5, 0.0]]), stored([[0.5, 0.25, 0.25]])
    found = engine.compare(att, reference)
    assert found.captured_mass.item() == 0.75
    assert found.total_variation.item() == pytest.approx((1.0 + 0.75 + 0.25) / 2)
    assert math.isnan(found.kl.item())
    assert found.top_recall.item() == pytest.approx(1 / 3)  # a weight below 0 is not a large one


def test_rows_without_anything():
    nothing, some = [0.0, 0.0], [0.5, 0.5]
    found = engine.compare(stored([nothing, nothing, some]), stored([nothing, some, some]))
    for name in NAMES:
        assert math.isnan(getattr(found, name)[0, 0])
    assert [getattr(found, name)[0, 1].item() for name in NAMES[:3]] == [0.0, 1.0, math.inf]
    assert found.top_recall[0, 1] == 0
    assert float(found.means()["captured_mass"][0]) == 0.5  # of the two rows that compare


def test_ties_are_in():
    uniform = stored([[1 / 40] * 40])
    twin = stored([[1 / 40 if j % 2 else 2 / 40 for j in range(40)]])
    assert engine.compare(uniform, uniform).top_recall.item() == 1
    assert engine.compare(uniform, twin).top_recall.item() == 1


@pytest.mark.parametrize("causal", [False, True])
def test_an_attention_is_itself(causal):
    qkv = engine.sources.planted(n=40, heads=2, dim=8, causal=causal)
    for key in engine.MECHANISMS:
        try:
            att = engine.attend(qkv, key)
        except ValueError:
            continue  # refuses this layer
        found, w = engine.compare(att, att), att.weights()
        some, above = (w != 0).any(-1), (w > 0).any(-1)  # in others there is nothing to compare
        assert (some.sum(-1) >= 39).all() and found.captured_mass[~some].isnan().all(), key
        assert (found.captured_mass == 1)[some].all(), key
        assert (found.total_variation <= 1e-12)[some].all(), key
        assert (found.output_error == 0)[some].all() and (found.top_recall == 1)[above].all(), key
        kl = found.kl.isnan() if att.row_kind == "signed" else found.kl <= 1e-12
        assert kl[some].all(), key


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("parameters", [{"window": 9, "sinks": 2}, {"window": 90, "sinks": 0}])
def test_equals_plain_float64(causal, parameters):
    qkv = engine.sources.planted(n=90, heads=2, dim=8, causal=causal).to(dtype=torch.float64)
    keep = torch.rand(90, generator=torch.Generator().manual_seed(3)) > 0.2
    qkv = qkv.replace(key_mask=keep)
    i = torch.arange(90)
    band = ((i[:, None] - i).abs() < parameters["window"]) | (i < parameters["sinks"])
    dense, full = oracle.softmax(qkv, pattern=band), oracle.softmax(qkv)
    out, given = oracle.output(dense, qkv), oracle.output(full, qkv)
    expected = torch.tensor(
        [
            [by_hand(*(x[h, r].numpy() for x in (dense, full, out, given))) for r in range(90)]
            for h in range(2)
        ]
    )
    found = engine.compare(
        engine.attend(qkv, "window", **parameters), engine.attend(qkv, "softmax")
    )
    for k, name in enumerate(NAMES):
        torch.testing.assert_close(
            getattr(found, name), expected[..., k], atol=1e-9, rtol=1e-9, equal_nan=True, msg=name
        )
    if parameters["window"] == 90:
        assert (found.means()["captured_mass"] == 1).all()


def test_a_window_keeps_its_share_of_the_mass():
    """KL(p ‖ p') of a masked softmax is −ln of the mass it captures."""
    qkv = engine.sources.planted(n=64, heads=2, dim=8)
    att, full = engine.attend(qkv, "window", window=5, sinks=1), engine.attend(qkv, "softmax")
    captured = engine.compare(att, full).captured_mass
    back = engine.compare(full, att).kl  # the other way about: KL(window ‖ full)
    torch.testing.assert_close(back, -captured.log(), atol=1e-5, rtol=1e-4)


WEIGHTS = st.lists(
    st.lists(st.floats(0, 4, allow_subnormal=False, width=32), min_size=11, max_size=11),
    min_size=2, max_size=2,
)  # fmt: skip


@settings(max_examples=60)
@given(WEIGHTS, WEIGHTS, st.booleans())
def test_definitions_hold_for_any_rows(a, b, signed):
    if signed:
        a = [[x - 2 for x in row] for row in a]
    values = torch.randn(11, 3, generator=torch.Generator().manual_seed(0)).double().tolist()
    att, reference = stored(a, values), stored(b, values)
    found = engine.compare(att, reference)
    is_signed = att.row_kind == "signed"
    for r in range(2):
        w, other = np.array(a[r]), np.array(b[r])
        out, given_out = (x.output[0, r].numpy() for x in (att, reference))
        with np.errstate(all="ignore"):
            expected = by_hand(w, other, out, given_out, is_signed)
        for name, value in list(zip(NAMES, expected, strict=True))[:4]:
            np.testing.assert_allclose(
                getattr(found, name)[0, r].item(), value, rtol=1e-6, atol=1e-7, err_msg=name
            )
        ties = len(np.unique(w)) < 11 or len(np.unique(other)) < 11
        if not ties:
            np.testing.assert_allclose(found.top_recall[0, r].item(), expected[4])
    some = ~found.captured_mass.isnan()
    for name in ("captured_mass", "top_recall") + (() if is_signed else ("total_variation",)):
        value = getattr(found, name)[some & ~getattr(found, name).isnan()]
        assert ((value >= 0) & (value <= 1 + 1e-12)).all()
    if not is_signed:  # Pinsker, with shares on both sides
        kl, apart = found.kl[some], found.total_variation[some]
        assert (2 * apart**2 <= kl + 1e-9).all()


def test_long_texts_are_sampled_and_small_blocks_change_nothing(monkeypatch):
    qkv = engine.sources.planted(n=WHOLE + 1, heads=1, dim=4, causal=True)
    att, full = engine.attend(qkv, "window"), engine.attend(qkv, "softmax")
    told = []
    found = engine.compare(att, full, progress=told.append)
    assert len(found.rows) == SAMPLE and told[-1] == 1 and told == sorted(told)
    assert engine.compare(att, full, rows=slice(0, 3)).rows.tolist() == [0, 1, 2]
    monkeypatch.setattr(comparison, "AREA", 100 * qkv.m)
    again = engine.compare(att, full)
    for name in NAMES:
        torch.testing.assert_close(getattr(again, name), getattr(found, name), equal_nan=True)


@given(st.integers(1, 10**6), st.integers(1, 600))
def test_evenly(n, most):
    at = evenly(n, most)
    assert len(at) == min(n, most) and int(at[0]) >= 0 and int(at[-1]) < n
    gaps = at.diff()
    assert not len(gaps) or (int(gaps.max()) - int(gaps.min()) <= 1 and int(gaps.min()) >= 1)


def test_what_does_not_compare_is_refused():
    one, other = (engine.sources.planted(n=n, heads=2, dim=8) for n in (20, 21))
    with refused(match="same heads, queries and keys"):
        engine.compare(engine.attend(one, "softmax"), engine.attend(other, "softmax"))
    wide = one.replace(v=torch.randn(2, 20, 5))
    with refused(match="width"):
        engine.compare(engine.attend(one, "softmax"), engine.attend(wide, "softmax"))


def test_weights_without_values_have_no_output_error():
    found = engine.compare(stored([[0.5, 0.5]]), stored([[0.5, 0.5]]))
    assert math.isnan(found.output_error.item()) and found.total_variation.item() == 0


# -- where they differ


@pytest.fixture
def pair():
    qkv = engine.sources.planted(n=60, heads=2, dim=8, causal=True)
    return engine.attend(qkv, "window", window=6), engine.attend(qkv, "softmax")


def test_differences_of_single_tokens_are_exact(pair):
    att, full = pair
    found = difference(att, full, 1, rows=slice(20, 50), cols=slice(10, 40))
    exact = (att.weights().double() - full.weights().double())[1, 20:50, 10:40]
    torch.testing.assert_close(found.cells.double(), exact, atol=1e-7, rtol=1e-6)
    assert found.span == (20, 50, 10, 40) and found.cell == (1, 1) and not found.sampled


@pytest.mark.parametrize("pool", ["max", "mean", "sum"])
def test_differences_are_pooled(pair, pool):
    att, full = pair
    found = difference(att, full, 0, size=16, pool=pool)
    d = (att.weights().double() - full.weights().double())[0]
    visible = torch.ones(60, 60).tril()
    assert found.cells.shape == (15, 15) and found.cell == (4, 4)
    for a in range(15):
        for b in range(15):
            part = d[4 * a : 4 * a + 4, 4 * b : 4 * b + 4]
            seen = int(visible[4 * a : 4 * a + 4, 4 * b : 4 * b + 4].sum())
            expected = {
                "max": part.flatten()[part.abs().argmax()],
                "sum": part.sum(),
                "mean": part.sum() / max(1, seen),
            }[pool]
            assert found.cells[a, b].item() == pytest.approx(float(expected), abs=1e-6)


def test_differences_are_scaled_by_row(pair):
    att, full = pair
    d = (att.weights().double() - full.weights().double())[0]
    uniform = difference(att, full, 0, colour="uniform").cells.double()
    torch.testing.assert_close(uniform, d * torch.arange(1, 61)[:, None], atol=1e-5, rtol=1e-5)
    row = difference(att, full, 0, colour="row").cells.double()
    top = full.weights()[0].double().amax(1, keepdim=True)
    torch.testing.assert_close(row, d / top, atol=1e-5, rtol=1e-5)


def test_two_heads_are_set_against_each_other():
    w = torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [0.9, 0.1]]]).double()
    att = Attention.from_weights(w)
    found = difference(att, att, 0, other=1)
    torch.testing.assert_close(found.cells, torch.tensor([[0.0, 0.0], [-0.4, 0.4]]))
    assert not difference(att, att, 1).cells.any()
    assert comparison.shared(att, 0, att, 1) == pytest.approx((1 + 0.6) / 2)
    assert comparison.shared(att, 1, att, 1) == pytest.approx(1)


def test_heads_share_nothing_where_they_read_apart_and_signed_ones_have_no_shares():
    att = Attention.from_weights(torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]], [[0.0, 0.0]]]).double())
    assert comparison.shared(att, 0, att, 1) == 0
    assert math.isnan(comparison.shared(att, 0, att, 2))
    signed = Attention.from_weights(torch.tensor([[[1.0, -0.5]]]).double())
    assert math.isnan(comparison.shared(signed, 0, signed, 0))


def test_rows_of_a_long_window_are_sampled():
    qkv = engine.sources.planted(n=WHOLE + 60, heads=1, dim=8, causal=True)
    att, full = engine.attend(qkv, "window"), engine.attend(qkv, "softmax")
    found = difference(att, full, 0)
    assert found.sampled and len(found.rows) == SAMPLE == len(found.cells)
    d = (att.weights(found.rows) - full.weights(found.rows))[0, 100]
    wide = found.cell[1]
    part = d[3 * wide : 4 * wide]
    assert found.cells[100, 3].item() == pytest.approx(float(part[part.abs().argmax()]), abs=1e-6)
    assert not difference(att, full, 0, rows=slice(50, 100)).sampled
