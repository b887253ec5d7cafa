"""What must hold for every mechanism, whatever it is (DESIGN §3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import engine
from engine.contract import QKV, params_of
from engine.measure import metrics
from engine.measure.attention import Attention
from engine.mechanisms import MECHANISMS
from tests import oracle

CASES = st.fixed_dictionaries(
    {
        "key": st.sampled_from(sorted(MECHANISMS)),
        "n": st.integers(1, 70),
        "extra": st.sampled_from([0, 0, -5, 13]),
        "groups": st.sampled_from([1, 2, 4]),
        "causal": st.booleans(),
        "seed": st.integers(0, 10_000),
        "masked": st.booleans(),
        "sinks": st.booleans(),
        "softcap": st.booleans(),
        "size": st.integers(1, 24),
        "choice": st.integers(0, 10_000),
    }
)


def some_qkv(case: dict) -> QKV:
    draw = torch.Generator().manual_seed(case["seed"])
    n, h, d = case["n"], 4, 8
    m = max(1, n + case["extra"])
    mask = torch.rand(m, generator=draw) < 0.8 if case["masked"] else None
    return QKV(
        2 * torch.randn(h, n, d, generator=draw),
        torch.randn(case["groups"], m, d, generator=draw),
        torch.randn(case["groups"], m, 5, generator=draw),
        causal=case["causal"],
        key_mask=mask,
        sinks=torch.randn(h, generator=draw) if case["sinks"] else None,
        softcap=2.5 if case["softcap"] else None,
        needles=torch.tensor([m // 2]),
    )


def some_parameters(key: str, choice: int) -> dict:
    """Values that the declarations allow, small enough to matter at these lengths."""
    draw = torch.Generator().manual_seed(choice)
    found = {}
    for name, p in params_of(MECHANISMS[key]).items():
        pick = float(torch.rand(1, generator=draw))
        if p.choices:
            found[name] = p.choices[int(pick * len(p.choices))]
        elif p.kind is bool:
            found[name] = pick < 0.5
        elif p.kind is int:
            low = int(p.low or 0)
            found[name] = low + int(pick * min(20, (p.high or 20) - low + 1))
        else:
            found[name] = min((p.low or 0) + 0.3 + 2 * pick, p.high or torch.inf)
    return found


def attended(case: dict) -> tuple[QKV, Attention] | None:
    qkv = some_qkv(case)
    parameters = some_parameters(case["key"], case["choice"])
    try:
        return qkv, engine.attend(qkv, case["key"], **parameters)
    except ValueError as refusal:
        assert any(word in str(refusal) for word in grounds(qkv)), refusal
        return None


def grounds(qkv: QKV) -> list[str]:
    """What a mechanism may name when it refuses this QKV."""
    names = [name for name in ("key_mask", "sinks", "softcap") if getattr(qkv, name) is not None]
    return names + ["causal"] * qkv.causal + ["queries"] * (qkv.n != qkv.m)


def check(case: dict, test: Callable[[QKV, Attention, Tensor], None]) -> None:
    made = attended(case)
    if made is not None:
        qkv, att = made
        test(qkv, att, att.weights().double())


@settings(max_examples=150, deadline=None)
@given(CASES)
def test_weights_are_what_the_output_uses(case):
    def test(qkv, att, w):
        expected = oracle.output(w, qkv)
        torch.testing.assert_close(att.output.double(), expected, atol=2e-5, rtol=2e-5)
        if att.row_kind == "stochastic":
            sees = oracle.allowed(qkv).any(-1)
            total = w.sum(-1)
            reached = total > 0.5
            assert (reached <= sees).all()
            assert (total[reached] - 1).abs().max() < 1e-5 if reached.any() else True
            assert (w >= 0).all()
        assert (w[:, ~oracle.allowed(qkv)] == 0).all(), "weight outside what a row may see"
        assert torch.isfinite(w).all()

    check(case, test)


@settings(max_examples=100, deadline=None)
@given(CASES)
def test_blocks_hold_every_row_once_and_all_its_weights(case):
    def test(qkv, att, w):
        count = torch.zeros(qkv.n, dtype=torch.long)
        again = torch.zeros_like(w)
        for block in att.blocks():
            at = torch.arange(qkv.n)[block.rows]
            count[at] += 1
            cols = block.cols
            cols = torch.arange(qkv.m)[cols] if isinstance(cols, slice) else cols
            cols = cols.expand(block.weights.shape)
            part = torch.zeros(*block.weights.shape[:2], qkv.m + 1, dtype=torch.float64)
            part.scatter_add_(2, torch.where(cols < 0, qkv.m, cols), block.weights.double())
            again[:, at] = part[..., : qkv.m]
        assert (count == 1).all()
        torch.testing.assert_close(again, w, atol=1e-6, rtol=1e-5)

    check(case, test)


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_statistics_and_maps_are_those_of_the_weights(case):
    def test(qkv, att, w):
        found = att.summary(case["size"], ("max", "mean", "sum"))
        if att.row_kind != "signed":
            for name, expected in oracle.statistics(w, qkv).items():
                actual = getattr(found.rows, name).double()
                torch.testing.assert_close(
                    actual, expected, atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
                )
        best = w.abs().amax(-1)
        at = found.rows.argmax.clamp_min(0)[..., None]
        assert (w.abs().gather(-1, at)[..., 0] >= best - 1e-5).all()
        assert (found.rows.argmax[best == 0] == -1).all()
        for pool, cells in found.maps.items():
            expected = oracle.pooled(w, qkv, case["size"], pool)
            torch.testing.assert_close(cells.double(), expected, atol=2e-5, rtol=2e-5)
            again = att.heatmap(case["size"], pool)
            torch.testing.assert_close(again.double(), expected, atol=2e-5, rtol=2e-5)

    check(case, test)


@settings(max_examples=60, deadline=None)
@given(CASES, st.integers(1, 9))
def test_groups_add_up_the_weights(case, groups):
    def test(qkv, att, w):
        labels = torch.randint(-1, groups, (qkv.m,), generator=torch.Generator().manual_seed(1))
        labels[0] = 0
        mass = att.group(labels)
        for g in range(mass.shape[-1]):
            torch.testing.assert_close(
                mass[..., g].double(), w[..., labels == g].sum(-1), atol=1e-5, rtol=1e-5
            )

    check(case, test)


@settings(max_examples=60, deadline=None)
@given(CASES, st.data())
def test_any_window_is_a_piece_of_the_whole(case, data):
    def test(qkv, att, w):
        a = data.draw(st.integers(0, qkv.n - 1))
        b = data.draw(st.integers(a + 1, qkv.n))
        c = data.draw(st.integers(0, qkv.m - 1))
        d = data.draw(st.integers(c + 1, qkv.m))
        fresh = engine.attend(qkv, case["key"], **some_parameters(case["key"], case["choice"]))
        part = fresh.weights(slice(a, b), slice(c, d)).double()
        torch.testing.assert_close(part, w[:, a:b, c:d], atol=1e-6, rtol=1e-5)
        mixed = torch.randperm(qkv.n, generator=torch.Generator().manual_seed(0))[: b - a]
        torch.testing.assert_close(
            fresh.weights(mixed).double(), w[:, mixed], atol=1e-6, rtol=1e-5
        )
        size = data.draw(st.integers(1, 12))
        zoom = fresh.heatmap(size, "sum", slice(a, b), slice(c, d)).double()
        torch.testing.assert_close(
            zoom.sum((1, 2)), w[:, a:b, c:d].sum((1, 2)), atol=1e-4, rtol=1e-4
        )
        stats, whole = fresh.rows(torch.arange(a, b)), fresh.rows()
        torch.testing.assert_close(stats.kept_mass, whole.kept_mass[:, a:b], atol=1e-5, rtol=1e-5)

    check(case, test)


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_hiding_keys_renormalises_what_is_left(case):
    def test(qkv, att, w):
        hidden = att.hide(torch.tensor([0])).weights().double()
        assert (hidden[..., 0] == 0).all()
        left = w.clone()
        left[..., 0] = 0
        total, before = left.sum(-1, True), w.sum(-1, True)
        if att.row_kind == "stochastic":
            some = (total > 1e-6)[..., 0]
            expected = left * before / total
            torch.testing.assert_close(hidden[some], expected[some], atol=1e-5, rtol=1e-4)
        if att.row_kind == "signed":  # a total near 0, or below, is nothing to scale by
            torch.testing.assert_close(hidden, left, atol=1e-6, rtol=1e-5)

    check(case, test)


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_same_input_same_result(case):
    first, second = attended(case), attended(case)
    if first is not None and second is not None:
        assert torch.equal(first[1].output, second[1].output)
        a, b = first[1].rows(), second[1].rows()
        assert torch.equal(a.entropy.nan_to_num(-1), b.entropy.nan_to_num(-1))


@pytest.mark.parametrize("key", sorted(MECHANISMS))
def test_declares_itself(key):
    cls = MECHANISMS[key]
    assert cls.key == key == cls.__module__.rsplit(".", 1)[-1]
    assert cls.paper and cls.complexity and cls.family
    for name, p in params_of(cls).items():
        assert p.check(name, p.default) == p.default
        if p.slider:
            for end in p.slider:
                p.check(name, p.kind(end))
    qkv = engine.sources.identical(n=16)
    assert cls().flops(qkv) > 0
    if cls.causal_ok:
        assert cls().flops(qkv.replace(causal=True)) <= cls().flops(qkv)


@pytest.mark.parametrize("key", sorted(MECHANISMS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_half_and_double_precision(key, dtype):
    causal = MECHANISMS[key].causal_ok
    qkv = engine.sources.planted(n=90, heads=2, dim=16, gap=3.0, seed=3, causal=causal).to(
        dtype=dtype
    )
    att = engine.attend(qkv, key)
    exact = engine.attend(qkv.to(dtype=torch.float64), key)
    assert att.output.dtype == dtype
    near = {torch.bfloat16: 2e-2, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(att.output.double(), exact.output, atol=near, rtol=near)
    stats, truth = att.summary(16).rows, exact.summary(16).rows
    near = {torch.bfloat16: 2e-5, torch.float64: 1e-12}[dtype]
    name = "l1_mass" if att.row_kind == "signed" else "entropy"
    found, expected = getattr(stats, name).double(), getattr(truth, name)
    torch.testing.assert_close(found, expected, atol=near, rtol=1e-5)


def test_the_list_is_the_folder():
    from pathlib import Path

    folder = Path(engine.__file__).parent / "mechanisms"
    assert {p.stem for p in folder.glob("[!_]*.py")} - {"base", "cost"} == set(MECHANISMS)


def test_metrics_of_known_rows():
    """Uniform, one-hot and k-hot rows (the table of definitions)."""
    n, k = 12, 3
    w = torch.zeros(1, 3, n, dtype=torch.float64)
    w[0, 0], w[0, 1, 4], w[0, 2, :k] = 1 / n, 1, 1 / k
    att = Attention.from_weights(w, needles=torch.tensor([0, 4]))
    r = att.rows()
    ln = torch.tensor([n, 1, k], dtype=torch.float64).log()
    close = torch.testing.assert_close
    close(r.entropy[0], ln)
    close(r.normalised_entropy[0], ln / ln[0])
    close(r.effective_tokens[0], ln.exp())
    close(r.participation[0], ln.exp())
    close(r.max_weight[0], (-ln).exp())
    close(r.top_mass[0], torch.tensor([8 / n, 1, 1], dtype=torch.float64))
    close(r.sink_mass[0], torch.tensor([1 / n, 0, 1 / k], dtype=torch.float64))
    close(r.needle_mass[0], torch.tensor([2 / n, 1, 1 / k], dtype=torch.float64))
    close(r.distance[0], torch.tensor([66 / n, 3.0, 1.0], dtype=torch.float64))
    assert r.argmax[0].tolist()[1] == 4 and att.row_kind == "stochastic"


def test_signed_rows_are_never_shares():
    w = torch.tensor([[[0.75, -0.25, 0.5], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]]])
    att = Attention.from_weights(w)
    assert att.row_kind == "signed"
    r = metrics.of_weights(w, slice(0, 3), slice(0, 3), att.frame, "signed")
    assert torch.isnan(r.entropy).all() and torch.isnan(r.participation).all()
    torch.testing.assert_close(r.l1_mass[0].float(), torch.tensor([1.5, 1.0, 1.0]))
    torch.testing.assert_close(r.negative_mass[0].float(), torch.tensor([0.25, 0.0, 0.0]))
