"""Paths against SDPA under their masks; mixtures by hand; the router against its targets."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import engine
from engine.contract import Layer
from engine.contract.learned import Learned
from engine.contract.views import Routing
from engine.kernels import selection
from engine.mechanisms.routing import NAMES, ROUTES, Routed, ridge, tokens
from tests import oracle

N = 60


def made(n: int = N, groups: int = 2, causal: bool = False, m: int | None = None, **more):
    draw = torch.Generator().manual_seed(n)
    m = m or n
    q = 2 * torch.randn(4, n, 8, generator=draw)
    k, v = torch.randn(2, groups, m, 8, generator=draw).unbind(0)
    return engine.QKV(q, k, v, causal=causal, **more)


def masks(qkv: engine.QKV, width: int) -> list[Tensor]:
    """(h n m) keys of each path, pair by pair."""
    offset = qkv.m - qkv.n if qkv.causal else 0
    far = torch.arange(qkv.n)[:, None] + offset - torch.arange(qkv.m)
    z = oracle.logits(qkv).masked_fill(~oracle.allowed(qkv), -torch.inf)
    top = torch.zeros(z.shape, dtype=torch.bool)
    for h in range(qkv.heads):
        for i in range(qkv.n):
            best = sorted(range(qkv.m), key=lambda j: (-float(z[h, i, j]), j))[:width]
            top[h, i, best] = True
    everyone = torch.ones_like(top)
    return [everyone, (far.abs() < width) & everyone, (far % width == 0) & everyone, top]


def mixture(qkv: engine.QKV, width: int, p: Tensor) -> Tensor:
    ways = [oracle.softmax(qkv, pattern=mask) for mask in masks(qkv, width)]
    return sum(p[..., i, None].double() * ways[i] for i in range(p.shape[-1]))  # type: ignore


@pytest.mark.parametrize("causal", [False, True])
def test_each_path_is_sdpa_under_its_mask(causal):
    qkv = made(groups=4, causal=causal)
    for way, mask in zip(Routed(width=7).ways(qkv), masks(qkv, 7), strict=True):
        allowed = mask & oracle.allowed(qkv)
        expected = F.scaled_dot_product_attention(qkv.q, qkv.k, qkv.v, attn_mask=allowed)
        torch.testing.assert_close(way.output, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "more", ["plain", "key_mask", "sinks", "softcap", "mask", "bias", "fewer", "more"]
)
def test_is_the_mixture_of_its_paths(more, route, causal):
    draw = torch.Generator().manual_seed(1)
    extra = {
        "key_mask": {"key_mask": torch.rand(N, generator=draw) < 0.5},
        "sinks": {"sinks": torch.randn(4, generator=draw)},
        "softcap": {"softcap": 1.5},
        "mask": {"mask": lambda rows, cols: (rows[:, None] + cols) % 3 > 0},
        "bias": {
            "bias": lambda rows, cols: (
                -0.1 * (rows[:, None] - cols).abs().float().expand(4, -1, -1)
            )
        },
        "fewer": {"m": 41},
        "more": {"m": 77},
    }.get(more, {})
    qkv = made(causal=causal, **extra)
    att = engine.attend(qkv, "routing", route=route, top_k=3, width=6)
    p = att.view(Routing).probabilities
    assert p is not None
    expected = mixture(qkv, 6, p)
    torch.testing.assert_close(att.weights().double(), expected, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(
        att.output.double(), oracle.output(expected, qkv), atol=5e-6, rtol=1e-5
    )
    sees = oracle.allowed(qkv).any(-1)
    torch.testing.assert_close(p.sum(-1), sees.double().expand(4, -1))
    if qkv.sinks is None:  # a path that sees nothing must not cost the row its mass
        torch.testing.assert_close(
            att.weights().sum(-1), sees.float().expand(4, -1), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("route", ROUTES)
def test_one_path_is_softmax(route, causal):
    qkv = made(groups=4, causal=causal)
    att = engine.attend(qkv, "routing", paths=1, route=route)
    full = F.scaled_dot_product_attention(qkv.q, qkv.k, qkv.v, is_causal=causal)
    torch.testing.assert_close(att.output, full, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("route", ROUTES)
def test_identical_paths_make_routing_irrelevant(route):
    qkv = made(groups=4)
    att = engine.attend(qkv, "routing", paths=2, width=1000, route=route)
    full = F.scaled_dot_product_attention(qkv.q, qkv.k, qkv.v)
    torch.testing.assert_close(att.output, full, atol=2e-6, rtol=1e-5)


def test_no_weights_are_the_mean_of_the_paths():
    qkv = made()
    att = engine.attend(qkv, "routing", route="uniform", top_k=4, width=6)
    mean = torch.stack([way.output for way in Routed(width=6).ways(qkv)]).mean(0)
    torch.testing.assert_close(att.output, mean, atol=2e-6, rtol=1e-5)


def test_keeping_a_few_is_by_hand():
    """Two tokens whose x chooses, a W_r that says so, and ties to the earlier path."""
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    q = torch.zeros(1, 2, 2)
    qkv = engine.QKV(q, q, torch.eye(2)[None], layer=Layer(x=x))
    w = torch.tensor([[[0.0, 2.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]], dtype=torch.float64)
    learned = Learned({"w_r": w, "b_r": torch.zeros(1, 4, dtype=torch.float64)})
    e = torch.tensor(1.0).exp().item()
    for top_k, rows in (
        (1, [[0, 1, 0, 0], [1, 0, 0, 0]]),
        (2, [[0, e / (1 + e), 1 / (1 + e), 0], [0.5, 0.5, 0, 0]]),
    ):
        view = Routed(top_k=top_k, width=1, learned=learned).attend(qkv).view(Routing)
        assert view.probabilities is not None and view.gate is not None
        torch.testing.assert_close(view.probabilities[0], torch.tensor(rows, dtype=torch.float64))
        torch.testing.assert_close(view.gate[0], (x.double() @ w[0]).softmax(-1))
        assert view.names == NAMES
    # with one key a row in every path but the first, the rows are known
    out = Routed(top_k=1, width=1, learned=learned).attend(qkv).output[0]
    torch.testing.assert_close(out, torch.tensor([[1.0, 0.0], [0.5, 0.5]]))


def test_all_paths_kept_is_the_gate_itself():
    view = engine.attend(made(), "routing", top_k=4).view(Routing)
    assert view.probabilities is not None and view.gate is not None
    torch.testing.assert_close(view.probabilities, view.gate)
    torch.testing.assert_close(view.load, torch.ones(4, 4))


def test_ridge_finds_a_linear_map_and_shrinks_noise():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(300, 12, generator=draw, dtype=torch.float64)
    w = torch.randn(2, 12, 3, generator=draw, dtype=torch.float64)
    b = torch.randn(2, 1, 3, generator=draw, dtype=torch.float64)
    found, mean = ridge(x - x.mean(0), x @ w + b)
    torch.testing.assert_close(found, w, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(
        (x - x.mean(0)) @ found + mean[:, None], x @ w + b, atol=0.05, rtol=0
    )
    noise, _ = ridge(x - x.mean(0), torch.randn(2, 300, 3, generator=draw, dtype=torch.float64))
    assert noise.square().mean() < 0.01


def test_the_fit_is_judged_on_rows_that_it_has_not_seen():
    """Fidelity from its definition: W_r's softmax beside each path's share of captured mass."""
    qkv = made(100, causal=True)
    mechanism = Routed(width=6).fit(qkv)
    assert mechanism.learned is not None and mechanism.learned.fidelity is not None
    full = oracle.softmax(qkv)
    mass = torch.stack([(full * mask).sum(-1) for mask in masks(qkv, 6)], -1)
    share = mass / mass.sum(-1, keepdim=True)
    w, b = mechanism.learned.weights["w_r"], mechanism.learned.weights["b_r"]
    p = (tokens(qkv) @ w + b[:, None]).softmax(-1)
    held = selection.sample(100, 512)[3::4]
    expected = torch.minimum(p, share)[:, held].sum(-1).mean(1)
    torch.testing.assert_close(
        mechanism.learned.fidelity.value.double(), expected, atol=1e-6, rtol=1e-5
    )


def test_the_router_learns_who_looks_where():
    """x says whether a token looks at its neighbours or at one far key; the router must see it."""
    n, draw = 240, torch.Generator().manual_seed(3)
    near = torch.rand(n, generator=draw) < 0.5
    angle = torch.arange(n) * 0.7
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    k = torch.cat([ring, torch.zeros(n, 1)], 1)
    k[0] = torch.tensor([0.0, 0.0, 1.0])
    q = torch.where(near[:, None], 30 * k, torch.tensor([0.0, 0.0, 30.0]))
    x = torch.cat([near[:, None].float(), torch.randn(n, 8, generator=draw)], 1)
    qkv = engine.QKV(q[None], k[None], torch.randn(1, n, 3), layer=Layer(x=x))
    # a step that never lands on the ring's own period
    view = engine.attend(qkv, "routing", paths=2, top_k=2, width=4).view(Routing)
    assert view.gate is not None
    local = view.gate[0, :, 1]
    assert local[near].mean() > 3 * local[~near].mean()
    found = engine.attend(qkv, "routing", paths=2, width=4).fidelity
    assert found is not None and found.value[0] > found.random[0] + 0.1


def test_x_of_the_layer_is_read_and_queries_otherwise():
    qkv = made()
    assert torch.equal(tokens(qkv), qkv.q.transpose(0, 1).flatten(1).double())
    x = torch.randn(N, 5)
    assert torch.equal(tokens(qkv.replace(layer=Layer(x=x))), x.double())


def test_seeds_and_limits_of_the_text():
    for n in (1, 2, 3, 5):
        for route in ROUTES:
            att = engine.attend(made(n), "routing", route=route)
            torch.testing.assert_close(att.weights().sum(-1), torch.ones(4, n))
    a, b, c = (engine.attend(made(), "routing", route="random", seed=s).output for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("m", [30, 60, 77])
@pytest.mark.parametrize("causal", [False, True])
def test_flops_are_pairs_counted(causal, m):
    qkv = made(causal=causal, m=m)
    *some, _ = masks(qkv, 7)
    pairs = [int((mask[0] & oracle.allowed(qkv)).sum()) for mask in some]
    pairs.append(pairs[0])  # the top keys are found among all
    for paths in (1, 2, 3, 4):
        router = N * 32 * paths if paths > 1 else 0
        expected = 2 * 4 * (sum(pairs[:paths]) * 16 + router)
        assert Routed(paths=paths, width=7).flops(qkv) == expected
