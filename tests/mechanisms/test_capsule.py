"""Routing by agreement against the paper's procedure with whole vectors and matrices."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import engine
from engine.contract import Layer
from engine.contract.learned import Learned
from engine.contract.views import Routing
from engine.mechanisms.capsule import Capsule, agree, children
from tests import oracle


def made(n: int = 40, groups: int = 2, causal: bool = True, **more):
    draw = torch.Generator().manual_seed(n)
    q = torch.randn(4, n, 8, generator=draw)
    k, v = torch.randn(2, groups, n, 8, generator=draw).unbind(0)
    return engine.QKV(q, k, v, causal=causal, **more)


def routed(u: Tensor, directions: Tensor, iterations: int) -> tuple[list[Tensor], Tensor]:
    """arXiv 1710.09829, one token u (h D): couplings of each step, and capsules (J D)."""
    count = len(directions)
    matrices = [count * torch.outer(p, p) for p in directions]
    said = [[w @ child for w in matrices] for child in u]
    b = torch.zeros(len(u), count, dtype=torch.float64)
    steps, v = [], torch.zeros(count, u.shape[1], dtype=torch.float64)
    for _ in range(iterations):
        c = torch.stack([row.exp() / row.exp().sum() for row in b])  # over parents
        steps.append(c)
        for j in range(count):
            s = sum(c[i, j] * said[i][j] for i in range(len(u)))
            length = s.norm()
            v[j] = length**2 / (1 + length**2) * s / length
        for i in range(len(u)):
            for j in range(count):
                b[i, j] = b[i, j] + said[i][j] @ v[j]
    return steps, v


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_is_the_papers_procedure(iterations, mixed):
    draw = torch.Generator().manual_seed(2)
    layer = Layer(w_o=torch.randn(12, 32, generator=draw)) if mixed else None
    qkv = made(layer=layer)
    mechanism = Capsule(capsules=3, iterations=iterations).fit(qkv)
    directions = mechanism.learned.weights["directions"]
    att = mechanism.attend(qkv)
    view = att.view(Routing)
    full = oracle.softmax(qkv)
    out = oracle.output(full, qkv)
    if layer is not None:
        out = torch.stack([out[h] @ layer.w_o[:, 8 * h : 8 * h + 8].double().T for h in range(4)])
    # of unit length by the tokens so far, since a causal row knows no others
    so_far = [out[:, : i + 1].square().sum(-1).mean().sqrt() for i in range(qkv.n)]
    u = (out / torch.stack(so_far)[:, None]).transpose(0, 1)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(3, dtype=torch.float64))
    for i in range(qkv.n):
        steps, v = routed(u[i], directions, iterations)
        torch.testing.assert_close(
            view.iterations[:, :, i], torch.stack(steps), atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(view.presence[i], v.norm(dim=1), atol=1e-5, rtol=1e-5)
        share = steps[-1] @ v.norm(dim=1)
        torch.testing.assert_close(
            att.weights()[:, i].double(), full[:, i] * share[:, None], atol=1e-5, rtol=1e-4
        )


def test_couplings_are_even_at_first_and_sum_to_1_over_parents():
    view = engine.attend(made(), "capsule", capsules=5, iterations=4).view(Routing)
    steps = view.iterations
    assert steps is not None and steps.shape == (4, 4, 40, 5)
    torch.testing.assert_close(steps[0], torch.full_like(steps[0], 1 / 5))
    torch.testing.assert_close(steps.sum(-1), torch.ones_like(steps[..., 0]))
    assert not torch.allclose(steps.sum(1), torch.full_like(steps[:, 0], 4 / 5)), "not over heads"
    first = -(steps[0] * steps[0].log()).sum(-1)
    torch.testing.assert_close(first, torch.full_like(first, log(5)))


def test_by_hand_the_head_that_nobody_supports_is_turned_down():
    """Three heads say e1, one says −e1 to the same capsule: it loses coupling and mass."""
    u = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]], dtype=torch.float64)
    directions = torch.eye(2, dtype=torch.float64)
    steps, presence = agree(u, directions, 2)
    # step 1: couplings 1/2, predictions ±2, s = (3 − 1)/2 · 2 = 2, v = 4/5; then b = ±8/5
    yes = torch.tensor([1.6, 0.0]).softmax(0)[0].double()
    no = torch.tensor([-1.6, 0.0]).softmax(0)[0].double()
    torch.testing.assert_close(
        steps[1, :, 0, 0], torch.stack([yes, yes, yes, no]), atol=1e-7, rtol=0
    )
    s = 2 * (3 * yes - no)
    torch.testing.assert_close(presence[0], torch.stack([s**2 / (1 + s**2), s * 0]))


@pytest.mark.parametrize("causal", [False, True])
def test_rows_are_full_attention_scaled_between_0_and_1(causal):
    qkv = made(groups=4, causal=causal)
    att = engine.attend(qkv, "capsule")
    share = att.weights().sum(-1)
    assert att.row_kind == "substochastic" and (share > 0).all() and (share < 1).all()
    full = F.scaled_dot_product_attention(qkv.q, qkv.k, qkv.v, is_causal=causal)
    torch.testing.assert_close(att.output, full * share[..., None], atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(att.fidelity.value, share.mean(1), atol=1e-5, rtol=1e-5)


def test_one_capsule_takes_every_head_whole():
    view = engine.attend(made(), "capsule", capsules=1, iterations=5).view(Routing)
    assert (view.iterations == 1).all()


def test_capsules_are_never_longer_than_1():
    u = 1e3 * torch.randn(5, 4, 6, dtype=torch.float64)
    _, presence = agree(u, F.normalize(torch.randn(3, 6, dtype=torch.float64), dim=1), 6)
    assert (presence <= 1).all() and torch.isfinite(presence).all()


def test_children_have_one_unit_of_length_whatever_the_values():
    qkv = made(causal=False)
    a, b = (children(qkv, s * engine.attend(qkv, "softmax").output) for s in (1, 50))
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(a.square().sum(-1).mean(), torch.tensor(1.0, dtype=torch.float64))


def test_what_comes_later_changes_no_earlier_row():
    qkv = made(causal=True)
    later = qkv.v.clone()
    later[:, 30:] *= 50
    fitted = engine.make("capsule").fit(qkv)
    before, after = (fitted.attend(x).weights() for x in (qkv, replace(qkv, v=later)))
    torch.testing.assert_close(before[:, :30], after[:, :30])
    assert not torch.allclose(before[:, 30:], after[:, 30:])


def test_rows_that_see_nothing_stay_zero():
    mask = torch.arange(40) > 5
    att = engine.attend(made(key_mask=mask), "capsule")
    assert (att.output[:, :6] == 0).all() and torch.isfinite(att.output).all()
    assert (att.view(Routing).presence[:6] == 0).all()


def test_a_given_fit_is_used():
    qkv = made()
    given = torch.eye(8, dtype=torch.float64)[:2]
    att = Capsule(capsules=2, learned=Learned({"directions": given})).attend(qkv)
    u = children(qkv, engine.attend(qkv, "softmax").output)
    steps, presence = agree(u, given, 3)
    torch.testing.assert_close(att.view(Routing).presence, presence)
    torch.testing.assert_close(att.view(Routing).iterations, steps)


def test_seeds():
    a, b, c = (engine.attend(made(), "capsule", seed=s).output for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_flops_are_what_is_multiplied():
    qkv = made(causal=False)
    full = 2 * 4 * 40 * 40 * 16
    # projections of 8 numbers on 3 directions, 2 sums and 1 agreement, and the lengths
    assert Capsule(capsules=3, iterations=2).flops(qkv) == full + 2 * 4 * 40 * 3 * (8 + 2 + 1 + 1)
    mixed = qkv.replace(layer=Layer(w_o=torch.randn(12, 32)))
    expected = full + 2 * 4 * 40 * (8 * 12 + 3 * (12 + 2 + 1 + 1))
    assert Capsule(capsules=3, iterations=2).flops(mixed) == expected
