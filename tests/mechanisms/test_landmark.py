"""Landmarks: by hand, as the paper's grouped softmax, and where it is softmax."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest
import torch

import engine
from engine.contract import QKV, Learned
from engine.contract.views import Levels
from engine.mechanisms.landmark import Landmark
from tests import oracle
from tests.refusals import refused

close = torch.testing.assert_close


def made(n: int = 45, heads: int = 2, **more) -> QKV:
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(heads, n, 8, generator=draw, dtype=torch.float64) for _ in range(3))
    return QKV(2 * q, k, v, **{"causal": True, **more})


def test_by_hand():
    """Keys 0, 2 | 1, 3, q = 1: at the last row the first block's landmark is 1 + ln 2 beside 1 and
    3, and inside it the weights are those of 0 and 2."""
    k = torch.tensor([[[0.0], [2], [1], [3]]], dtype=torch.float64)
    qkv = QKV(torch.ones(1, 4, 1, dtype=torch.float64), k, k, causal=True, scale=1.0)
    w = engine.attend(qkv, "landmark", block=2).weights()[0]
    top = torch.tensor([1 + log(2), 1, 3]).softmax(0).double()
    inside = torch.tensor([0.0, 2]).softmax(0).double()
    close(w[3], torch.cat([top[0] * inside, top[1:]]), atol=1e-7, rtol=1e-6)


def grouped(qkv: QKV, landmarks: torch.Tensor, size: int) -> torch.Tensor:
    """The paper's grouped softmax over a text with a landmark token after each block: tokens of
    one block are a group, but the row's own with all landmarks; a token's weight is that in its
    group times its landmark's. Row by row, key by key. landmarks: (h b) logits' keys."""
    h, n, _ = qkv.q.shape
    out = torch.zeros(h, n, n, dtype=torch.float64)
    for a in range(h):
        for i in range(n):
            own = i // size
            z = (qkv.q[a, i] @ qkv.k[a].mT) * qkv.factor
            first = [("token", j, z[j]) for j in range(own * size, i + 1)]
            first += [("mark", b, landmarks[a, i, b]) for b in range(own)]
            total = sum(x.exp() for *_, x in first)
            for kind, j, x in first:
                if kind == "token":
                    out[a, i, j] = x.exp() / total
                    continue
                keys = range(j * size, (j + 1) * size)
                inside = sum(z[c].exp() for c in keys)
                for c in keys:
                    out[a, i, c] = x.exp() / total * z[c].exp() / inside
    return out


def test_it_is_the_papers_grouped_softmax():
    """With landmarks at the mean key, and what training adds to them."""
    qkv, size = made(), 6
    blocks = -(-45 // size)
    bias = torch.tensor([0.3, -1.2], dtype=torch.float64)
    mean = torch.stack([qkv.k[:, b * size : (b + 1) * size].mean(1) for b in range(blocks)], 1)
    marks = qkv.q @ mean.mT * qkv.factor + bias[:, None, None]
    trained = replace(Landmark(block=size), learned=Learned({"bias": bias}))
    close(trained.attend(qkv).weights(), grouped(qkv, marks, size))
    whole = qkv.q @ mean.mT * qkv.factor + log(size)
    close(Landmark(block=size).attend(qkv).weights(), grouped(qkv, whole, size))


@pytest.mark.parametrize("causal", [False, True])
def test_where_it_is_softmax(causal):
    """Landmarks that say all of a block; blocks of one token; one block."""
    qkv = made(causal=causal, key_mask=torch.arange(45) % 7 > 0, sinks=torch.randn(2))
    expected = engine.attend(qkv, "softmax").weights()
    for more in ({"aggregate": "logsumexp", "block": 6}, {"block": 1}, {"block": 64}):
        att = engine.attend(qkv, "landmark", **more)
        close(att.weights(), expected)
        close(att.output, engine.attend(qkv, "softmax").output)


def test_a_few_blocks_are_read_and_rows_sum_to_one():
    """The best landmarks and the own block; as many as there are make no difference."""
    qkv = made()
    few = engine.attend(qkv, "landmark", block=5, top_k=2, aggregate="logsumexp").weights()
    full = oracle.softmax(qkv)
    close(few.sum(-1), torch.ones(2, 45).double())
    blocks = few.unflatten(-1, (-1, 5)).sum(-1)
    assert ((blocks > 0).sum(-1) <= 3).all() and ((blocks[:, 20:] > 0).sum(-1) == 3).all()
    mass = full[:, 44].unflatten(-1, (-1, 5)).sum(-1)[:, :8]
    read = (blocks[:, 44, :8] > 0).nonzero()[:, 1].unflatten(0, (2, 2))
    assert (read == mass.topk(2).indices.sort().values).all()
    every = engine.attend(qkv, "landmark", block=5, top_k=9).weights()
    close(every, engine.attend(qkv, "landmark", block=5).weights())


def test_equal_keys_get_equal_weights_and_a_needle_what_its_block_shows_of_it():
    """A needle `gap` ahead in a block of b: its landmark sees gap / b of it, in closed form."""
    n, b, gap = 64, 8, 6.0
    k = torch.zeros(1, n, 1, dtype=torch.float64)
    qkv = QKV(torch.ones(1, n, 1, dtype=torch.float64), k, k, causal=True, scale=1.0)
    close(Landmark(block=b).attend(qkv).weights()[0, -1], torch.full((n,), 1 / n).double())
    k = k.clone()
    k[0, 10] = gap
    mark = torch.tensor(b * 2.718281828459045 ** (gap / b)).double()
    expected = (
        mark
        / (mark + n - b)
        * torch.tensor(gap).double().exp()
        / (torch.tensor(gap).double().exp() + b - 1)
    )
    close(Landmark(block=b).attend(qkv.replace(k=k)).weights()[0, -1, 10], expected)
    assert Landmark().needle_mass(64, gap) is None
    whole = Landmark(aggregate="logsumexp").needle_mass(64, gap)
    assert whole == pytest.approx(float(engine.make("softmax").needle_mass(64, gap)))


def test_weights_are_the_products_down_the_view():
    qkv = made()
    att = engine.attend(qkv, "landmark", block=7)
    view, rows = att.view(Levels), torch.tensor([44, 3])
    blocks, tokens = view.within(rows).values()
    close(blocks.repeat_interleave(7, -1)[..., :45] * tokens, att.weights(rows))
    close(blocks.sum(-1), torch.ones(2, 2).double())
    assert list(view.units) == ["blocks", "tokens"]


def test_what_stands_at_no_one_position_takes_no_bias():
    with refused(match="can't use bias: its landmarks"):
        Landmark().attend(made(bias=lambda rows, cols: torch.zeros(2, len(rows), len(cols))))
