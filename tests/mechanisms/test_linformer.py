"""Linformer: by hand, in the exact limits, against another's code."""

from __future__ import annotations

import math

import pytest
import torch

import engine
from engine.contract.learned import Learned
from engine.mechanisms.linformer import PROJECTIONS, Linformer
from engine.mechanisms.truncated_svd import TruncatedSVD
from engine.store.fits import load, save
from tests import oracle
from tests.mechanisms.low_rank import counted, made, weights
from tests.refusals import refused

close = torch.testing.assert_close


def test_linformer_by_hand():
    """Keys (1, 3 | 0, 2) pool to 2 and 1; q = 1: slots weigh e² : e¹, shared by two keys each."""
    q = torch.ones(1, 1, 1)
    k = torch.tensor([1.0, 3.0, 0.0, 2.0]).view(1, 4, 1)
    v = torch.tensor([4.0, 0.0, 0.0, 2.0]).view(1, 4, 1)
    att = Linformer(rank=2).attend(engine.QKV(q, k, v))
    first = math.e / (math.e + 1)
    close(att.weights()[0, 0], torch.tensor([first, first, 1 - first, 1 - first]) / 2)
    close(att.output[0, 0, 0].item(), 2 * first + (1 - first))
    assert att.row_kind == "stochastic"


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("k", [7, 40])
def test_linformer_is_the_linformer_package(share, k):
    from linformer import LinformerSelfAttention

    torch.manual_seed(k)
    n, h, d = 40, 4, 8
    net = LinformerSelfAttention(h * d, n, k=k, heads=h, share_kv=False).double().eval()
    if share:
        net.proj_v.data = net.proj_k.data
    x = torch.randn(1, n, h * d, dtype=torch.float64)
    q, key, v = (
        f(x).view(n, h, d).transpose(0, 1).detach() for f in (net.to_q, net.to_k, net.to_v)
    )
    learned = Learned({"e": net.proj_k.data.T[None], "f": net.proj_v.data.T.expand(h, -1, -1)})
    att = Linformer(rank=k, projection="fitted", learned=learned).attend(engine.QKV(q, key, v))
    expected = net(x)[0]
    close(net.to_out(att.output.transpose(0, 1).flatten(1)), expected, atol=1e-12, rtol=1e-12)
    close(att.weights() @ v, att.output, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("projection", ["mean", "fitted"])
@pytest.mark.parametrize("rank", [40, 500])
def test_a_slot_a_key_is_full_attention(projection, rank):
    qkv = made(40, 2, sinks=torch.randn(4), softcap=3.0)
    expected = oracle.softmax(qkv)
    close(weights(Linformer(rank, projection), qkv), expected, atol=2e-6, rtol=1e-5)


def test_identity_and_permuted_projections_are_full_attention():
    qkv = made(30).to(dtype=torch.float64)
    turn = torch.eye(30, dtype=torch.float64)[torch.randperm(30)]
    for e in (torch.eye(30, dtype=torch.float64), turn):
        learned = Learned({"e": e[None], "f": e.expand(4, -1, -1)})
        mechanism = Linformer(30, "fitted", learned=learned)
        close(weights(mechanism, qkv), oracle.softmax(qkv), atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_a_linformer_has_at_most_its_rank(projection):
    w = weights(Linformer(6, projection), made(50).to(dtype=torch.float64))
    sigma = torch.linalg.svdvals(w)
    assert (sigma[:, 6:] < 1e-10 * sigma[:, :1]).all() and (sigma[:, 5] > 0).all()


def test_a_fit_is_nearer_than_what_it_starts_from():
    """Least squares can't be further than F = E; random is further than no attention at all."""
    qkv = made(60, seed=3)
    full = oracle.softmax(qkv)
    gone = {p: (weights(Linformer(8, p), qkv) - full).norm() / full.norm() for p in PROJECTIONS}
    best = (weights(TruncatedSVD(8), qkv) - full).norm() / full.norm()
    assert best < gone["fitted"] < gone["mean"] and best < gone["svd"] < 1 < gone["random"]


def test_a_fit_is_kept_and_says_how_near_it_is(tmp_path):
    qkv = made(50)
    for projection in ("fitted", "svd"):
        fit = Linformer(8, projection).fit(qkv)
        assert fit.learned is not None and fit.learned.fidelity is not None
        save(fit, tmp_path / "fit.safetensors")
        again = load(Linformer(8, projection), tmp_path / "fit.safetensors")
        fresh = Linformer(8, projection).attend(qkv)
        assert torch.equal(again.attend(qkv).output, fresh.output)
        error = (fresh.output.double() - oracle.output(oracle.softmax(qkv), qkv)).norm(dim=(1, 2))
        error /= oracle.output(oracle.softmax(qkv), qkv).norm(dim=(1, 2))
        assert fresh.fidelity is not None and fresh.fidelity.measure == "output_error"
        close(fresh.fidelity.value.double(), error, atol=1e-5, rtol=1e-4)
        close(fresh.fidelity.value, fit.learned.fidelity.value)
        assert (fresh.fidelity.random > fresh.fidelity.value).all()
        with refused(match="fitted to another layer"):
            fit.attend(made(51))
    assert Linformer(8).fit(qkv).learned is None
    said = Linformer(8).attend(qkv).fidelity
    assert said is not None and (said.value > 0.1).all()


def test_the_last_token_moves_the_first_output():
    """Why there is no causal Linformer: a slot holds what comes after the row."""
    qkv = made(40)
    other = qkv.replace(v=qkv.v.clone().index_fill_(1, torch.tensor([39]), 5.0))
    moved = Linformer(8).attend(other).output - Linformer(8).attend(qkv).output
    assert moved[:, 0].abs().max() > 0.01


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_flops_of_linformer_are_those_of_its_plain_twin(projection):
    qkv = made(48, 2)
    mechanism = Linformer(8, projection)
    e = torch.randn(4 if projection == "svd" else 2, 8, 48)
    f = torch.randn(4 if projection in ("svd", "fitted") else 2, 8, 48)
    k, v = (x.repeat_interleave(len(y) // 2, 0) for x, y in ((qkv.k, e), (qkv.v, f)))

    def plain():
        if projection == "mean":
            each = torch.full((2 * 8, 1, 6), 1 / 6)
            k2, v2 = (each @ x.reshape(2 * 8, 6, 8) for x in (qkv.k, qkv.v))
            k2, v2 = (x.view(2, 8, 8) for x in (k2, v2))
        else:
            k2, v2 = e @ k, f @ v
        k2, v2 = (x.repeat_interleave(4 // len(x), 0) for x in (k2, v2))
        return (qkv.q @ k2.mT).softmax(-1) @ v2

    assert counted(plain) == mechanism.flops(qkv)
