"""Three branches under gates: by hand, each alone, and the fit of the gates."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import engine
from engine.contract import QKV, Learned
from engine.contract.views import Parts
from engine.mechanisms import nsa
from engine.mechanisms.nsa import NSA
from tests import oracle
from tests.refusals import refused


def made(n: int = 40, heads: int = 2, d: int = 8, seed: int = 0, **more) -> QKV:
    draw = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(heads, n, d, generator=draw, dtype=torch.float64) for _ in range(3))
    return QKV(2 * q, k, v, **more)


def gated(b: list[float], **more) -> NSA:
    """With gates of σ(b) for every row of two heads."""
    weights = {"w_gate": torch.zeros(2, 3, 8), "b_gate": torch.tensor([b, b])}
    return replace(NSA(**more), learned=Learned(weights))


def test_by_hand():
    """Keys 0, 2, 4, 6 in blocks of two, q = 1: the last row's means are 1 and 5; it reads its own
    block key by key, and itself."""
    q = torch.ones(1, 4, 1, dtype=torch.float64)
    k = torch.tensor([[[0.0], [2], [4], [6]]], dtype=torch.float64)
    qkv = QKV(q, k, k, causal=True, scale=1.0)
    w = engine.attend(qkv, "nsa", block=2, top_k=1, window=1, gate="even").weights()[0]
    means = torch.tensor([1.0, 5]).softmax(0).double()
    own = torch.tensor([4.0, 6]).softmax(0).double()
    expected = torch.cat([means[:1] / 2, means[:1] / 2, means[1:] / 2 + own[:1],
                          means[1:] / 2 + own[1:] + 1]) / 3  # fmt: skip
    torch.testing.assert_close(w[3], expected, atol=1e-7, rtol=1e-6)
    # no block is complete at the first row: its own block and itself alone
    torch.testing.assert_close(w[0, 0], torch.tensor(2 / 3, dtype=torch.float64))


SHUT, OPEN = -800.0, 60.0


@pytest.mark.parametrize("causal", [False, True])
def test_each_branch_alone_is_a_mechanism(causal):
    qkv = made(causal=causal, key_mask=torch.arange(40) % 5 > 0)
    more = {"block": 6, "top_k": 3, "window": 7}
    found = gated([SHUT, OPEN, SHUT], **more).attend(qkv)
    torch.testing.assert_close(
        found.weights(), engine.attend(qkv, "moba", block=6, top_k=3).weights()
    )
    found = gated([SHUT, SHUT, OPEN], **more).attend(qkv)
    near = engine.attend(qkv, "window", window=7, sinks=0)
    torch.testing.assert_close(found.weights(), near.weights())
    torch.testing.assert_close(found.output, near.output)
    if not causal:
        found = gated([OPEN, SHUT, SHUT], **more).attend(qkv)
        pooled = torch.zeros(2, 40, 40, dtype=torch.float64)
        for row in range(40):  # softmax over the means of visible keys, shared out evenly
            blocks = [[j for j in range(a, min(a + 6, 40)) if j % 5] for a in range(0, 40, 6)]
            z = torch.stack([qkv.q[:, row] @ qkv.k[:, js].mean(1).mT for js in blocks], -1)
            z = z.diagonal(dim1=0, dim2=1).mT * qkv.factor  # (h b)
            for js, share in zip(blocks, z.softmax(-1).unbind(-1), strict=True):
                pooled[:, row, js] = share[:, None] / len(js)
        torch.testing.assert_close(found.weights(), pooled)


def test_with_one_token_a_block_and_all_of_them_it_is_softmax():
    qkv = made(causal=True)
    att = engine.attend(qkv, "nsa", block=1, top_k=40, window=40, gate="even")
    torch.testing.assert_close(att.weights(), oracle.softmax(qkv))


def test_its_parts_are_the_branches_times_their_gates():
    qkv = made(causal=True)
    att = gated([0.0, 1.0, -1.0], block=6, top_k=2, window=5).attend(qkv)
    view, rows = att.view(Parts), torch.tensor([3, 30])
    assert view.shares is not None
    torch.testing.assert_close(view.shares[0, 0], torch.tensor([0.0, 1.0, -1.0]).sigmoid())
    total = sum(part(rows) for part in view.maps.values())
    torch.testing.assert_close(total, att.weights(rows))
    assert att.row_kind == "positive"  # 0.5 + 0.73 + 0.27
    assert engine.attend(qkv, "nsa", gate="even").row_kind == "substochastic"


def test_gates_are_the_nearest_in_their_range():
    """Against a search over a grid; where a branch is the whole, its gate is 1."""
    draw = torch.Generator().manual_seed(2)
    parts = torch.rand(1, 3, 5, 7, generator=draw, dtype=torch.float64)
    full = 0.2 * parts[:, 0] + 0.9 * parts[:, 1] - 0.4 * parts[:, 2]
    found = nsa.nearest(parts, full)[0]
    axis = torch.linspace(0, 1, 41, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis, axis)
    off = (torch.einsum("gp,prm->grm", grid, parts[0]) - full).square().sum((1, 2))
    torch.testing.assert_close(found, grid[off.argmin()], atol=0.03, rtol=0)
    own = nsa.nearest(parts, parts[:, 1])[0]
    torch.testing.assert_close(own, torch.tensor([0, 1, 0]).double(), atol=0.02, rtol=0)


def test_fitted_gates_come_nearer_than_even_ones():
    qkv = made(n=64, causal=True)
    fitted, even = (engine.attend(qkv, "nsa", block=8, gate=x) for x in ("fitted", "even"))
    full = oracle.softmax(qkv)
    assert (fitted.weights() - full).square().sum() < (even.weights() - full).square().sum()
    assert fitted.fidelity is not None
    assert (fitted.fidelity.value < fitted.fidelity.random).all()


def test_what_stands_at_no_one_position_takes_no_bias():
    with refused(match="can't use bias: its compressed keys"):
        engine.attend(made(bias=lambda rows, cols: torch.zeros(2, len(rows), len(cols))), "nsa")
