"""Summary slots: against a recurrence in plain loops, exact limits, and what must not leak."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import engine
from engine.contract.views import Memory
from engine.measure import ages
from engine.mechanisms import memory_tokens
from engine.mechanisms.memory_tokens import MemoryTokens, Remembering, merge
from tests import oracle
from tests.refusals import refused


def made(n: int = 60, m: int | None = None, groups: int = 2, causal: bool = True, **more):
    draw = torch.Generator().manual_seed(n)
    q = torch.randn(4, n, 8, generator=draw)
    k, v = torch.randn(2, groups, m or n, 8, generator=draw).unbind(0)
    return engine.QKV(q, k, v, causal=causal, **more)


def seeds(points: list[tuple[torch.Tensor, int]], slots: int) -> list[int]:
    """Slot of each (key, count) by the words of the definition."""
    total = sum(c for _, c in points)
    far = None
    centre = sum(c * x for x, c in points) / max(1, total)
    chosen: list[int] = []
    while len(chosen) < min(slots, sum(c > 0 for _, c in points)):
        best, at = -1.0, -1
        for i, (x, c) in enumerate(points):
            if c == 0 or i in chosen:
                continue
            from_ = [points[j][0] for j in chosen] or [centre]
            far = c**0.5 * min(float((x - y).square().sum()) for y in from_)
            if far > best:
                best, at = far, i
        chosen.append(at)
    name = []
    for x, c in points:
        away = [float((x - points[j][0]).square().sum()) for j in chosen]
        name.append(away.index(min(away)) if c else -1)
    return name


def plain(qkv: engine.QKV, segment: int, slots: int) -> torch.Tensor:
    """(h n m) weights in float64, one segment, slot and row after another."""
    h, n, m = qkv.heads, qkv.n, qkv.m
    offset = m - n if qkv.causal else 0
    seen = torch.ones(m, dtype=torch.bool) if qkv.key_mask is None else qkv.key_mask
    out = torch.zeros(h, n, m, dtype=torch.float64)
    for head in range(h):
        g = head * qkv.groups // h
        q, k = qkv.q[head].double(), qkv.k[g].double()
        held: list[list[int]] = [[] for _ in range(slots)]  # keys that each slot stands for

        def key(members: list[int], k=k) -> torch.Tensor:
            return k[members].mean(0) if members else torch.zeros(k.shape[-1]).double()

        for s in range(-(-max(n, m) // segment)):
            for i in range(n):
                at = i + offset
                if at < 0 or at // segment != s:
                    continue
                logits, spread = [], []
                parts = [(key(x), x) for x in held if x] + [
                    (k[j], [j])
                    for j in range(s * segment, min(m, (s + 1) * segment))
                    if seen[j] and (j <= at or not qkv.causal)
                ]
                for centre, members in parts:
                    z = q[i] @ centre * qkv.factor
                    if qkv.softcap is not None:
                        z = qkv.softcap * torch.tanh(z / qkv.softcap)
                    logits.append(z + torch.log(torch.tensor(float(len(members))).double()))
                    spread.append(members)
                if qkv.sinks is not None:
                    logits.append(qkv.sinks[head].double())
                    spread.append([])
                if not any(spread):
                    continue
                for w, members in zip(torch.stack(logits).softmax(0), spread, strict=True):
                    for j in members:
                        out[head, i, j] += w / len(members)
            points = [(key(x), len(x)) for x in held]
            new = list(range(s * segment, min(m, (s + 1) * segment)))
            points += [(k[j], int(seen[j])) for j in new]
            into = seeds(points, slots) if slots else [-1] * len(points)
            following: list[list[int]] = [[] for _ in range(slots)]
            for members, slot in zip([*held, *([j] for j in new)], into, strict=True):
                if slot >= 0:
                    following[slot] += members
            held = following
    return out


def test_by_hand():
    """Segments of 2, one slot, equal scores: the slot of c keys weighs as c keys do."""
    qkv = engine.sources.identical(n=6, heads=1, dim=4).replace(causal=True)
    w = engine.attend(qkv, "memory_tokens", segment=2, slots=1).weights()[0]
    uniform = torch.ones(6, 6).tril() / torch.arange(1, 7)[:, None]
    torch.testing.assert_close(w, uniform)


def test_slots_by_hand():
    """Keys 0, 10, 1, 11 in one dimension, two slots: near keys go together."""
    k = torch.tensor([0.0, 10.0, 1.0, 11.0, 5.0, 5.0])[None, :, None]
    qkv = engine.QKV(torch.zeros(1, 6, 1), k, torch.randn(1, 6, 2), causal=True)
    slots = engine.attend(qkv, "memory_tokens", segment=2, slots=2).view(Memory).slots
    assert slots is not None
    first = slots.taken[0, :2].tolist()
    assert sorted(first) == [0, 1]
    carried = [int(slots.merged[0, 1, x]) for x in first]
    assert slots.taken[0, 2:4].tolist() == carried
    assert slots.held[0, :, :].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert slots.taken[0, 4:].tolist() == [-1, -1], "the last segment has not ended"


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("n", "m"), [(33, 33), (9, 33), (33, 20)])
@pytest.mark.parametrize(("segment", "slots"), [(5, 0), (5, 1), (4, 3), (7, 20), (50, 4), (1, 2)])
def test_is_the_recurrence_in_plain_loops(n, m, segment, slots, causal):
    mask = torch.arange(m) % 5 != 2
    for more in ({}, {"key_mask": mask, "sinks": torch.randn(4), "softcap": 3.0}):
        qkv = made(n, m, causal=causal, **more)
        expected = plain(qkv, segment, slots)
        att = engine.attend(qkv, "memory_tokens", segment=segment, slots=slots)
        torch.testing.assert_close(att.weights().double(), expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(
            att.output.double(), oracle.output(expected, qkv), atol=1e-5, rtol=1e-5
        )


def test_exact_limits():
    qkv = made(50, groups=4)
    none = engine.attend(qkv, "memory_tokens", segment=7, slots=0).weights()
    torch.testing.assert_close(none, engine.attend(qkv, "segmented", segment=7).weights())
    full = torch.nn.functional.scaled_dot_product_attention(qkv.q, qkv.k, qkv.v, is_causal=True)
    for slots in (49, 50, 10_000):
        att = engine.attend(qkv, "memory_tokens", segment=7, slots=slots)
        torch.testing.assert_close(att.output, full, atol=1e-6, rtol=1e-5)
    few = engine.attend(qkv, "memory_tokens", segment=7, slots=4)
    assert (few.output - full).abs().max() > 0.05, "four slots are not full attention"


def test_as_many_slots_as_different_keys_are_enough():
    draw = torch.Generator().manual_seed(0)
    k = torch.randn(1, 5, 8, generator=draw)[:, torch.randint(5, (64,), generator=draw)]
    q, v = torch.randn(2, 1, 64, 8, generator=draw).unbind(0)
    qkv = engine.QKV(q, k, v, causal=True)
    full = engine.attend(qkv, "softmax").weights()
    ours = engine.attend(qkv, "memory_tokens", segment=8, slots=5).weights()
    torch.testing.assert_close(ours, full, atol=1e-6, rtol=1e-4)


def test_x_transformers_with_mems_is_the_limit():
    """With a slot for every key: one streamed layer of x-transformers that keeps all mems."""
    xt = pytest.importorskip("x_transformers")
    torch.manual_seed(0)
    attend = xt.Attention(dim=32, heads=4, dim_head=8, causal=True).eval()
    x = torch.randn(1, 40, 32)
    fed = []
    attend.to_out.register_forward_hook(lambda _, given, __: fed.append(given[0]))
    with torch.no_grad():
        for s in range(0, 40, 8):
            attend(x[:, s : s + 8], mem=x[:, :s] if s else None)
        q, k, v = (
            f(x)[0].unflatten(-1, (4, 8)).transpose(0, 1)
            for f in (attend.to_q, attend.to_k, attend.to_v)
        )
    theirs = torch.cat(fed, 1)[0].unflatten(-1, (4, 8)).transpose(0, 1)
    qkv = engine.QKV(q, k, v, causal=True)
    ours = engine.attend(qkv, "memory_tokens", segment=8, slots=32).output
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@settings(max_examples=25)
@given(st.integers(2, 50), st.integers(1, 12), st.integers(1, 6), st.integers(0, 10_000))
def test_a_slot_never_weighs_more_than_its_keys_would(n, segment, slots, seed):
    """Jensen: against own keys left unmerged, memory's share of a row's mass can only fall."""
    draw = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, 2, n, 4, generator=draw).double().unbind(0)
    qkv = engine.QKV(2 * q, k, v, causal=True)
    own = torch.arange(n)[:, None] // segment == torch.arange(n) // segment
    ours = engine.attend(qkv, "memory_tokens", segment=segment, slots=slots).weights()
    full = engine.attend(qkv, "softmax").weights()
    assert ((ours * ~own).sum(-1) <= (full * ~own).sum(-1) + 1e-9).all()


@pytest.mark.parametrize("change", ["q", "k", "v"])
def test_nothing_leaks_from_the_future(change):
    """Through slots neither: not even from later in the own segment."""
    qkv = made(60)
    later = getattr(qkv, change).clone()
    later[:, 37:] += 5
    a, b = (
        engine.attend(x, "memory_tokens", segment=16, slots=3).output
        for x in (qkv, qkv.replace(**{change: later}))
    )
    assert torch.equal(a[:, :37], b[:, :37])
    assert not torch.equal(a[:, 37:], b[:, 37:])


def test_not_causal_reads_no_later_segment():
    w = engine.attend(made(30, causal=False), "memory_tokens", segment=8, slots=3).weights()
    segment = torch.arange(30) // 8
    assert (w[:, segment[:, None] < segment] == 0).all()
    assert (w[:, segment[:, None] >= segment] > 0).all()
    torch.testing.assert_close(w.sum(-1), torch.ones(4, 30))


def test_keys_that_nobody_may_see_are_in_no_slot():
    mask = torch.rand(60, generator=torch.Generator().manual_seed(0)) < 0.5
    mask[:16] = False
    qkv = made(60, key_mask=mask)
    slots = engine.attend(qkv, "memory_tokens", segment=8, slots=4).view(Memory).slots
    assert slots is not None
    assert (slots.taken[:, ~mask] == -1).all()
    ended = mask[:56].view(7, 8).sum(1).cumsum(0)
    assert slots.held.sum(-1)[:, 1:].tolist() == [ended.tolist()] * 2
    assert (slots.merged[:, 1] == -1).all(), "there was nothing to merge yet"


def test_states_that_are_not_kept_are_folded_anew(monkeypatch):
    qkv = made(60, groups=4)
    whole = engine.attend(qkv, "memory_tokens", segment=4, slots=5)
    monkeypatch.setattr(memory_tokens, "KEPT", 1000)
    thin = engine.attend(qkv, "memory_tokens", segment=4, slots=5)
    assert isinstance(thin, Remembering) and thin.recurrence.stride > 1
    torch.testing.assert_close(thin.output, whole.output)
    torch.testing.assert_close(thin.weights(torch.tensor([50, 3])), whole.weights()[:, [50, 3]])


def test_view_follows_every_slot():
    qkv = made(60, groups=4)
    att = engine.attend(qkv, "memory_tokens", segment=8, slots=3)
    assert isinstance(att, Remembering)
    view = att.view(Memory)
    slots = view.slots
    assert slots is not None and view.length is None
    assert (view.reach[:, 0] == 0).all() and view.reach[:, 1].tolist() == list(range(1, 61))
    labels = [x.clone() for x in ages.holders(slots.taken, slots.merged, 8)]
    for t, held in enumerate(labels):
        for c in range(3):
            members = (held == c).double()
            torch.testing.assert_close(members.sum(-1).float(), slots.held[:, t, c])
    t, g = 4, 2
    before, after = labels[t][g], labels[t + 1][g]
    for c in range(3):
        into = int(slots.merged[g, t, c])
        assert (after[before == c] == into).all()
        a, b = (qkv.k[g, x == y].mean(0) for x, y in ((before, c), (after, into)))
        near = torch.nn.functional.cosine_similarity(a, b, dim=0)
        torch.testing.assert_close(slots.drift[g, t, c], near, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(view.mass.sum(-1), torch.ones(4))


def test_better_than_chance_and_never_perfect():
    draw = torch.Generator().manual_seed(0)
    which = torch.randint(40, (512,), generator=draw)
    clumps = 2 * torch.randn(2, 40, 16, generator=draw)[:, which]
    q, noise, v = torch.randn(3, 2, 512, 16, generator=draw).unbind(0)
    qkv = engine.QKV(q, clumps + noise / 4, clumps + v, causal=True)
    att = engine.attend(qkv, "memory_tokens", segment=32, slots=16)
    fitted = MemoryTokens(segment=32, slots=16).fit(qkv)
    assert att.fidelity is not None and fitted.learned is not None
    assert fitted.learned.fidelity is not None and att.fidelity.measure == "output_error"
    assert (att.fidelity.value < 0.8 * att.fidelity.random).all()
    assert (att.fidelity.value > 0).all()
    full = engine.attend(qkv, "softmax").output
    rows = ages.sample(512)
    error = (att.output - full)[:, rows].norm(dim=(1, 2)) / full[:, rows].norm(dim=(1, 2))
    torch.testing.assert_close(att.fidelity.value, error, atol=1e-5, rtol=1e-4)
    assert torch.equal(fitted.learned.fidelity.value, att.fidelity.value)
    assert torch.equal(fitted.attend(qkv).output, att.output)
    with refused(match="fitted to another layer"):
        _ = fitted.attend(made(40)).output


def test_seeds_are_spread():
    """Three clumps, three slots: one each, whatever their sizes."""
    clumps = torch.tensor([0.0, 50.0, 100.0]).repeat_interleave(torch.tensor([30, 3, 5]))
    points = clumps[None, :, None] + torch.linspace(-1, 1, 38)[None, :, None]
    name = merge(points.double(), torch.ones(1, 38).double(), 3)[0]
    parts = [set(name[a:b].tolist()) for a, b in ((0, 30), (30, 33), (33, 38))]
    assert [len(x) for x in parts] == [1, 1, 1] and set.union(*parts) == {0, 1, 2}


@pytest.mark.parametrize("name", ["mask", "bias"])
def test_refuses_what_a_slot_has_no_position_for(name):
    odd = {
        "mask": lambda rows, cols: torch.ones(len(rows), len(cols), dtype=torch.bool),
        "bias": lambda rows, cols: torch.zeros(4, len(rows), len(cols)),
    }
    with refused(match=name):
        engine.attend(made(20, **{name: odd[name]}), "memory_tokens")


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("n", "m"), [(60, 60), (13, 60), (60, 41)])
def test_flops_of_rows_are_counted_by_pairs(n, m, causal):
    qkv = made(n, m, causal=causal)
    for segment, slots in ((7, 3), (8, 20), (100, 4), (5, 0)):
        pairs, offset = 0, m - n if causal else 0
        for i in range(n):
            begin = (i + offset) // segment * segment
            if i + offset < 0:
                continue
            pairs += min(slots, max(0, min(begin, m)))
            pairs += sum(
                begin <= j < begin + segment and (j <= i + offset or not causal) for j in range(m)
            )
        with FlopCounterMode(display=False) as counter:
            _ = Remembering(qkv, segment, slots, None).recurrence
        expected = 2 * 4 * pairs * 16 + counter.get_total_flops()
        assert MemoryTokens(segment=segment, slots=slots).flops(qkv) == expected


@pytest.mark.parametrize("n", [3, 10, 48, 100])
def test_a_fit_fits_the_layer_that_it_was_made_for(n):
    """Also where no segment has ended, or the keys so far are fewer than the slots."""
    qkv = engine.sources.planted(n=n, heads=2, dim=8)
    fitted = engine.make("memory_tokens", segment=4 if n < 48 else 64).fit(qkv)
    torch.testing.assert_close(
        fitted.attend(qkv).output, engine.attend(qkv, fitted).output, rtol=0, atol=0
    )
