"""Low rank: by hand, in the exact limits, against other people's code, and where it can't hold."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import engine
from engine.contract.learned import Learned
from engine.contract.views import Factors
from engine.kernels.projection import Dense, Pooling
from engine.mechanisms.linear import CHUNK, FEATURE_MAPS, Linear, chunked, directions
from engine.mechanisms.linformer import PROJECTIONS, Linformer
from engine.mechanisms.nystrom import Nystrom
from engine.mechanisms.truncated_svd import TruncatedSVD
from engine.store.fits import load, save
from tests import oracle
from tests.refusals import refused

close = torch.testing.assert_close
BIDIRECTIONAL = (Linformer, Nystrom, TruncatedSVD)


def made(n: int = 40, groups: int = 4, m: int | None = None, seed: int = 0, **more) -> engine.QKV:
    draw = torch.Generator().manual_seed(seed + n)
    q = torch.randn(4, n, 8, generator=draw)
    k, v = torch.randn(2, groups, m or n, 8, generator=draw).unbind(0)
    return engine.QKV(q, k, v, **more)


def weights(mechanism, qkv: engine.QKV) -> torch.Tensor:
    return mechanism.attend(qkv).weights().double()


# projections


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_pooling_is_means_of_equal_segments(m, slots, hidden):
    seen = torch.ones(m, dtype=torch.bool)
    seen[torch.randperm(m, generator=torch.Generator().manual_seed(m))[:hidden]] = False
    pool = Pooling(m, slots, seen if hidden else None)
    e = pool.matrix(torch.zeros(1, dtype=torch.float64))[0]
    count = int(seen.sum()) if hidden else m
    assert pool.slots == max(1, min(slots, count))
    sizes = (e > 0).sum(1)
    assert sizes.sum() == count and sizes.max() - sizes.min() <= 1
    assert (e[:, ~seen] == 0).all() and (e >= 0).all()
    close(e.sum(1), torch.full((pool.slots,), float(count > 0), dtype=torch.float64))
    owner = e[:, seen].argmax(0)
    assert (owner.diff() >= 0).all(), "segments are consecutive"
    x = torch.randn(2, m, 3, dtype=torch.float64)
    close(pool.project(x), e @ x)


def test_a_map_of_each_head_reads_its_own_group():
    e, x = torch.randn(4, 3, 10), torch.randn(2, 10, 5)
    expected = torch.stack([e[h] @ x[h // 2] for h in range(4)])
    close(Dense(e).project(x), expected, atol=1e-5, rtol=1e-5)
    close(Dense(e[:1]).project(x), e[0] @ x, atol=1e-5, rtol=1e-5)


# Linformer


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


# what all of them honour, and refuse


@pytest.mark.parametrize("mechanism", [Linformer(6), Linformer(6, "svd"), Nystrom(6),
                                       TruncatedSVD(6), Linear()])  # fmt: skip
def test_a_hidden_key_is_as_if_it_were_not_there(mechanism):
    qkv = made(40, 2, m=48)
    seen = torch.rand(48, generator=torch.Generator().manual_seed(1)) < 0.7
    hidden = mechanism.attend(qkv.replace(key_mask=seen))
    gone = mechanism.attend(qkv.replace(k=qkv.k[:, seen], v=qkv.v[:, seen]))
    close(hidden.output, gone.output, atol=1e-5, rtol=1e-4)
    close(hidden.weights()[..., seen], gone.weights(), atol=1e-5, rtol=1e-4)
    assert (hidden.weights()[..., ~seen] == 0).all()
    nothing = mechanism.attend(qkv.replace(key_mask=torch.zeros(48, dtype=torch.bool)))
    assert (nothing.output == 0).all() and (nothing.weights() == 0).all()


@pytest.mark.parametrize("cls", [*BIDIRECTIONAL, Linear])
def test_refuses_by_name(cls):
    given: dict[str, Any] = {}
    if cls is not TruncatedSVD:
        given["bias"] = lambda rows, cols: torch.zeros(4, len(rows), len(cols))
    if cls is Linear:
        given |= {"sinks": torch.zeros(4), "softcap": 2.0}
    else:
        given |= {"causal": True, "mask": lambda rows, cols: cols <= rows[:, None]}
    for name, value in given.items():
        with refused(match=name):
            cls().attend(made(**{name: value}))


def test_truncated_svd_refuses_long_texts():
    for n, m in ((1025, 4), (4, 1025)):
        with refused(match=r"at most 1,024 .* not 1,025"):
            TruncatedSVD().attend(made(n, m=m))


SMALL = [
    *(Linformer(7, p) for p in PROJECTIONS), Nystrom(7), TruncatedSVD(7),
    *(Linear(f) for f in FEATURE_MAPS),
]  # fmt: skip


@pytest.mark.parametrize(
    ("mechanism", "causal"),
    [(x, False) for x in SMALL] + [(x, True) for x in SMALL if x.causal_ok],
)
def test_the_product_of_the_factors_is_the_weights(mechanism, causal):
    seen = torch.arange(44) % 5 != 2
    att = mechanism.attend(made(40, 2, m=44, key_mask=seen, causal=causal))
    view = att.view(Factors)
    for head in range(4):
        product = torch.eye(40, dtype=torch.float64)
        for factor in view.factors(head).values():
            product = product @ factor.double()
            assert min(factor.shape) >= min(view.rank, 7)
        if causal:
            product *= oracle.allowed(att.qkv)
        close(product, att.weights()[head].double(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mechanism", SMALL)
def test_half_precision_of_every_choice(mechanism):
    half = made(40, 2).to(dtype=torch.bfloat16)
    att, exact = mechanism.attend(half), mechanism.attend(half.to(dtype=torch.float64))
    assert att.output.dtype == torch.bfloat16
    close(att.output.double(), exact.output, atol=2e-2, rtol=2e-2)
    close(att.weights().double(), exact.weights().double(), atol=1e-5, rtol=1e-4)


# Nyström


@pytest.mark.parametrize(("n", "m", "landmarks"), [(24, 24, 24), (24, 40, 40), (40, 24, 99)])
def test_a_landmark_a_position_is_full_attention(n, m, landmarks):
    qkv = made(n, 2, m=m, sinks=torch.randn(4), softcap=3.0)
    close(weights(Nystrom(landmarks), qkv), oracle.softmax(qkv), atol=1e-6, rtol=1e-5)


def test_nystrom_is_nystromformers_own():
    """With as many steps of its iteration as it takes, on a text that landmarks divide."""
    from transformers import NystromformerConfig
    from transformers.models.nystromformer.modeling_nystromformer import NystromformerSelfAttention

    torch.manual_seed(0)
    n, h, d = 24, 2, 8
    config = NystromformerConfig(
        hidden_size=h * d, num_attention_heads=h, num_landmarks=6, segment_means_seq_len=n,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    net = NystromformerSelfAttention(config).double().eval()
    net.conv_kernel_size = None  # a convolution of the values, added to the output
    steps = net.iterative_inv
    setattr(net, "iterative_inv", lambda kernel: steps(kernel, 60))  # noqa: B010
    x = 6 * torch.randn(1, n, h * d, dtype=torch.float64)
    q, k, v = (
        f(x).view(n, h, d).transpose(0, 1).detach() for f in (net.query, net.key, net.value)
    )
    # HF divides q and k by d^¼ each
    att = Nystrom(6).attend(engine.QKV(q, k, v))
    expected = net(x)[0][0].view(n, h, d).transpose(0, 1)
    close(att.output, expected.detach(), atol=1e-8, rtol=1e-8)


def test_nystrom_by_hand():
    """One landmark: every row is the mean query's softmax, since 1·1⁺·row is that row."""
    qkv = made(20)
    mean = qkv.replace(q=qkv.q.mean(1, keepdim=True))
    close(weights(Nystrom(1), qkv), oracle.softmax(mean).expand(-1, 20, -1), atol=1e-6, rtol=1e-5)


