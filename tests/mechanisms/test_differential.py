"""The second version of differential attention: pairs of query heads on the same keys."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

import engine
from engine.contract import QKV, Layer, Learned
from engine.mechanisms.differential import Differential
from tests import oracle

close = torch.testing.assert_close
SECOND = Differential(version="2")


def made(heads: int = 6, groups: int = 3, n: int = 40, d: int = 7) -> QKV:
    draw = torch.Generator().manual_seed(0)
    q = torch.randn(heads, n, d, generator=draw, dtype=torch.float64)
    k, v = (torch.randn(groups, n, d, generator=draw, dtype=torch.float64) for _ in range(2))
    return QKV(2 * q, k, v, causal=True)


def test_it_is_the_authors_formula():
    """Twice as many query heads as outputs, each pair on one key head: the even ones' attention
    less σ(λ) times the odd ones', by torch's own attention with grouped keys."""
    qkv, draw = made(), torch.Generator().manual_seed(1)
    x, w = (torch.randn(a, 5, generator=draw, dtype=torch.float64) for a in (40, 6))
    b = torch.randn(6, generator=draw, dtype=torch.float64)
    whole = F.scaled_dot_product_attention(
        qkv.q[None], qkv.k[None], qkv.v[None], is_causal=True, enable_gqa=True
    )[0]
    share = torch.sigmoid(x @ w[::2].mT + b[::2]).mT[..., None]
    expected = whole[0::2] - share * whole[1::2]
    learned = Learned({"w_lambda": w, "b_lambda": b})
    att = replace(SECOND, learned=learned).attend(qkv.replace(layer=Layer(x=x)))
    close(att.output[::2], expected)
    close(oracle.output(att.weights(), qkv)[::2], expected)


def test_with_equal_neighbours_a_share_is_left():
    """And with no neighbour a head is its own."""
    qkv = made()
    same = qkv.replace(q=qkv.q[:1].expand(6, -1, -1).contiguous())
    close(SECOND.attend(same).weights(), engine.attend(same, "softmax").weights() / 2)
    one = qkv.head(3)
    close(SECOND.attend(one).weights(), engine.attend(one, "softmax").weights() / 2)


def test_a_head_alone_differs_from_itself_among_others_only_by_its_neighbour():
    qkv = made(heads=4, groups=4)
    w = Differential(lambda_=0.3, version="2").attend(qkv).weights()
    for head, other in enumerate((1, 0, 3, 2)):
        near = oracle.softmax(qkv.replace(q=qkv.q[[other] * 4]))[head]
        close(w[head], oracle.softmax(qkv)[head] - 0.3 * near)
