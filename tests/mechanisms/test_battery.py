"""What must hold for every mechanism, whatever it is (DESIGN §3)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import engine
from engine.contract import QKV, Refusal, params_of
from engine.measure import metrics
from engine.measure.attention import Attention
from engine.mechanisms import MECHANISMS, Mechanism
from engine.models.masks import Band
from tests import oracle
from tests.typecheck import annotations

KEYS = sorted(MECHANISMS)
HEADS = 4
EXAMPLES = 12
"""Cases of a mechanism and an invariant."""
CHECKED = 3
"""Of these, how many check annotations, too, which takes most of the time."""

# what a case may hold, by the name that a refusal has for it: an inert value and the others
FIELDS: dict[str, tuple[Any, st.SearchStrategy]] = {
    "causal": (False, st.booleans()),
    "key_mask": (False, st.booleans()),
    "mask": (None, st.sampled_from([None, None, 0, 3, 12])),  # half the width of a band
    "bias": (False, st.sampled_from([False, False, True])),
    "sinks": (False, st.booleans()),
    "softcap": (None, st.sampled_from([None, 2.5])),
    "queries": (0, st.sampled_from([0, 0, -5, 13])),  # keys beyond as many as queries
}
CASES = st.fixed_dictionaries(
    {
        "n": st.integers(1, 48),
        "groups": st.sampled_from([1, 2, 4]),
        "dtype": st.sampled_from([torch.float32, torch.float64]),
        "choice": st.one_of(st.none(), st.integers(0, 10_000)),  # parameters, default ones if None
        "seed": st.integers(0, 10_000),
        "size": st.integers(1, 24),
        **{name: drawn for name, (_, drawn) in FIELDS.items()},
    }
)


@dataclass
class Case:
    """A mechanism on a QKV that it honours."""

    qkv: QKV
    mechanism: Mechanism
    att: Attention
    w: Tensor
    size: int
    random: Random

    @property
    def near(self) -> dict[str, float]:
        """How near weights of two ways of working them out must be."""
        return {"atol": 1e-9, "rtol": 1e-7} if self.double else {"atol": 2e-5, "rtol": 2e-5}

    @property
    def double(self) -> bool:
        return self.qkv.dtype == torch.float64


def some_bias(rows: Tensor, cols: Tensor) -> Tensor:
    head = torch.arange(HEADS, device=rows.device)[:, None, None]
    return torch.sin(1.3 * rows[:, None] + 0.7 * cols + head)


def some_qkv(drawn: dict) -> QKV:
    draw = torch.Generator().manual_seed(drawn["seed"])
    n, m, g = drawn["n"], max(1, drawn["n"] + drawn["queries"]), drawn["groups"]
    q, k, v = (torch.randn(x, generator=draw) for x in ((HEADS, n, 8), (g, m, 8), (g, m, 5)))
    hidden, sinks = torch.rand(m, generator=draw) < 0.3, torch.randn(HEADS, generator=draw)
    band = drawn["mask"]
    return QKV(
        2 * q, k, v, causal=drawn["causal"], key_mask=~hidden if drawn["key_mask"] else None,
        mask=None if band is None else Band(band, band), softcap=drawn["softcap"],
        bias=some_bias if drawn["bias"] else None, sinks=sinks if drawn["sinks"] else None,
        needles=torch.tensor([m // 2]),
    ).to(dtype=drawn["dtype"])  # fmt: skip


def some_parameters(key: str, choice: int | None) -> dict:
    """Values that the declarations allow, small enough to matter at these lengths."""
    found = {}
    if choice is None:
        return found
    draw = torch.Generator().manual_seed(choice)
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


def named(refusal: Refusal, drawn: dict) -> set[str]:
    """Fields that a refusal names; each must be set in what is refused."""
    found = {name for name in FIELDS if re.search(rf"\b{name}\b", str(refusal))}
    idle = {name for name in found if drawn[name] == FIELDS[name][0]}
    assert found and not idle, f"{refusal} Of what it names, {idle or 'nothing'} is not set."
    return found


def hold(key: str, check: Callable[[Case], None]) -> None:
    """Try a mechanism on drawn cases; what it refuses is taken away, and the rest is tried.

    Fails also if a field was neither refused nor set in any case that was tried.
    """
    met: set[str] = set()
    cases = count(1)

    def run(drawn: dict) -> None:
        with annotations(next(cases) <= CHECKED):
            tried(drawn)

    def tried(drawn: dict) -> None:
        mechanism = engine.make(key, **some_parameters(key, drawn["choice"]))
        att = None
        while att is None:
            qkv = some_qkv(drawn)
            try:
                att = mechanism.attend(qkv)
            except Refusal as refusal:
                refused = named(refusal, drawn)
                met.update(refused)
                drawn = drawn | {name: FIELDS[name][0] for name in refused}
        w = att.weights().double()
        check(Case(qkv, mechanism, att, w, drawn["size"], Random(drawn["seed"])))
        met.update(name for name, (inert, _) in FIELDS.items() if drawn[name] != inert)

    # what is drawn follows from the name
    run.__name__ = f"{check.__qualname__.partition('.')[0]}_{key}"
    settings(max_examples=EXAMPLES)(given(CASES)(run))()
    assert met == FIELDS.keys(), f"never tried: {FIELDS.keys() - met}"


@pytest.mark.parametrize("key", KEYS)
def test_equals_its_plain_reference(key):
    def check(case: Case) -> None:
        expected = case.mechanism.reference(case.qkv)
        assert expected.dtype == torch.float64
        torch.testing.assert_close(case.w, expected, **case.near)
        output = oracle.output(expected, case.qkv)
        torch.testing.assert_close(case.att.output.double(), output, **case.near)

    hold(key, check)


@pytest.mark.parametrize("key", KEYS)
def test_weights_are_what_the_output_uses(key):
    def check(case: Case) -> None:
        w, kind = case.w, case.att.row_kind
        expected = oracle.output(w, case.qkv)
        torch.testing.assert_close(case.att.output.double(), expected, atol=2e-5, rtol=2e-5)
        assert torch.isfinite(w).all()
        seen = oracle.allowed(case.qkv)
        assert (w[:, ~seen] == 0).all(), "weight outside what a row may see"
        if kind == "signed":
            return
        assert (w >= 0).all()
        total, sees = w.sum(-1), seen.any(-1).expand(HEADS, -1)
        if kind == "stochastic":
            left_out = MECHANISMS[key].leaves_out & (total == 0)
            assert (((total - 1).abs() < 1e-5) == (sees & ~left_out)).all()
        elif kind == "substochastic":
            assert (total < 1 + 1e-5).all()

    hold(key, check)


LEAVING = {
    "window": {"window": 1, "sinks": 0}, "segmented": {"segment": 1},
    "transformer_xl": {"segment": 1, "memory": 0}, "memory_tokens": {"segment": 1, "slots": 0},
    "moba": {"block": 1, "top_k": 1}, "indexer": {"top_k": 1},
    "kmeans": {"clusters": 1, "window": 1},
    "linear": {"feature_map": "relu"}, "combined": {"size": 1}, "forgetting": {},
    "stick_breaking": {}, "delta": {}, "infini": {"segment": 1},
    "log_linear": {},
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_a_mechanism_that_may_leave_rows_out_says_so(key):
    """Keys 0 and 3 are hidden and query 3 has no feature above 0: these rows see keys but may read
    none."""
    assert MECHANISMS[key].leaves_out == (key in LEAVING)
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 6, 4, generator=draw) for _ in range(3))
    q[:, 3] = -q[:, 3].abs()
    seen = torch.arange(6) % 3 != 0
    att = engine.attend(QKV(q, k, v, key_mask=seen), key, **LEAVING.get(key, {}))
    assert bool((att.weights()[:, ~seen] == 0).all(-1).any()) == (key in LEAVING)


@pytest.mark.parametrize("key", KEYS)
def test_blocks_hold_every_row_once_and_all_its_weights(key):
    def check(case: Case) -> None:
        n, m = case.qkv.n, case.qkv.m
        count, again = torch.zeros(n, dtype=torch.long), torch.zeros_like(case.w)
        for block in case.att.blocks():
            at = torch.arange(n)[block.rows]
            count[at] += 1
            cols = block.cols
            cols = torch.arange(m)[cols] if isinstance(cols, slice) else cols
            cols = cols.expand(block.weights.shape)
            part = torch.zeros(*block.weights.shape[:2], m + 1, dtype=torch.float64)
            part.scatter_add_(2, torch.where(cols < 0, m, cols), block.weights.double())
            again[:, at] = part[..., :m]
        assert (count == 1).all()
        torch.testing.assert_close(again, case.w, atol=1e-6, rtol=1e-5)

    hold(key, check)


@pytest.mark.parametrize("key", KEYS)
def test_statistics_and_maps_are_those_of_the_weights(key):
    def check(case: Case) -> None:
        qkv, att, w, size = case.qkv, case.att, case.w, case.size
        found = att.summary(size, ("max", "mean", "sum"))
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
            expected = oracle.pooled(w, qkv, size, pool)
            torch.testing.assert_close(cells.double(), expected, atol=2e-5, rtol=2e-5)
            again = att.heatmap(size, pool)
            torch.testing.assert_close(again.double(), expected, atol=2e-5, rtol=2e-5)

    hold(key, check)


@pytest.mark.parametrize("key", KEYS)
def test_groups_add_up_the_weights(key):
    def check(case: Case) -> None:
        draw = torch.Generator().manual_seed(case.size)
        labels = torch.randint(-1, 1 + case.size % 9, (case.qkv.m,), generator=draw)
        labels[0] = 0
        mass = case.att.group(labels)
        for g in range(mass.shape[-1]):
            expected = case.w[..., labels == g].sum(-1)
            torch.testing.assert_close(mass[..., g].double(), expected, atol=1e-5, rtol=1e-5)

    hold(key, check)


@pytest.mark.parametrize("key", KEYS)
def test_any_window_is_a_piece_of_the_whole(key):
    def check(case: Case) -> None:
        w, n, random = case.w, case.qkv.n, case.random
        (a, b), (c, d) = (
            (start := random.randrange(size), random.randint(start + 1, size))
            for size in (n, case.qkv.m)
        )
        fresh = case.mechanism.attend(case.qkv)
        part = fresh.weights(slice(a, b), slice(c, d)).double()
        torch.testing.assert_close(part, w[:, a:b, c:d], atol=1e-6, rtol=1e-5)
        mixed = torch.tensor(random.sample(range(n), b - a))
        part = fresh.weights(mixed).double()
        torch.testing.assert_close(part, w[:, mixed], atol=1e-6, rtol=1e-5)
        zoom = fresh.heatmap(case.size, "sum", slice(a, b), slice(c, d)).double()
        torch.testing.assert_close(
            zoom.sum((1, 2)), w[:, a:b, c:d].sum((1, 2)), atol=1e-4, rtol=1e-4
        )
        stats, whole = fresh.rows(torch.arange(a, b)), fresh.rows()
        torch.testing.assert_close(stats.kept_mass, whole.kept_mass[:, a:b], atol=1e-5, rtol=1e-5)

    hold(key, check)


@pytest.mark.parametrize("key", KEYS)
def test_hiding_keys_renormalises_what_is_left(key):
    def check(case: Case) -> None:
        hidden = case.att.hide(torch.tensor([0])).weights().double()
        assert (hidden[..., 0] == 0).all()
        left = case.w.clone()
        left[..., 0] = 0
        if case.att.row_kind == "signed":  # a total near 0, or below, is nothing to scale by
            torch.testing.assert_close(hidden, left, atol=1e-6, rtol=1e-5)
            return
        total, before = left.sum(-1, True), case.w.sum(-1, True)
        some = (total > 1e-3)[..., 0]
        expected = left * before / total
        torch.testing.assert_close(hidden[some], expected[some], atol=1e-5, rtol=1e-3)
        assert (hidden[(case.w == 0).all(-1)] == 0).all()

    hold(key, check)


@pytest.mark.parametrize("key", KEYS)
def test_same_input_same_result(key):
    def check(case: Case) -> None:
        again = case.mechanism.attend(case.qkv)
        assert torch.equal(case.att.output, again.output)
        a, b = case.att.rows(), again.rows()
        assert torch.equal(a.entropy.nan_to_num(-1), b.entropy.nan_to_num(-1))

    hold(key, check)


@pytest.mark.parametrize("key", KEYS)
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


@pytest.mark.parametrize("key", KEYS)
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