def test_equal_landmarks_are_no_trouble():
    """The middle softmax has rank 1 then, and no inverse."""
    qkv = engine.sources.identical(n=64, heads=2, dim=8)
    close(weights(Nystrom(8), qkv), torch.full((2, 64, 64), 1 / 64, dtype=torch.float64))


# linear


def naive(qkv: engine.QKV, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    w = (q @ k.repeat_interleave(len(q) // len(k), 0).mT) * oracle.allowed(qkv)
    total = w.sum(-1, keepdim=True)
    return w / total.masked_fill(total == 0, 1)


def features(mechanism: Linear, qkv: engine.QKV) -> tuple[torch.Tensor, torch.Tensor]:
    phi = mechanism.features_of(qkv)
    return phi.queries(qkv.q), phi.keys(qkv.k)


def test_linear_by_hand():
    """elu(0)+1 = 1, elu(1)+1 = 2, elu(−1)+1 = 1/e: keys weigh 1 : 2 : 1/e for any q in one
    dimension, of those that are seen."""
    k = torch.tensor([0.0, 1.0, -1.0]).view(1, 3, 1)
    qkv = engine.QKV(torch.randn(1, 3, 1), k, torch.randn(1, 3, 1))
    raw = torch.tensor([1.0, 2.0, math.exp(-1)])
    close(Linear().attend(qkv).weights()[0], (raw / raw.sum()).expand(3, 3))
    causal = Linear().attend(qkv.replace(causal=True)).weights()[0]
    close(causal[1], torch.tensor([1 / 3, 2 / 3, 0]))


@pytest.mark.parametrize("feature_map", FEATURE_MAPS)
@pytest.mark.parametrize(
    ("n", "m"), [(5, 5), (200, 200), (130, 190), (190, 130), (1, 70), (70, 1)]
)
def test_carried_sums_are_the_whole_matrix(feature_map, n, m):
    mechanism = Linear(feature_map, features=12)
    for causal in (False, True):
        qkv = made(n, 2, m=m, causal=causal, key_mask=torch.arange(m) % 7 != 3)
        qkv = qkv.to(dtype=torch.float64)
        att = mechanism.attend(qkv)
        q, k = features(mechanism, qkv)
        expected = naive(qkv, q, k)
        close(att.weights(), expected, atol=1e-14, rtol=1e-12)
        close(att.output, oracle.output(expected, qkv), atol=1e-13, rtol=1e-12)


def test_chunks_are_the_recurrence():
    """S_i = S_{i−1} + k_i v_iᵀ, o_i = q_i S_i, one row at a time (arXiv 2006.16236, eq. 16–18)."""
    n = 3 * CHUNK + 5
    q, k, v = (torch.rand(2, n, 6, dtype=torch.float64) for _ in range(3))
    state, rows = torch.zeros(2, 6, 6, dtype=torch.float64), []
    for i in range(n):
        state = state + k[:, i, :, None] * v[:, i, None]
        rows.append((q[:, i, None] @ state)[:, 0])
    none = torch.zeros(2, 6, 6, dtype=torch.float64)
    found, after = chunked(q[:, None], k, v, none)
    close(found[:, 0], torch.stack(rows, 1), atol=1e-12, rtol=1e-12)
    close(after, state, atol=1e-12, rtol=1e-12)


def test_elu_keeps_what_adding_1_would_lose():
    x = torch.full((1, 4, 2), -30.0)
    qkv = engine.QKV(x, x, torch.randn(1, 4, 2))
    close(Linear().attend(qkv).weights(), torch.full((1, 4, 4), 0.25))
    assert (F.elu(x) + 1 == 0).all()


def test_a_row_that_meets_nothing_is_zero():
    q = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    k = torch.tensor([[[1.0, -1.0], [2.0, -1.0]]])
    att = Linear("relu").attend(engine.QKV(q, k, k))
    close(att.weights()[0], torch.tensor([[1 / 3, 2 / 3], [0, 0]]))
    assert (att.output[0, 1] == 0).all() and att.rows().argmax[0, 1] == -1


def test_feature_maps_have_at_most_their_rank():
    qkv = made(60).to(dtype=torch.float64)
    for mechanism, rank in ((Linear(), 8), (Linear("relu"), 8), (Linear("exp", features=11), 11)):
        sigma = torch.linalg.svdvals(mechanism.attend(qkv).weights())
        assert (sigma[:, rank:] < 1e-12 * sigma[:, :1]).all()
        assert mechanism.attend(qkv).view(Factors).rank == rank
    # the scores' rank is at most d; softmax's is not
    assert torch.linalg.matrix_rank(oracle.logits(qkv)).max() == 8
    assert torch.linalg.matrix_rank(oracle.softmax(qkv)).min() > 30


def test_the_scale_is_the_exponentials_alone():
    qkv = made(20)
    other = qkv.replace(scale=3.0)
    assert torch.equal(Linear().attend(qkv).output, Linear().attend(other).output)
    assert not torch.allclose(Linear("exp").attend(qkv).output, Linear("exp").attend(other).output)


def test_random_exponentials_come_near_to_softmax():
    """Unbiased kernel: the mean over seeds nears softmax's exponentials, like 1/√features."""
    qkv = made(30, seed=5).to(dtype=torch.float64)
    qkv = qkv.replace(q=qkv.q / 2, k=qkv.k / 2)
    full = oracle.softmax(qkv)
    errors = {}
    for features in (16, 4096):
        found = [
            (Linear("exp", features=features, seed=s).attend(qkv).weights() - full).norm()
            for s in range(4)
        ]
        errors[features] = float(torch.stack(found).mean() / full.norm())
    assert errors[4096] < 0.1 and errors[16] > 4 * errors[4096]
    negative = qkv.replace(scale=-0.3)
    found = Linear("exp", features=4096).attend(negative).weights()
    assert (found - oracle.softmax(negative)).norm() < 0.1 * oracle.softmax(negative).norm()


def test_random_exponentials_survive_large_keys():
    qkv = made(30)
    att = Linear("exp").attend(qkv.replace(k=40 * qkv.k, q=40 * qkv.q))
    w = att.weights()
    assert torch.isfinite(w).all() and torch.isfinite(att.output).all()
    close(w.sum(-1), torch.ones(4, 30), atol=1e-5, rtol=0)


def test_directions_are_orthogonal_within_a_block():
    w = directions(8, 20, seed=0)
    for block in w.split(8):
        gram = block @ block.T
        close(gram, gram.diagonal().diag(), atol=1e-10, rtol=0)


def test_masks_of_pairs_are_honoured():
    band = lambda rows, cols: (rows[:, None] - cols).abs() < 4  # noqa: E731
    qkv = made(40, mask=band).to(dtype=torch.float64)
    q, k = features(Linear(), qkv)
    att = Linear().attend(qkv)
    close(att.weights(), naive(qkv, q, k))
    close(att.output, oracle.output(naive(qkv, q, k), qkv))


# truncated SVD


@pytest.mark.parametrize(("n", "m"), [(40, 40), (30, 45), (45, 30)])
def test_nothing_of_its_rank_is_nearer(n, m):
    qkv = made(n, 2, m=m, sinks=torch.randn(4)).to(dtype=torch.float64)
    full = oracle.softmax(qkv)
    u, sigma, vh = torch.linalg.svd(full, full_matrices=False)
    for rank in (1, 5, 17):
        att = TruncatedSVD(rank).attend(qkv)
        expected = (u[..., :rank] * sigma[:, None, :rank]) @ vh[:, :rank]
        close(att.weights(), expected, atol=1e-9, rtol=1e-9)
        gone = (att.weights() - full).norm(dim=(1, 2))
        close(gone, sigma[:, rank:].square().sum(1).sqrt(), atol=1e-12, rtol=1e-10)
        spectrum = att.view(Factors).spectrum
        close(spectrum, sigma, atol=1e-8, rtol=1e-8)
    close(weights(TruncatedSVD(99), qkv), full, atol=1e-13, rtol=1e-12)


def test_a_truncated_map_is_no_distribution():
    w = weights(TruncatedSVD(4), made(40))
    assert (w < 0).any() and (w.sum(-1) - 1).abs().max() > 1e-3


# what it costs


def counted(run) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


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


def test_flops_of_the_others_are_counted():
    qkv = made(48, 2)
    q, k = features(Linear(), qkv)
    v = F.pad(qkv.v, (0, 1), value=1.0)
    state = k.mT @ v
    assert Linear().flops(qkv) == counted(
        lambda: q.unflatten(0, (2, 2)).flatten(1, 2) @ (k.mT @ v) + 0 * state.sum()
    )
    mapped = counted(lambda: features(Linear("exp", features=24), qkv))
    assert Linear("exp", features=24).flops(qkv) == mapped + 24 // 8 * Linear().flops(qkv)

    def nystrom():
        ones = torch.full((1, 6), 1 / 6)
        a, b = (
            (ones.expand(len(x) * 8, -1, -1) @ x.reshape(-1, 6, 8)).view(-1, 8, 8)
            for x in (qkv.q, qkv.k)
        )
        b, keys, values = (x.repeat_interleave(2, 0) for x in (b, qkv.k, qkv.v))
        inner = (a @ keys.mT) @ values
        return (qkv.q @ b.mT) @ ((a @ b.mT) @ inner)

    assert Nystrom(8).flops(qkv) == counted(nystrom) + 4 * 22 * 8**3

    def svd():
        keys, values = (x.repeat_interleave(2, 0) for x in (qkv.k, qkv.v))
        full = qkv.q @ keys.mT
        out, left = full @ values, (full @ full.mT)[..., :5]
        return left @ (left.mT @ out)

    assert TruncatedSVD(5).flops(qkv) == counted(svd) + 4 * 9 * 48**3
