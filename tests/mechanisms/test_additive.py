"""Additive attention against a loop over pairs; and how it follows a dot product."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

import engine
from engine.contract.learned import Learned
from engine.kernels.scoring import TILE
from engine.kernels.scoring import Additive as Network
from engine.measure.attention import Hidden
from engine.mechanisms.additive import Additive
from tests import oracle
from tests.refusals import refused

close = torch.testing.assert_close


def made(n: int = 12, m: int | None = None, dk: int = 8, **more) -> engine.QKV:
    draw = torch.Generator().manual_seed(n)
    q = torch.randn(4, n, 8, generator=draw)
    k = torch.randn(2, m or n, dk, generator=draw)
    v = torch.randn(2, m or n, 5, generator=draw)
    return engine.QKV(q, k, v, **more)


def given(qkv: engine.QKV, hidden: int) -> Additive:
    """A network with weights of any kind."""
    draw = torch.Generator().manual_seed(0)
    d, dk = qkv.q.shape[-1], qkv.k.shape[-1]
    shapes = {"w_q": (4, hidden, d), "w_k": (4, hidden, dk), "b": (4, hidden), "w_v": (4, hidden)}
    weights = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    return Additive(hidden, learned=Learned(weights))


@pytest.mark.parametrize(
    ("n", "m", "dk", "causal"),
    [(12, 12, 8, True), (12, 12, 8, False), (5, 9, 3, True), (9, 5, 11, False)],
)
@pytest.mark.parametrize("hidden", [1, 7])
def test_is_its_definition_pair_by_pair(n, m, dk, causal, hidden):
    """Queries and keys of different widths too."""
    qkv = made(n, m, dk, causal=causal)
    mechanism = given(qkv, hidden)
    w_q, w_k, b, w_v = (mechanism.learned.weights[x].double() for x in ("w_q", "w_k", "b", "w_v"))
    z = torch.full((4, n, m), -torch.inf, dtype=torch.float64)
    for h in range(4):
        for i in range(n):
            for j in range(m):
                q, k = qkv.q[h, i].double(), qkv.k[h // 2, j].double()
                z[h, i, j] = w_v[h] @ torch.tanh(w_q[h] @ q + w_k[h] @ k + b[h])
    expected = z.masked_fill(~oracle.allowed(qkv), -torch.inf).softmax(-1).nan_to_num(0)
    att = mechanism.attend(qkv)
    close(att.weights().double(), expected, atol=1e-6, rtol=1e-5)
    close(att.output.double(), oracle.output(expected, qkv), atol=1e-5, rtol=1e-5)
    close(att.steps(3, n - 1).weights.double(), expected[3, n - 1], atol=1e-6, rtol=1e-5)


def test_is_torch_s_layers():
    """The same with torch's own Linear modules, one head."""
    torch.manual_seed(0)
    to_q, to_k, to_v = nn.Linear(8, 16), nn.Linear(8, 16, bias=False), nn.Linear(16, 1, bias=False)
    q, k, v = torch.randn(3, 1, 20, 8).unbind(0)
    with torch.no_grad():
        z = to_v((to_q(q)[:, :, None] + to_k(k)[:, None]).tanh())[..., 0]
    weights = {
        "w_q": to_q.weight[None], "w_k": to_k.weight[None],
        "b": to_q.bias[None], "w_v": to_v.weight,
    }  # fmt: skip
    learned = Learned({name: x.detach() for name, x in weights.items()})
    att = Additive(16, learned=learned).attend(engine.QKV(q, k, v))
    close(att.weights(), z.softmax(-1), atol=1e-6, rtol=1e-5)


def test_enough_units_follow_the_dot_product():
    """2d + 1 units hold every direction; what is left is the curvature's own error."""
    qkv = made(300, causal=True)
    fit = Additive(17).fit(qkv)
    assert (fit.learned.fidelity.value > 0.98).all()
    full, att = engine.attend(qkv, "softmax"), fit.attend(qkv)
    assert (full.weights() - att.weights()).abs().sum(-1).mean() < 0.1
    values = [Additive(u).fit(qkv).learned.fidelity.value.mean() for u in (1, 3, 7, 11, 17)]
    assert all(a < b for a, b in pairwise(values))


