"""Keys picked by an index: by hand, against other mechanisms, and the index's own fit."""

from __future__ import annotations

import pytest
import torch

import engine
from engine.contract import QKV
from engine.contract.views import Index, Routing
from engine.mechanisms import indexer
from tests import oracle


def made(n: int = 40, heads: int = 2, d: int = 8, seed: int = 0, **more) -> QKV:
    draw = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(heads, n, d, generator=draw, dtype=torch.float64) for _ in range(3))
    return QKV(2 * q, k, v, **more)


def test_by_hand():
    """Scores 1, 3, 2, 0: the last query reads itself and key 1; the second of two blocks its own
    and the first."""
    q = torch.ones(1, 4, 1, dtype=torch.float64)
    k = torch.tensor([[[1.0], [3], [2], [0]]], dtype=torch.float64)
    qkv = QKV(q, k, k, causal=True, scale=1.0)
    w = engine.attend(qkv, "indexer", score="max", top_k=2).weights()[0]
    expected = torch.tensor([0, 3.0]).softmax(0)  # of keys 3 and 1
    torch.testing.assert_close(w[3], torch.stack([w.new_zeros(()), expected[1], w.new_zeros(()),
                                                  expected[0]]))  # fmt: skip
    assert torch.equal(w[0], torch.tensor([1.0, 0, 0, 0], dtype=torch.float64))
    blocks = engine.attend(qkv, "indexer", score="max", block=2, top_k=2)
    torch.testing.assert_close(blocks.weights(), engine.attend(qkv, "softmax").weights())


@pytest.mark.parametrize("score", indexer.SCORES)
def test_with_blocks_enough_it_is_softmax(score):
    qkv = made(causal=True)
    for block, top_k in ((1, 40), (7, 6)):
        att = engine.attend(qkv, "indexer", score=score, block=block, top_k=top_k)
        torch.testing.assert_close(att.weights(), oracle.softmax(qkv))


@pytest.mark.parametrize("causal", [False, True])
def test_by_mean_keys_it_is_moba(causal):
    qkv = made(causal=causal, key_mask=torch.arange(40) % 5 != 1)
    own = engine.attend(qkv, "indexer", score="mean", block=6, top_k=3)
    other = engine.attend(qkv, "moba", block=6, top_k=3)
    torch.testing.assert_close(own.weights(), other.weights())
    torch.testing.assert_close(own.output, other.output)
    assert torch.equal(own.view(Routing).choices, other.view(Routing).choices)


def test_bounds_hold_every_key_of_a_block():
    """Quest's promise: no key of a block scores above the block's bound; of one key it is its
    score."""
    qkv = made()
    z = oracle.logits(qkv)
    rows = torch.arange(qkv.n)
    gate = indexer.Indexer("bounds", 5).gate(qkv, None)(rows, 8)
    assert (gate + 1e-9 >= z.unflatten(-1, (8, 5)).amax(-1)).all()
    torch.testing.assert_close(indexer.Indexer("bounds").gate(qkv, None)(rows, 40), z)


def test_a_wide_index_finds_what_the_scores_would():
    """As wide as the queries, the start is the score itself but for what a row shares."""
    qkv = made(causal=True)
    att = engine.attend(qkv, "indexer", width=8, top_k=5)
    best = engine.attend(qkv, "indexer", score="max", top_k=5)
    assert float((att.view(Index).found - best.view(Index).found).abs().mean()) < 0.01
    assert float((att.view(Index).lost - best.view(Index).lost).abs().mean()) < 0.01
    narrow = engine.attend(qkv, "indexer", width=1, top_k=5)
    assert att.fidelity and narrow.fidelity
    assert (att.fidelity.value > narrow.fidelity.value).all()
    assert (narrow.fidelity.value > narrow.fidelity.random).all()


def test_the_divergence_and_its_gradient():
    draw = torch.Generator().manual_seed(1)
    q, k = (torch.randn(2, n, 5, generator=draw, dtype=torch.float64) for n in (6, 9))
    seen = torch.rand(6, 9, generator=draw) > 0.3
    seen[2] = False
    target = torch.rand(2, 6, 9, generator=draw, dtype=torch.float64) * seen
    target = target / target.sum(-1, keepdim=True).clamp_min(1e-9)
    weights = {n: x.requires_grad_() for n, x in indexer.random(2, 5, 3, draw).items()}
    loss, slope = indexer.divergence(q, k, target, seen, weights)
    a, b, w = weights.values()
    index = (torch.einsum("hucd,hrd,hce,hme->hurm", a, q, b, k).relu() * w[..., None, None]).sum(1)
    rows = torch.tensor([0, 1, 3, 4, 5])
    log = index.masked_fill(~seen, -torch.inf)[:, rows].log_softmax(-1)
    expected = torch.nn.functional.kl_div(
        log.masked_fill(~seen[rows], 0), target[:, rows], reduction="none"
    )
    torch.testing.assert_close(loss, expected.sum(-1).mean(-1))
    loss.sum().backward()
    for name, x in weights.items():
        torch.testing.assert_close(slope[name], x.grad)


def test_the_fit_never_ends_above_its_start():
    qkv = made(n=60, d=16, causal=True)
    chance = indexer.random(2, 16, 2, torch.Generator().manual_seed(0))
    found = indexer.fitted(qkv, 2, chance)
    full, seen = oracle.softmax(qkv), oracle.allowed(qkv)
    loss = indexer.divergence(qkv.q, qkv.k, full, seen, found)[0]
    chosen = indexer.STEPS
    indexer.STEPS = 0
    start = indexer.fitted(qkv, 2, chance)
    indexer.STEPS = chosen
    assert (loss < indexer.divergence(qkv.q, qkv.k, full, seen, start)[0]).all()


def test_its_view_measures_what_is_missed():
    qkv = made(causal=True)
    att = engine.attend(qkv, "indexer", score="max", block=4, top_k=3)
    view, full = att.view(Index), oracle.softmax(qkv)
    inside = att.weights() > 0
    torch.testing.assert_close(view.lost, (full * ~inside).sum(-1).float())
    for h, i in ((0, 7), (1, 39)):
        read = inside[h, i].nonzero()[:, 0].tolist()
        largest = full[h, i].topk(len(read)).indices.tolist()
        share = len(set(read) & set(largest)) / len(read)
        assert float(view.found[h, i]) == pytest.approx(share)
    assert (view.score(torch.tensor([5]))[..., 2:] == -torch.inf).all()


def test_gathered_keys_are_those_of_the_mask():
    """A text so long that a row's keys are gathered gives what a bias of nothing, which keeps it
    from that, gives."""
    qkv = made(n=70, heads=4, causal=True, sinks=torch.arange(4).double(), softcap=3.0,
               key_mask=torch.arange(70) % 7 > 0)  # fmt: skip
    qkv = qkv.replace(k=qkv.k[:2], v=qkv.v[:2])
    few = engine.attend(qkv, "indexer", score="max", block=3, top_k=4)
    zero = qkv.replace(bias=lambda rows, cols: torch.zeros(4, len(rows), len(cols)))
    whole = engine.attend(zero, "indexer", score="max", block=3, top_k=4)
    assert few.few and not whole.few
    torch.testing.assert_close(few.weights(), whole.weights())
    torch.testing.assert_close(few.output, whole.output)
