"""MoBA against its formula, row by row, and against SDPA in its exact limits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import engine
from engine.contract.views import Routing
from engine.kernels import patterns
from engine.kernels.composed import Composed
from engine.mechanisms.moba import MoBA
from tests import oracle


def made(n: int = 70, groups: int = 2, causal: bool = True, m: int | None = None, **more):
    draw = torch.Generator().manual_seed(n)
    m = m or n
    q = torch.randn(4, n, 8, generator=draw)
    k, v = torch.randn(2, groups, m, 8, generator=draw).unbind(0)
    return engine.QKV(q, k, v, causal=causal, **more)


def chosen(qkv: engine.QKV, block: int, top_k: int) -> Tensor:
    """(h n m) keys of the chosen blocks, from the formula, in plain loops."""
    count = -(-qkv.m // block)
    seen = [True] * qkv.m if qkv.key_mask is None else qkv.key_mask.tolist()
    queries, keys = qkv.q.double().numpy(), qkv.k.double().numpy()
    found = torch.zeros(qkv.heads, qkv.n, qkv.m, dtype=torch.bool)
    for h in range(qkv.heads):
        k = keys[h // (qkv.heads // qkv.groups)]
        for i in range(qkv.n):
            at = i + (qkv.m - qkv.n if qkv.causal else 0)
            own = min(max(at, 0) // block, count - 1)
            gate = []
            for b in range(count):
                inside = [j for j in range(b * block, min((b + 1) * block, qkv.m)) if seen[j]]
                if b != own and inside and (b < own or not qkv.causal):
                    gate.append((-float(queries[h, i] @ k[inside].mean(0)), b))
            for b in [own] + [b for _, b in sorted(gate)[: top_k - 1]]:
                found[h, i, b * block : (b + 1) * block] = True
    return found


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("more", ["plain", "key_mask", "sinks", "softcap", "mask", "bias"])
@pytest.mark.parametrize(("block", "top_k"), [(8, 3), (16, 2), (7, 1), (1, 5)])
def test_is_its_formula(block, top_k, more, causal):
    draw = torch.Generator().manual_seed(1)
    extra = {
        "plain": {},
        "key_mask": {"key_mask": torch.rand(70, generator=draw) < 0.6},
        "sinks": {"sinks": torch.randn(4, generator=draw)},
        "softcap": {"softcap": 1.5},
        "mask": {"mask": lambda rows, cols: (rows[:, None] + cols) % 3 > 0},
        "bias": {
            "bias": lambda rows, cols: (
                -0.1 * (rows[:, None] - cols).abs().float().expand(4, -1, -1)
            )
        },
    }[more]
    qkv = made(causal=causal, **extra)
    expected = oracle.softmax(qkv, pattern=chosen(qkv, block, top_k))
    att = engine.attend(qkv, "moba", block=block, top_k=top_k)
    torch.testing.assert_close(att.weights().double(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        att.output.double(), oracle.output(expected, qkv), atol=2e-6, rtol=1e-5
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("m", [40, 70, 95])
def test_queries_and_keys_may_differ_in_number(m, causal):
    qkv = made(causal=causal, m=m)
    expected = oracle.softmax(qkv, pattern=chosen(qkv, 16, 2))
    att = engine.attend(qkv, "moba", block=16, top_k=2)
    torch.testing.assert_close(att.weights().double(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        att.output.double(), oracle.output(expected, qkv), atol=2e-6, rtol=1e-5
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("top_k", [5, 9, 1000])
def test_all_blocks_are_full_attention(top_k, causal):
    qkv = made(groups=4, causal=causal)
    att = engine.attend(qkv, "moba", block=16, top_k=top_k)
    full = F.scaled_dot_product_attention(qkv.q, qkv.k, qkv.v, is_causal=causal)
    torch.testing.assert_close(att.output, full, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_one_block_is_segmented_attention(causal):
    qkv = made(groups=4, causal=causal)
    segment = torch.arange(70) // 16
    same = segment[:, None] == segment
    if causal:
        same &= torch.ones(70, 70).tril().bool()
    expected = F.scaled_dot_product_attention(qkv.q, qkv.k, qkv.v, attn_mask=same)
    att = engine.attend(qkv, "moba", block=16, top_k=1)
    torch.testing.assert_close(att.output, expected, atol=2e-6, rtol=1e-5)


def test_by_hand_own_block_stays_and_ties_go_to_the_first():
    """Four blocks of two keys; the query points along axis 0."""
    k = torch.zeros(1, 8, 2)
    k[0, 0:2, 0], k[0, 2:4, 0], k[0, 4:6, 0], k[0, 6:8, 0] = 1.0, 2.0, 2.0, -9.0
    q = torch.tensor([[1.0, 0.0]]).expand(1, 8, 2)
    qkv = engine.QKV(q, k, torch.eye(8)[None])
    view = engine.attend(qkv, "moba", block=2, top_k=2).view(Routing)
    assert view.choices is not None
    assert view.choices[0, 7].tolist() == [1, 3], "own block is worst but in; of a tie, the first"
    assert view.choices[0, 2].tolist() == [1, 2]
    assert view.load[0].tolist() == [0.25, 1.0, 0.5, 0.25]
    past = engine.attend(qkv.replace(causal=True), "moba", block=2, top_k=3).view(Routing)
    assert past.choices is not None
    assert past.choices[0, 1].tolist() == [0, -1, -1]
    assert past.choices[0, 7].tolist() == [1, 2, 3]


def test_a_block_of_hidden_keys_is_never_chosen():
    mask = torch.ones(70, dtype=torch.bool)
    mask[16:32] = False
    view = engine.attend(made(causal=False, key_mask=mask), "moba", block=16, top_k=3).view(
        Routing
    )
    assert view.choices is not None
    outside = (torch.arange(70) // 16) != 1
    assert not (view.choices[:, outside] == 1).any()


def test_nothing_leaks_from_the_future():
    qkv = made(90)
    later = [x.clone() for x in (qkv.q, qkv.k, qkv.v)]
    for x in later:
        x[:, 50:] *= -7
    changed = qkv.replace(q=later[0], k=later[1], v=later[2])
    a, b = (engine.attend(x, "moba", block=8, top_k=3) for x in (qkv, changed))
    torch.testing.assert_close(a.output[:, :50], b.output[:, :50])
    ours, theirs = a.view(Routing).choices, b.view(Routing).choices
    assert ours is not None and theirs is not None and torch.equal(ours[:, :50], theirs[:, :50])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gathered_output_equals_its_dense_twin(dtype):
    qkv = made(700, m=700).to(dtype=dtype)
    att = engine.attend(qkv, "moba", block=32, top_k=4)
    plain = Composed(qkv, patterns.Blocks.of(qkv, 32, 4)).output
    near = 2e-6 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(att.output, plain, atol=near, rtol=near)


@pytest.mark.parametrize(("causal", "n", "m"), [(True, 70, 70), (True, 40, 61), (False, 64, 64)])
def test_flops_are_pairs_counted(causal, n, m):
    qkv = made(n, causal=causal, m=m)
    pairs = int((engine.attend(qkv, "moba", block=16, top_k=3).weights() > 0).sum()) // 4
    gate = n * -(-m // 16) * 8
    assert MoBA(block=16, top_k=3).flops(qkv) == 2 * 4 * (gate + pairs * 16)