def test_shared_directions_are_followed_through_their_means():
    """Queries and keys far from the origin, as models have them: keys alone decide a part."""
    qkv = made(200)
    qkv = qkv.replace(q=qkv.q + 4, k=qkv.k - 3)
    assert (Additive(17).fit(qkv).learned.fidelity.value > 0.98).all()


def test_too_few_units_say_so():
    fit = Additive(4).fit(engine.sources.planted(n=400, heads=2, dim=64)).learned
    assert (fit.fidelity.value < 0.3).all() and fit.fidelity.measure == "r2"
    assert (fit.fidelity.random < fit.fidelity.value).all()


def test_a_score_without_biases_is_odd():
    """Why the biases are there: (q, k) → (−q, −k) turns the sign, and q·k doesn't."""
    qkv = made(6)
    network = Network(*given(qkv, 9).learned.weights.values())
    plain = Network(network.w_q, network.w_k, torch.zeros_like(network.b), network.w_v)
    every = slice(0, 4)
    close(plain.scores(qkv, every, -qkv.q, -qkv.k), -plain.scores(qkv, every, qkv.q, qkv.k))
    flipped = network.scores(qkv, every, -qkv.q, -qkv.k)
    assert not torch.allclose(flipped, -network.scores(qkv, every, qkv.q, qkv.k), atol=0.1)


def test_far_saturated_units_are_plus_or_minus_one():
    one = torch.ones(1, 1, 1)
    network = Network(one, one, torch.zeros(1, 1), torch.ones(1, 1))
    q = torch.tensor([[[-900.0], [-2.0], [0.0], [900.0]]])
    k = torch.tensor([[[-3.0], [0.0], [900.0]]])
    qkv = engine.QKV(q, k, k)
    found = network.scores(qkv, slice(0, 1), q, k)
    expected = (q + k.mT).tanh()
    expected[0, 0, 2] = found[0, 0, 2]  # two that cancel beyond e^700: any finite number
    close(found, expected, atol=1e-7, rtol=1e-6)
    assert torch.isfinite(found).all()


def test_another_width_has_nothing_to_follow():
    att = engine.attend(made(dk=3), "additive")
    assert att.fidelity is None
    close(att.weights().sum(-1), torch.ones(4, 12))


def test_fits_are_kept_and_seeded():
    qkv = made(50)
    first, again, other = (Additive(8, seed).fit(qkv).learned for seed in (0, 0, 1))
    for name, x in first.weights.items():
        assert torch.equal(x, again.weights[name]) and not torch.equal(x, other.weights[name])
    with refused(match="fitted to another layer"):
        Additive(8, learned=first).attend(qkv.head(0))
    constant = engine.sources.identical(n=30)
    att = engine.attend(constant, "additive")
    close(att.weights(), torch.full_like(att.weights(), 1 / 30))


def test_hidden_units_are_held_a_tile_at_a_time(monkeypatch):
    """No more than a tile of hidden units × pairs, or one row's."""
    qkv = made(700)
    mechanism = given(qkv, 16)
    largest = 0
    plain = torch.Tensor.reciprocal_

    def watched(x):
        nonlocal largest
        largest = max(largest, x.numel())
        return plain(x)

    monkeypatch.setattr(torch.Tensor, "reciprocal_", watched)
    att = mechanism.attend(qkv)
    assert att.output.shape == (4, 700, 5) and not att.streams
    assert 0 < largest <= max(TILE, 4 * 700 * 16)
    assert isinstance(att.hide(torch.tensor([0])), Hidden)


def test_flops_count_the_products():
    qkv = made(7, 9, 3, causal=True)
    pairs, u = int(oracle.allowed(qkv).sum()), 5
    # W_q q + b, W_k k; then for each pair a sum, w_v and the values
    expected = 4 * (7 * u * (2 * 8 + 1) + 9 * u * 2 * 3 + pairs * (u + 2 * u + 2 * 5))
    assert Additive(u).flops(qkv) == expected
