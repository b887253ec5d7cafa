"""Forgetting attention: by hand, at its limits, against another package, and what it reads."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest
import torch
from x_transformers.x_transformers import DataDependentAlibi

import engine
from engine.contract import Layer, Learned
from engine.contract.views import Bias
from engine.mechanisms.forgetting import Forgetting
from tests import oracle
from tests.refusals import refused

close = torch.testing.assert_close


def made(n: int = 40, heads: int = 4, groups: int = 2) -> engine.QKV:
    draw = torch.Generator().manual_seed(1)
    q = torch.randn(heads, n, 8, generator=draw, dtype=torch.float64)
    k, v = (torch.randn(groups, n, 8, generator=draw, dtype=torch.float64) for _ in range(2))
    return engine.QKV(q, k, v, causal=True)


def gated(qkv: engine.QKV, seed: int = 0, width: int = 6) -> tuple[engine.QKV, Forgetting]:
    """With a layer's input of unequal lengths, and gates as if trained."""
    draw = torch.Generator().manual_seed(seed)
    x, w = (torch.randn(a, width, generator=draw).double() for a in (qkv.n, qkv.heads))
    b = torch.randn(qkv.heads, generator=draw).double()
    learned = Learned({"w_forget": w, "b_forget": b})
    return qkv.replace(layer=Layer(x=2 * x)), Forgetting(learned=learned)


def test_by_hand():
    """Equal scores and f = ½, ⅓, ¼ (of σ(x) with x = 0, −ln 2, −ln 3): the last row weighs
    ⅓·¼ : ¼ : 1."""
    x = torch.tensor([[0.0], [-log(2)], [-log(3)]])
    qkv = engine.QKV(*(torch.zeros(1, 3, 1) for _ in "qkv"), causal=True, layer=Layer(x=x))
    learned = Learned({"w_forget": torch.ones(1, 1), "b_forget": torch.zeros(1)})
    w = Forgetting(learned=learned).attend(qkv).weights()[0]
    raw = torch.tensor([[1, 0, 0], [1 / 3, 1, 0], [1 / 12, 1 / 4, 1]])
    close(w, raw / raw.sum(-1, keepdim=True))


def test_without_forgetting_it_is_softmax():
    qkv = made().replace(sinks=torch.randn(4))
    w = Forgetting(half_life=1e9, spread=0.0).attend(qkv).weights()
    close(w, oracle.softmax(qkv), atol=1e-7, rtol=0)


def test_where_all_tokens_forget_alike_it_is_alibi():
    """One head's slope is 2⁻⁸: half-life ln 2 · 2⁸."""
    qkv = made(heads=1, groups=1)
    ours = engine.attend(qkv, "forgetting", half_life=log(2) * 2**8, spread=0.0)
    close(ours.weights(), engine.attend(qkv, "relative", kind="alibi").weights())


def test_a_gate_that_is_shut_lets_nothing_through():
    qkv, mechanism = gated(made())
    assert mechanism.learned is not None and qkv.layer is not None and qkv.layer.x is not None
    x = torch.zeros_like(qkv.layer.x)
    x[20] = -1e4
    shut = {"w_forget": torch.ones(4, 6), "b_forget": torch.full((4,), 100.0)}
    w = replace(mechanism, learned=Learned(shut)).attend(qkv.replace(layer=Layer(x=x))).weights()
    assert (w[:, 20:, :20] == 0).all()
    later = qkv.replace(q=qkv.q[:, 20:], k=qkv.k[:, 20:], v=qkv.v[:, 20:], layer=None)
    close(w[:, 20:, 20:], oracle.softmax(later))


def test_equals_another_package():
    """x-transformers adds its biases of data-dependent ALiBi to the scores."""
    qkv, mechanism = gated(made())
    assert mechanism.learned is not None and qkv.layer is not None and qkv.layer.x is not None
    theirs = DataDependentAlibi(6, 4).double()
    linear = theirs.to_forget_gates[0]
    linear.weight.data = mechanism.learned.weights["w_forget"]
    linear.bias.data = mechanism.learned.weights["b_forget"]
    with torch.no_grad():
        bias = theirs(qkv.layer.x[None])[0]
    later = torch.ones(40, 40, dtype=torch.bool).triu(1)
    expected = (oracle.logits(qkv) + bias).masked_fill(later, -torch.inf).softmax(-1)
    close(mechanism.attend(qkv).weights(), expected)
    close(mechanism.attend(qkv).output, oracle.output(expected, qkv))


def test_it_looks_back_only_and_does_not_read_ahead():
    """As it reads no text's mean, what comes later changes no earlier row."""
    for qkv in (made(), gated(made())[0]):
        both = Forgetting().attend(qkv.replace(causal=False)).weights()
        close(both, Forgetting().attend(qkv).weights())
        k = qkv.k.clone()
        k[:, 30:] += 3
        changed = Forgetting().attend(qkv.replace(k=k)).weights()
        assert torch.equal(changed[:, :30, :30], Forgetting().attend(qkv).weights()[:, :30, :30])


def test_tokens_forget_by_what_they_hold():
    """By the layer's input where that is known, else by the keys, and by no length of these."""
    qkv = made()
    layer = gated(qkv)[0]
    own, by_x = Forgetting().gates(qkv), Forgetting().gates(layer)
    assert not torch.allclose(own, by_x)
    assert layer.layer is not None and layer.layer.x is not None
    close(Forgetting().gates(layer.replace(layer=Layer(x=7 * layer.layer.x))), by_x)
    close(Forgetting().gates(qkv.replace(k=7 * qkv.k)), own)
    even = Forgetting(spread=0.0, half_life=3.0).gates(qkv)
    close(torch.sigmoid(even), torch.full_like(even, 0.5 ** (1 / 3)))
    wide = Forgetting(spread=2.0).gates(made(n=4000))
    middle = Forgetting(spread=0.0).gates(made(n=1))[0, 0]
    close((wide - middle).std(), torch.tensor(2.0).double(), atol=0.3, rtol=0)


@pytest.mark.parametrize("half_life", [2.0, 64.0])
def test_far_into_a_long_text_nothing_is_lost(half_life):
    """Sums of logarithms grow along the text; what counts is their difference near a row."""
    qkv = made(n=6000, heads=1, groups=1)
    mechanism = Forgetting(half_life=half_life)
    rows = torch.tensor([5000, 5999])
    exact = mechanism.attend(qkv).weights(rows)
    found = mechanism.attend(qkv.to(dtype=torch.float32)).weights(rows)
    close(found.double(), exact, atol=3e-6, rtol=0)


def test_trained_gates_need_the_layers_input():
    qkv, mechanism = gated(made())
    with refused(match="trained to read its layer's input"):
        mechanism.attend(made())
    with refused(match="fitted to another layer"):
        mechanism.attend(qkv.replace(layer=Layer(x=torch.zeros(40, 5))))


def test_the_view_tells_what_is_taken_off_by_distance():
    qkv = made()
    view = Forgetting(half_life=8.0, spread=0.0).attend(qkv).view(Bias)
    slope = log(2) / 8
    close(view.value, (-slope * view.distance).expand(4, -1).float())
    assert view.kind == "forgetting" and view.pairs.tolist() == list(range(40, 0, -1))
    both = Forgetting().attend(qkv.replace(causal=False)).view(Bias)
    close(both.value, Forgetting().attend(qkv).view(Bias).value)
    with pytest.raises(LookupError):
        Forgetting().attend(qkv.replace(causal=False, q=qkv.q[:, :9])).view(Bias)
