"""Clusters against their definition, pair by pair, and against SDPA in the exact limit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import engine
from engine.contract.learned import Learned
from engine.contract.views import Routing
from engine.kernels import patterns, selection
from engine.mechanisms import kmeans
from engine.mechanisms.kmeans import KMeans
from tests import oracle


def made(n: int = 60, groups: int = 2, causal: bool = False, m: int | None = None, **more):
    draw = torch.Generator().manual_seed(n)
    m = m or n
    q = torch.randn(4, n, 8, generator=draw)
    k, v = torch.randn(2, groups, m, 8, generator=draw).unbind(0)
    return engine.QKV(q, k, v, causal=causal, **more)


def dense(qkv: engine.QKV, centroids: Tensor, window: int) -> Tensor:
    """(h n m) the mean of softmax in each cluster, in plain loops."""
    seen = torch.ones(qkv.m, dtype=torch.bool) if qkv.key_mask is None else qkv.key_mask
    logits, allowed = oracle.logits(qkv), oracle.allowed(qkv)
    found = torch.zeros(qkv.heads, qkv.n, qkv.m, dtype=torch.float64)
    for h in range(qkv.heads):
        q, k = qkv.q[h].double(), qkv.k[h // (qkv.heads // qkv.groups)].double()
        q, k = q - q.mean(0), k - k[seen].mean(0)
        q, k = (x / x.norm(dim=1, keepdim=True) for x in (q, k))
        times = torch.zeros(qkv.n)
        for c in centroids[h]:
            near = sorted(range(qkv.n), key=lambda i: (-float(q[i] @ c), i))[:window]
            keys = sorted(
                (j for j in range(qkv.m) if seen[j]), key=lambda j: (-float(k[j] @ c), j)
            )[:window]
            for i in near:
                mine = [j for j in keys if allowed[i, j]]
                if not mine:
                    continue
                z = logits[h, i, mine]
                if qkv.sinks is not None:
                    z = torch.cat([z, qkv.sinks[h : h + 1].double()])
                found[h, i, mine] += z.softmax(0)[: len(mine)]
                times[i] += 1
        found[h] /= times.clamp_min(1)[:, None]
    return found


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("more", ["plain", "key_mask", "sinks", "softcap", "mask", "bias"])
def test_is_its_definition(more, causal):
    draw = torch.Generator().manual_seed(1)
    extra = {
        "plain": {},
        "key_mask": {"key_mask": torch.rand(60, generator=draw) < 0.6},
        "sinks": {"sinks": torch.randn(4, generator=draw)},
        "softcap": {"softcap": 1.5},
        "mask": {"mask": lambda rows, cols: (rows[:, None] + cols) % 3 > 0},
        "bias": {
            "bias": lambda rows, cols: (
                torch.arange(4).view(4, 1, 1) * -0.1 * (rows[:, None] - cols).abs().float()
            )
        },
    }[more]
    qkv = made(causal=causal, **extra)
    mechanism = KMeans(clusters=5, window=14, seed=2).fit(qkv)
    assert mechanism.learned is not None
    expected = dense(qkv, mechanism.learned.weights["centroids"], 14)
    att = mechanism.attend(qkv)
    torch.testing.assert_close(att.weights().double(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        att.output.double(), oracle.output(expected, qkv), atol=2e-6, rtol=1e-5
    )
    left = att.view(Routing).dropped
    assert left is not None and torch.equal(left, expected.sum(-1) == 0)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("clusters", "window"), [(1, 60), (1, 1000), (4, 60)])
def test_clusters_with_room_for_all_are_full_attention(clusters, window, causal):
    qkv = made(groups=4, causal=causal)
    att = engine.attend(qkv, "kmeans", clusters=clusters, window=window)
    full = F.scaled_dot_product_attention(qkv.q, qkv.k, qkv.v, is_causal=causal)
    torch.testing.assert_close(att.output, full, atol=2e-6, rtol=1e-5)
    assert not att.view(Routing).dropped.any()
    assert att.fidelity is not None and (att.fidelity.value > 1 - 1e-5).all()


def test_by_hand_two_clusters_on_a_line():
    """Keys and queries at ±x; a window of two leaves the nearest-to-mean ones out."""
    x = torch.tensor([-3.0, -3.0, -1.0, 1.0, 3.0, 3.0])
    points = torch.stack([x, torch.tensor([0.0, 0.0, 3.0, 3.0, 0.0, 0.0]) - 1], 1)[None]
    qkv = engine.QKV(points, points, torch.eye(6)[None])
    ends = torch.tensor([[[-1.0, 0.0], [1.0, 0.0]]], dtype=torch.float64)
    att = KMeans(clusters=2, window=2, learned=Learned({"centroids": ends})).attend(qkv)
    w = att.weights()[0]
    assert (w[2:4] == 0).all() and (w[:, 2:4] == 0).all()
    torch.testing.assert_close(w[:2, :2], torch.full((2, 2), 0.5))
    torch.testing.assert_close(w[4:, 4:], torch.full((2, 2), 0.5))
    view = att.view(Routing)
    assert view.labels is not None and view.labels[0].tolist() == [0, 0, -1, -1, 1, 1]
    left = [False, False, True, True, False, False]
    assert view.dropped is not None and view.dropped[0].tolist() == left
    assert view.load[0].tolist() == [0.5, 0.5]
    assert (att.output[0, 2:4] == 0).all()


def test_a_query_in_two_clusters_gets_their_mean():
    qkv = made()
    centroids = selection.unit(torch.randn(4, 1, 8, generator=torch.Generator().manual_seed(0)))
    one = KMeans(clusters=1, window=9, learned=Learned({"centroids": centroids}))
    two = KMeans(clusters=2, window=9, learned=Learned({"centroids": centroids.repeat(1, 2, 1)}))
    torch.testing.assert_close(one.attend(qkv).output, two.attend(qkv).output)


def test_tokens_are_left_out_and_said_to_be():
    """The pitfall: at these sizes some queries are in no cluster; their rows are zero."""
    att = engine.attend(made(96), "kmeans", clusters=8, window=12)
    view = att.view(Routing)
    assert view.dropped is not None and view.labels is not None
    assert 0 < int(view.dropped.sum()) < view.dropped.numel()
    assert (att.output[view.dropped] == 0).all() and (att.weights()[view.dropped] == 0).all()
    lost = att.weights().sum(1) == 0
    assert lost[view.labels < 0].all()


def test_the_choice_has_read_the_future_though_nothing_later_is_weighed():
    assert not KMeans.selection_causal
    qkv = made(40, groups=4, causal=True)
    mechanism = KMeans(clusters=4, window=10).fit(qkv)
    assert not mechanism.attend(qkv).weights().triu(1).any()
    k = qkv.k.clone()
    k[:, 30:] = k[:, 30:].flip(1) * 3
    before, after = (mechanism.attend(x).output[:, :30] for x in (qkv, qkv.replace(k=k)))
    assert not torch.equal(before, after)


def test_kmeans_finds_clusters_that_are_there():
    draw = torch.Generator().manual_seed(5)
    axes = torch.eye(6)[:5]
    name = torch.arange(200) % 5
    x = 4 * axes[name] + 0.2 * torch.randn(2, 200, 6, generator=draw)
    qkv = engine.QKV(x, x, x)
    view = engine.attend(qkv, "kmeans", clusters=5, window=40).view(Routing)
    assert view.labels is not None
    for found in view.labels:
        assert all(len(found[name == c].unique()) == 1 for c in range(5))
        assert len(found.unique()) == 5
    torch.testing.assert_close(view.load, torch.full((2, 5), 0.2))


def test_fitted_centroids_hold_more_than_random_ones():
    qkv = engine.sources.planted(n=256, heads=2, dim=16, layout="topics", needles=4, noise=3.0)
    fidelity = KMeans(clusters=8, window=32).fit(qkv).learned.fidelity
    assert fidelity.measure == "captured_mass" and (fidelity.value > fidelity.random).all()
    mechanism = KMeans(clusters=8, window=32).fit(qkv)
    pattern = patterns.Clusters(
        *selection.members(qkv, mechanism.learned.weights["centroids"], 32)
    )
    at = selection.sample(256, kmeans.SAMPLE)
    inside = pattern.allows(at, torch.arange(256))
    full = oracle.softmax(qkv)[:, at]
    expected = (full * inside).sum((1, 2)) / full.sum((1, 2))
    torch.testing.assert_close(
        mechanism.learned.fidelity.value.double(), expected, atol=1e-5, rtol=0
    )


def test_seeds():
    qkv = made(200)
    a, b, c = (engine.attend(qkv, "kmeans", window=30, seed=s).output for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_pattern_for_combining_is_the_union_of_clusters():
    qkv = made(50, causal=True, m=57)
    pattern = patterns.Clusters.of(qkv, 4, 12, 0)
    centroids = selection.centroids(qkv, 4, 0)
    q, k = selection.members(qkv, centroids, 12)
    expected = (q.mT[:, :, None] & k.mT[:, None]).any(-1)
    rows = torch.arange(50) + 7
    assert torch.equal(pattern.allows(rows, torch.arange(57)), expected)
    assert torch.equal(pattern.head(2).allows(rows, torch.arange(57)), expected[2:3])


def test_flops_are_what_is_multiplied():
    qkv = made(60, m=45)
    near = (60 + 45) * 8
    assert KMeans(clusters=3, window=20).flops(qkv) == 2 * 4 * 3 * (near + 20 * 20 * 16)
    assert KMeans(clusters=3, window=50).flops(qkv) == 2 * 4 * 3 * (near + 50 * 45 * 16)
