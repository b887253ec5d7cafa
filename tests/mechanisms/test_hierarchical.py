"""Hierarchical attention against its definition, torch's own attention, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine.contract.views import Levels
from engine.mechanisms._descent import Down
from engine.mechanisms.hierarchical import AGGREGATES, Hierarchical
from engine.text.tree import Tree
from tests import oracle
from tests.refusals import refused


def cut(m: int, seed: int, levels: int) -> dict[str, torch.Tensor]:
    """Ragged units that nest, finest first."""
    draw = torch.Generator().manual_seed(seed)
    units, starts = {}, torch.arange(m)
    for name in ("words", "sentences", "paragraphs")[:levels]:
        keep = torch.rand(len(starts), generator=draw) < 0.4
        keep[0] = True
        starts = starts[keep]
        edges = torch.cat([starts, torch.tensor([m])])
        units[name] = torch.stack([edges[:-1], edges[1:]], 1)
    return units


def made(n=40, m=None, groups=2, seed=0, causal=False, levels=3, **more) -> engine.QKV:
    draw = torch.Generator().manual_seed(seed)
    m = m or n
    return engine.QKV(
        torch.randn(4, n, 8, generator=draw), torch.randn(groups, m, 8, generator=draw),
        torch.randn(groups, m, 5, generator=draw), causal=causal,
        units=cut(m, seed, levels), **more,
    )  # fmt: skip


def shares(z: list[float]) -> list[float]:
    """Softmax."""
    e = np.exp(np.array(z) - max(z))
    return (e / e.sum()).tolist()


def defined(qkv: engine.QKV, aggregate: str, levels: int, open: int = 0) -> torch.Tensor:
    """(h n m) in float64, one row and one unit at a time, from the definition."""
    tree = Tree.of(qkv.frame, levels)
    seen = oracle.allowed(qkv).numpy()
    logits = oracle.logits(qkv).numpy()
    raw = oracle.logits(qkv.replace(softcap=None, bias=None)).numpy()
    bias = qkv.bias and qkv.bias(torch.arange(qkv.n), torch.arange(qkv.m)).double().numpy()
    spans = [tree.spans(i).tolist() for i in range(len(tree.names))]
    out = torch.zeros(qkv.heads, qkv.n, qkv.m, dtype=torch.float64)

    def score(h, i, level, unit):
        start, stop = spans[level][unit]
        keys = [j for j in range(start, stop) if seen[i, j]]
        if not keys:
            return -math.inf
        z = logits[h, i, keys]
        if level == len(spans) - 1 or aggregate == "logsumexp":
            return float(np.logaddexp.reduce(z))
        if aggregate == "max":
            return float(z.max())
        value = raw[h, i, keys].mean()
        if qkv.softcap is not None:
            value = qkv.softcap * math.tanh(value / qkv.softcap)
        if bias is not None:
            value = value + bias[h, i, keys].mean()
        return float(value) + math.log(len(keys))

    for h in range(qkv.heads):
        for i in range(qkv.n):
            if not seen[i].any():
                continue
            z = [score(h, i, 0, u) for u in range(len(spans[0]))]
            extra = [] if qkv.sinks is None else [float(qkv.sinks[h])]
            mass = dict(enumerate(shares(z + extra)[: len(z)]))
            for level in range(1, len(spans)):
                if open:
                    total = sum(mass.values())
                    best = sorted(mass, key=lambda u: -mass[u])[:open]
                    kept = sum(mass[u] for u in best)
                    mass = {u: mass[u] * total / kept for u in best}
                below = {}
                for u, weight in mass.items():
                    if weight == 0:
                        continue
                    children = [
                        c for c in range(len(spans[level])) if tree.parents[level - 1][c] == u
                    ]
                    parts = shares([score(h, i, level, c) for c in children])
                    below |= {c: weight * x for c, x in zip(children, parts, strict=True)}
                mass = below
            for j, weight in mass.items():
                out[h, i, j] = weight
    return out


def near(att: engine.Attention, expected: torch.Tensor, qkv: engine.QKV) -> None:
    torch.testing.assert_close(att.weights().double(), expected, atol=2e-6, rtol=2e-5)
    torch.testing.assert_close(
        att.output.double(), oracle.output(expected, qkv), atol=1e-5, rtol=1e-5
    )


def test_a_case_by_hand():
    """Two units of two and one keys; ln 2 apart within the first."""
    q = torch.tensor([[[1.0]]])
    k = torch.tensor([[[math.log(2)], [0.0], [math.log(3)]]])
    units = {"words": torch.tensor([[0, 2], [2, 3]])}
    qkv = engine.QKV(q, k, torch.eye(3)[None], scale=1.0, units=units)
    # unit scores: mean ½ ln 2 + ln 2 = ln 2√2 against ln 3; max ln 2; log of the sum ln 3
    for aggregate, first in (("mean", 8**0.5), ("max", 2.0), ("logsumexp", 3.0)):
        share = first / (first + 3)
        expected = torch.tensor([[[share * 2 / 3, share / 3, 1 - share]]])
        att = engine.attend(qkv, "hierarchical", aggregate=aggregate)
        torch.testing.assert_close(att.weights(), expected)
        torch.testing.assert_close(att.output, expected)
    opened = engine.attend(qkv, "hierarchical", open=1)  # 3 > 2√2: the second unit only
    torch.testing.assert_close(opened.output, torch.tensor([[[0.0, 0.0, 1.0]]]))


def some_bias(rows, cols):
    return torch.sin(rows[:, None] * 1.3 + cols * 0.7 + torch.arange(4)[:, None, None])


CASES = {
    "plain": {},
    "grouped": {"groups": 1},
    "ungrouped": {"groups": 4},
    "causal": {"causal": True},
    "longer": {"causal": True, "m": 23},
    "shorter": {"causal": True, "m": 11},
    "hidden": {"causal": True, "key_mask": torch.arange(17) % 5 > 1},
    "sinks": {"sinks": torch.tensor([0.0, 1.0, -2.0, 3.0])},
    "softcap": {"softcap": 0.7, "causal": True},
    "one level": {"levels": 1},
}
UNOPENED = {
    "mask": {"mask": lambda rows, cols: (rows[:, None] - cols).abs() % 7 < 4},
    "bias": {"bias": some_bias, "softcap": 1.5, "causal": True},
}


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("case", CASES | UNOPENED)
def test_is_its_definition(case, aggregate):
    qkv = made(17, **(CASES | UNOPENED)[case])
    for levels in (1, 3):
        att = engine.attend(qkv, "hierarchical", levels=levels, aggregate=aggregate)
        near(att, defined(qkv, aggregate, levels), qkv)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("case", CASES)
def test_opening_a_few_units_is_its_definition(case, aggregate):
    qkv = made(17, **CASES[case])
    for open in (1, 3):
        att = engine.attend(qkv, "hierarchical", aggregate=aggregate, open=open)
        near(att, defined(qkv, aggregate, 3, open), qkv)


@settings(max_examples=25)
@given(
    st.integers(2, 130), st.integers(1, 9), st.booleans(), st.integers(0, 99), st.integers(1, 3)
)
def test_scoring_only_what_is_opened_is_pruning_everything(n, open, causal, seed, levels):
    """The short way over mean keys against its plain twin, which scores every pair."""
    qkv = made(n, seed=seed, causal=causal).to(dtype=torch.float64)
    short = engine.attend(qkv, "hierarchical", open=open, levels=levels)
    plain = Down(qkv, Tree.of(qkv.frame, levels), "mean", open)
    torch.testing.assert_close(short.weights(), plain.weights(), atol=1e-10, rtol=1e-8)
    torch.testing.assert_close(short.output, plain.output, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("more", [{}, *(v for k, v in (CASES | UNOPENED).items() if "m" not in v)])
def test_logsumexp_is_flat_softmax_taken_apart(more):
    qkv = made(17, **more)
    flat = oracle.softmax(qkv)
    att = engine.attend(qkv, "hierarchical", aggregate="logsumexp")
    torch.testing.assert_close(att.weights().double(), flat, atol=1e-6, rtol=1e-5)
    found = att.view(Levels).within(torch.arange(17))
    product = torch.ones(1, dtype=torch.float64)
    for name, spans in att.view(Levels).units.items():
        size = spans[:, 1] - spans[:, 0]
        product = product * found[name].double().repeat_interleave(size, -1)
    torch.testing.assert_close(product, flat, atol=1e-6, rtol=1e-5)
    # and the other aggregates are not
    for other in ("mean", "max"):
        apart = engine.attend(qkv, "hierarchical", aggregate=other).weights().double()
        assert (apart - flat).abs().max() > 1e-2


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_shares_are_distributions_over_siblings(aggregate):
    qkv = made(40, causal=True)
    att = engine.attend(qkv, "hierarchical", aggregate=aggregate)
    view, at = att.view(Levels), torch.tensor([39, 7, 12])
    assert list(view.units) == ["paragraphs", "sentences", "words", "tokens"]
    found, tree = view.within(at), Tree.of(qkv.frame)
    product = torch.ones(1)
    for level, (name, spans) in enumerate(view.units.items()):
        share = found[name]
        assert share.shape == (4, 3, len(spans))
        if level:
            into = torch.zeros(4, 3, len(product[0, 0]))
            into.index_add_(-1, tree.parents[level - 1], share)
            torch.testing.assert_close(into[product > 0], torch.ones_like(into[product > 0]))
            product = product[..., tree.parents[level - 1]]
        product = product * share
    torch.testing.assert_close(product, att.weights(at), atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_limits(aggregate):
    """One unit, or units of one key, are flat attention; so is opening everything."""
    qkv = made(30)
    flat = F.scaled_dot_product_attention(
        qkv.q, qkv.k.repeat_interleave(2, 0), qkv.v.repeat_interleave(2, 0)
    )
    whole, each = torch.tensor([[0, 30]]), torch.arange(31)
    for units in (whole, torch.stack([each[:-1], each[1:]], 1)):
        one = qkv.replace(units={"words": units})
        for open in (0, 30):
            att = engine.attend(one, "hierarchical", aggregate=aggregate, open=open)
            torch.testing.assert_close(att.output, flat, atol=1e-6, rtol=1e-5)
    everything = engine.attend(qkv, "hierarchical", aggregate=aggregate, open=30)
    plain = engine.attend(qkv, "hierarchical", aggregate=aggregate)
    torch.testing.assert_close(everything.output, plain.output, atol=1e-6, rtol=1e-5)
    more = engine.attend(qkv, "hierarchical", aggregate=aggregate, levels=17)
    torch.testing.assert_close(more.output, plain.output, atol=0, rtol=0)


def test_two_levels_are_two_of_torchs_attentions():
    """Attention inside a unit gives its value; attention over mean keys weighs the units."""
    qkv = made(33, groups=4, levels=1)
    spans = qkv.units["words"].tolist()
    attend = F.scaled_dot_product_attention
    inside = [attend(qkv.q, qkv.k[:, a:b], qkv.v[:, a:b]) for a, b in spans]
    mean = torch.stack([qkv.k[:, a:b].mean(1) for a, b in spans], 1)
    size = torch.tensor([float(b - a) for a, b in spans]).log()
    values = torch.stack(inside, 2)  # (h n u e): each query has its own, so one query at a time
    expected = torch.cat(
        [attend(qkv.q[:, i : i + 1], mean, values[:, i], attn_mask=size[None]) for i in range(33)],
        1,
    )
    output = engine.attend(qkv, "hierarchical").output
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("open", [0, 2])
def test_nothing_leaks_from_the_future(aggregate, open):
    """Units that a row stands in are scored over the keys that it may see."""
    qkv = made(60, causal=True)
    changed = [x.clone() for x in (qkv.q, qkv.k, qkv.v)]
    at = int(next(stop for start, stop in qkv.units["paragraphs"].tolist() if stop > 25)) - 2
    for x in changed:
        x[:, at:] = 100 * x[:, at:] + 50
    later = qkv.replace(q=changed[0], k=changed[1], v=changed[2])
    before, after = (
        engine.attend(x, "hierarchical", aggregate=aggregate, open=open) for x in (qkv, later)
    )
    assert torch.equal(before.output[:, :at], after.output[:, :at])
    assert torch.equal(before.weights()[:, :at], after.weights()[:, :at])


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_scores_far_apart_stay_exact(aggregate):
    """A unit far below the row's largest score keeps its own distribution."""
    qkv = made(40)
    qkv = qkv.replace(q=80 * qkv.q)
    tree = Tree.of(qkv.frame)
    exact = Down(qkv.to(dtype=torch.float64), tree, aggregate).weights()
    for open in (0, 40):
        att = engine.attend(qkv, "hierarchical", aggregate=aggregate, open=open)
        torch.testing.assert_close(att.weights().double(), exact, atol=1e-4, rtol=1e-3)
        assert (att.weights().sum(-1) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("gap", [math.log(15), 6.0])
def test_dilution_over_two_equal_levels(gap):
    """√n siblings a level: a gap counts in full by the largest score, by the mean as gap/√n."""
    side = 16
    k = torch.zeros(1, side * side, 4)
    k[0, 37, 0] = gap
    q = torch.zeros(1, 1, 4)
    q[..., 0] = 1.0
    starts = torch.arange(0, side * side, side)
    units = {"words": torch.stack([starts, starts + side], 1)}
    qkv = engine.QKV(q, k, k, scale=1.0, units=units)

    def share(d):
        return math.exp(d) / (math.exp(d) + side - 1)

    flat = math.exp(gap) / (math.exp(gap) + side * side - 1)
    for aggregate, expected in (
        ("max", share(gap) ** 2),
        ("mean", share(gap / side) * share(gap)),
        ("logsumexp", flat),
    ):
        w = engine.attend(qkv, "hierarchical", aggregate=aggregate).weights()
        assert float(w[0, 0, 37]) == pytest.approx(expected, rel=1e-5)
    if (
        gap < 3
    ):  # ln of the siblings: even odds at each level, where flat attention needs ln(n − 1)
        assert share(gap) == pytest.approx(1 / 2) and flat < 0.06


def test_refuses_what_pruning_cant_honour():
    qkv = made(20)
    for name, value in (("mask", UNOPENED["mask"]["mask"]), ("bias", some_bias)):
        given = qkv.replace(**{name: value})
        with refused(match=name):
            engine.attend(given, "hierarchical", open=2)
        engine.attend(given, "hierarchical", open=2, aggregate="max")
    crossed = {
        "words": torch.tensor([[0, 9], [9, 20]]),
        "sentences": torch.tensor([[0, 5], [5, 20]]),
    }
    with refused(match="units"):
        engine.attend(qkv.replace(units=crossed), "hierarchical")


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("open", [0, 1, 3])
@pytest.mark.parametrize("causal", [False, True])
def test_flops_are_what_is_scored_and_weighed(aggregate, open, causal):
    """Counted on groups of one size, where the most that may be opened is what is opened."""
    qkv = engine.sources.planted(n=128, heads=2, dim=8, noise=2.0, seed=1, causal=causal)
    mechanism = Hierarchical(levels=2, aggregate=aggregate, open=open)
    weighed = int((mechanism.attend(qkv).weights() > 0).sum())
    seen = int(oracle.allowed(qkv).sum()) * 2
    scored = seen
    if mechanism.sparse:
        opened = mechanism.attend(qkv).view(Levels).within(torch.arange(128))
        starts = torch.arange(0, 128, 8)
        top = starts[::8] <= torch.arange(128)[:, None] if causal else torch.ones(128, 2)
        inside = opened["64"].repeat_interleave(8, -1) > 0  # groups of 8 that are scored
        if causal:
            inside &= starts <= torch.arange(128)[:, None]
        scored = 2 * int(top.sum()) + int(inside.sum()) + weighed
    count = 2 * (scored * 8 + weighed * 8)
    if causal and open:
        assert count <= mechanism.flops(qkv) < 1.5 * count
    else:
        assert mechanism.flops(qkv) == count
