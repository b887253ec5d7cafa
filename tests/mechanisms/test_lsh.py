"""Hashed attention against brute force, its limits, and reformer-pytorch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import engine
from engine.contract.views import Buckets
from engine.kernels import hashing, patterns
from engine.mechanisms import lsh
from engine.mechanisms.lsh import Bucketed, Lsh
from tests import oracle
from tests.refusals import refused


def made(n: int = 60, m: int | None = None, groups: int = 4, seed: int = 0, **more) -> engine.QKV:
    draw = torch.Generator().manual_seed(seed)
    q = torch.randn(4, n, 8, generator=draw) + 1
    k = torch.randn(groups, m or n, 8, generator=draw) - 2
    v = torch.randn(groups, m or n, 5, generator=draw)
    return engine.QKV(q, k, v, **more)


def union(qkv: engine.QKV, mechanism: Lsh) -> Tensor:
    """(h n m) pairs that share a bucket (and are within a chunk) in any round, pair by pair."""
    queries, keys = hashing.buckets_of(
        qkv, mechanism.buckets, mechanism.rounds, mechanism.seed, mechanism.shared_qk
    )
    keys, queries = keys.repeat_interleave(qkv.heads // len(keys), 0).tolist(), queries.tolist()
    seen = oracle.allowed(qkv).tolist()
    out = [[[False] * qkv.m for _ in range(qkv.n)] for _ in range(qkv.heads)]
    offset, c = qkv.m - qkv.n if qkv.causal else 0, mechanism.chunk
    hidden = [False] * qkv.m if qkv.key_mask is None else (~qkv.key_mask).tolist()
    for h in range(qkv.heads):
        for r in range(mechanism.rounds):
            ids = keys[h][r]
            line = sorted((j for j in range(qkv.m) if not hidden[j]), key=lambda j: (ids[j], j))
            for i in range(qkv.n):
                bucket = queries[h][r][i]
                inside = [s for s, j in enumerate(line) if ids[j] == bucket]
                if mechanism.scope == "chunk" and inside:
                    before = [s for s in inside if line[s] <= i + offset]
                    stands = before[-1] if before else inside[0]
                    inside = [s for s in inside if stands // c - 1 <= s // c <= stands // c]
                for s in inside:
                    out[h][i][line[s]] |= seen[i][line[s]]
        for i in range(qkv.n):
            own = i + offset
            has_own = (qkv.causal or qkv.n == qkv.m) and 0 <= own < qkv.m and not hidden[own]
            if mechanism.shared_qk and has_own:
                out[h][i][own] = False
                out[h][i][own] = not any(out[h][i])
            elif has_own:
                out[h][i][own] = True
            elif not any(out[h][i]) and any(seen[i]):
                near = [j for j in range(qkv.m) if seen[i][j]]
                at = [j for j in near if j <= own]
                out[h][i][at[-1] if at else near[0]] = True
    return torch.tensor(out)


CASES = st.fixed_dictionaries(
    {
        "scope": st.sampled_from(["bucket", "chunk"]),
        "buckets": st.integers(1, 9),
        "rounds": st.integers(1, 4),
        "chunk": st.integers(1, 12),
        "seed": st.integers(0, 1000),
        "n": st.integers(1, 28),
        "extra": st.sampled_from([0, 0, -7, 9]),
        "groups": st.sampled_from([1, 2, 4]),
        "causal": st.booleans(),
        "masked": st.booleans(),
        "shared_qk": st.booleans(),
        "sinks": st.booleans(),
        "gathered": st.booleans(),
    }
)


@settings(max_examples=40)
@given(CASES)
def test_is_softmax_on_the_union(case):
    """Whatever the rounds: duplicates count once, nothing is missed, nothing wraps round."""
    own = ("scope", "buckets", "rounds", "chunk", "seed", "shared_qk")
    mechanism = Lsh(**{name: case[name] for name in own})
    n = case["n"]
    m = n if mechanism.shared_qk else max(1, n + case["extra"])
    draw = torch.Generator().manual_seed(case["seed"])
    qkv = made(
        n, m, case["groups"], case["seed"], causal=case["causal"],
        key_mask=torch.rand(m, generator=draw) < 0.7 if case["masked"] else None,
        sinks=torch.randn(4, generator=draw) if case["sinks"] else None,
    )  # fmt: skip
    att = mechanism.attend(qkv)
    assert isinstance(att, Bucketed)
    expected = oracle.softmax(att.qkv, pattern=union(qkv, mechanism))
    with pytest.MonkeyPatch.context() as patch:
        if case["gathered"]:
            patch.setattr(lsh, "DENSE", 1 << 30)
        torch.testing.assert_close(att.weights().double(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        att.output.double(), oracle.output(expected, att.qkv), atol=1e-5, rtol=1e-5
    )
    sees = oracle.allowed(qkv).any(-1)
    if not case["sinks"]:
        torch.testing.assert_close(expected.sum(-1), sees.double().expand(4, -1))


def ids_of(rows: list[list[int]]) -> Tensor:
    return torch.tensor(rows)[None]


def test_by_hand():
    """Buckets given: queries 0 1 1 0, keys 0 0 1 1; causally a query keeps its own position."""
    x = engine.QKV(torch.zeros(1, 4, 2), torch.zeros(1, 4, 2), torch.eye(4)[None])
    p = patterns.Hashed.among(x, ids_of([[0, 1, 1, 0]]), ids_of([[0, 0, 1, 1]]), 2)
    w = Bucketed(x, p)
    expected = torch.tensor(
        [[1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 1]], dtype=torch.float
    )
    torch.testing.assert_close(w.weights()[0], expected / expected.sum(-1, True))
    torch.testing.assert_close(w.output[0], expected / expected.sum(-1, True))
    x = x.replace(causal=True)
    p = patterns.Hashed.among(x, ids_of([[0, 1, 1, 0]]), ids_of([[0, 0, 1, 1]]), 2)
    expected = expected.tril()
    torch.testing.assert_close(Bucketed(x, p).output[0], expected / expected.sum(-1, True))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shared_qk", [False, True])
def test_one_bucket_is_full_attention(causal, shared_qk):
    qkv = made(50, causal=causal)
    att = Lsh(buckets=1, rounds=3, shared_qk=shared_qk).attend(qkv)
    assert isinstance(att, Bucketed)
    if shared_qk:
        others = ~torch.eye(50, dtype=torch.bool)
        others[0, 0] = causal  # the first token sees no other
        k = F.normalize(qkv.q, dim=-1)
        expected = F.scaled_dot_product_attention(
            qkv.q, k, qkv.v, attn_mask=others & oracle.allowed(qkv)
        )
    else:
        expected = F.scaled_dot_product_attention(qkv.q, qkv.k, qkv.v, is_causal=causal)
    torch.testing.assert_close(att.output, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shared_qk", [False, True])
def test_a_chunk_as_long_as_the_text_is_the_bucket(causal, shared_qk):
    qkv = made(70, causal=causal)
    more = {"buckets": 5, "rounds": 2, "shared_qk": shared_qk}
    whole = engine.attend(qkv, "lsh", **more).output
    chunk = engine.attend(qkv, "lsh", scope="chunk", chunk=70, **more).output
    torch.testing.assert_close(chunk, whole)


def test_rounds_are_nested_and_recall_never_falls():
    qkv = made(80, seed=3)
    full = engine.attend(qkv, "softmax").weights()
    before = torch.zeros(4, 80, 80, dtype=torch.bool)
    for rounds in (1, 2, 4, 8):
        att = engine.attend(qkv, "lsh", rounds=rounds, buckets=8)
        now = att.weights() > 0
        assert (before <= now).all() and now.sum() > before.sum()
        before = now
        kept = (full * now).sum(-1)
        own = full * now / kept[..., None]
        torch.testing.assert_close(att.weights(), own, atol=1e-6, rtol=1e-4)


def test_hash_is_of_direction_alone():
    turned = hashing.rotations(16, 12, 3, seed=1)
    x = torch.randn(2, 300, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ids = hashing.hashed(x, turned, 12)
    assert torch.equal(ids, hashing.hashed(x * 7.5, turned, 12))
    assert torch.equal(hashing.hashed(-x, turned, 12), (ids + 6) % 12)
    plain = torch.einsum("hnd,rdb->hrnb", x, turned)
    assert torch.equal(ids, torch.cat([plain, -plain], -1).argmax(-1))
    odd = hashing.hashed(x, hashing.rotations(16, 11, 3, seed=1), 11)
    assert torch.equal(odd, torch.cat([plain, -plain], -1)[..., :11].argmax(-1))


@pytest.mark.parametrize("buckets", [1, 2, 3, 8, 64])
def test_hash_is_as_exact_as_float64(buckets):
    """Ties and near ties, which float32 can't tell apart, fall where float64 puts them."""
    turned = hashing.rotations(16, buckets, 2, seed=3)
    draw = torch.Generator().manual_seed(buckets)
    x = torch.randn(2, 400, 16, dtype=torch.float64, generator=draw)
    a, b = turned[0, :, 0], turned[0, :, -1]
    between = torch.linalg.lstsq(torch.stack([a, b]), torch.ones(2, 1, dtype=torch.float64))
    x[:, :100] = 50 * between.solution[:, 0]  # axes 0 and −1 score alike in the first round
    x[:, :100] += 1e-8 * torch.randn(2, 100, 16, dtype=torch.float64, generator=draw)
    x[:, 100:120] = 0
    if buckets == 2:  # and where an axis and its opposite do
        x[:, 120:200] -= (x[:, 120:200] @ a)[..., None] * a / (a @ a) * (1 - 1e-9)
    plain = torch.einsum("hnd,rdb->hrnb", x, turned)
    expected = torch.cat([plain, -plain], -1)[..., :buckets].argmax(-1)
    found = hashing.hashed(x, turned, buckets)
    some = x.norm(dim=-1) > 0
    assert torch.equal(found[:, 0][some], expected[:, 0][some])
    assert (found[~some[:, None].expand_as(found)] == 0).all()


def test_a_mean_that_all_share_does_not_decide():
    """What real layers add to all keys, and softmax doesn't see, leaves the buckets alone."""
    qkv = made(200, seed=5)
    moved = qkv.replace(k=qkv.k + 1000, q=qkv.q - 300)
    for x in (qkv, moved):
        count = torch.bincount(engine.attend(x, "lsh", buckets=8).view(Buckets).ids[0, 0])
        assert len(count) == 8 and count.max() < 80
    same = [engine.attend(x, "lsh").view(Buckets).ids for x in (qkv, qkv.replace(k=qkv.k * 4))]
    assert torch.equal(*same)


def test_hidden_keys_take_no_place():
    """They are in no bucket, no chunk, no mean: as if the text had been written without them."""
    keep = torch.arange(40) % 3 != 1
    qkv = made(40, key_mask=keep)
    short = qkv.replace(k=qkv.k[:, keep], v=qkv.v[:, keep], key_mask=None)
    for scope in ("bucket", "chunk"):
        mechanism = Lsh(scope=scope, buckets=4, rounds=2, chunk=5)
        ids, few = (mechanism.attend(x).view(Buckets) for x in (qkv, short))
        assert torch.equal(ids.ids[..., keep], few.ids) and (ids.ids[..., ~keep] == -1).all()
    whole = Lsh(buckets=1).attend(qkv).output
    torch.testing.assert_close(
        whole, F.scaled_dot_product_attention(qkv.q, short.k, short.v), atol=2e-6, rtol=1e-5
    )


def test_bias_mask_and_softcap():
    draw = torch.Generator().manual_seed(9)
    table = torch.randn(4, 30, 30, generator=draw)

    def band(rows: Tensor, cols: Tensor) -> Tensor:
        return (rows[:, None] - cols).abs() < 12

    qkv = made(
        30, groups=2, softcap=3.0, mask=band, bias=lambda rows, cols: table[:, rows][..., cols]
    )
    mechanism = Lsh(buckets=4, rounds=2)
    att = mechanism.attend(qkv)
    expected = oracle.softmax(qkv, pattern=union(qkv.replace(mask=None), mechanism))
    torch.testing.assert_close(att.weights().double(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        att.output.double(), oracle.output(expected, qkv), atol=1e-5, rtol=1e-5
    )


def test_a_query_whose_bucket_a_mask_hides_looks_at_the_nearest_key_by_hand():
    """Three queries and four keys, no key its own; the mask leaves key 1, 3 and none of them."""
    table = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    qkv = engine.QKV(
        torch.zeros(1, 3, 2), torch.zeros(1, 4, 2), torch.eye(4)[None],
        mask=lambda rows, cols: table[rows][:, cols],
    )  # fmt: skip
    p = patterns.Hashed.among(qkv, ids_of([[0, 0, 0]]), ids_of([[0, 1, 0, 1]]), 2)
    expected = torch.tensor([[0.0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    for found in (Bucketed(qkv, p).weights(), Bucketed(qkv, p).output):
        torch.testing.assert_close(found[0], expected)


def test_refusals_name_the_field():
    with refused(match="queries"):
        Lsh(shared_qk=True).attend(made(20, 25))
    with refused(match="mask"):
        Lsh(shared_qk=True).attend(made(20, mask=lambda rows, cols: rows[:, None] >= cols))
    wide = made(20).replace(k=torch.randn(4, 20, 9))
    with refused(match="width"):
        Lsh().attend(wide)


def test_large_scores_neither_overflow_nor_vanish():
    qkv = made(64).replace(scale=300.0)
    mechanism = Lsh(buckets=4, rounds=3)
    expected = oracle.softmax(qkv, pattern=union(qkv, mechanism))
    torch.testing.assert_close(
        mechanism.attend(qkv).output.double(), oracle.output(expected, qkv), atol=2e-3, rtol=2e-3
    )


def test_long_texts_are_gathered_in_bounded_blocks():
    qkv = engine.sources.planted(n=2000, heads=4, dim=16, seed=2, causal=True)
    att = engine.attend(qkv, "lsh", buckets=128, rounds=2)
    width = 0
    for block in att.blocks():
        assert isinstance(block.cols, Tensor) and block.cols.ndim == 3
        assert block.weights.numel() <= 2**22
        width = max(width, block.cols.shape[-1])
    assert width < 1000
    some = torch.arange(0, 2000, 411)
    found = list(att.blocks(some))
    pattern = patterns.Hashed.of(qkv, 128, 2)
    near = pattern.allows(some, torch.arange(2000))
    scores = (qkv.q[:, some] @ qkv.k.mT) * qkv.factor
    scores = scores.masked_fill(~(near & (torch.arange(2000) <= some[:, None])), -torch.inf)
    torch.testing.assert_close(
        att.output[:, some], scores.softmax(-1) @ qkv.v, atol=1e-5, rtol=1e-4
    )
    assert sum(b.weights.shape[1] for b in found) == len(some)


@pytest.mark.parametrize("scope", ["bucket", "chunk"])
@pytest.mark.parametrize("shared_qk", [False, True])
def test_operations_are_counted(scope, shared_qk):
    """Products in the hash, and two a pair that a round looks at or that is its own: beforehand
    the number that is expected of buckets filled evenly, as those of random vectors nearly are,
    and of an attention that is there the number itself."""
    mechanism = Lsh(scope=scope, buckets=6, rounds=2, chunk=7, shared_qk=shared_qk)
    qkv = made(33, groups=2, causal=True)
    queries, keys = hashing.buckets_of(qkv, 6, 2, 0, shared_qk)
    keys = keys.repeat_interleave(4 // len(keys), 0)
    pairs = 0
    for h in range(4):
        for r in range(2):
            line = sorted(range(33), key=lambda j: (int(keys[h, r, j]), j))
            for i in range(33):
                seen = [
                    s for s, j in enumerate(line) if keys[h, r, j] == queries[h, r, i] and j <= i
                ]
                if scope == "chunk" and seen:
                    seen = [s for s in seen if s // 7 >= seen[-1] // 7 - 1]
                pairs += len(seen)
            if not shared_qk and r == 0:
                pairs += 33
    att = mechanism.attend(qkv)
    if shared_qk:  # a token's own key, where it is alone
        pairs += int((att.weights().diagonal(dim1=1, dim2=2) > 0).sum())
    hashes = (4 + (0 if shared_qk else 2)) * 33 * 2 * 3 * 8
    said, rest = divmod(mechanism.flops(qkv) - 2 * hashes, 2 * (8 + 5))
    assert rest == 0 and said == pytest.approx(pairs, rel=0.15)
    counted = 2 * hashes + 2 * pairs * (8 + 5)
    assert engine.cost.operations(mechanism, qkv, att) == counted
    assert engine.cost.measure(mechanism, qkv).flops == counted


def test_crowded_buckets_cost_what_they_cost():
    """Where all are alike, all fall into one bucket: every round looks at every pair."""
    qkv, mechanism = engine.sources.identical(n=64, heads=2, dim=8), Lsh(buckets=8, rounds=3)
    qkv = qkv.replace(q=qkv.k)
    found = engine.cost.operations(mechanism, qkv, mechanism.attend(qkv))
    pairs = 3 * 2 * 64 * 64 + 2 * 64
    assert found == 2 * (2 * (64 + 64) * 3 * 4 * 8 + pairs * (8 + qkv.v.shape[-1]))
    assert found > 4 * mechanism.flops(qkv)


@pytest.fixture
def reformer():
    """The peer, which makes its weights in torch's default type."""
    module = pytest.importorskip("reformer_pytorch.reformer_pytorch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield module
    torch.set_default_dtype(before)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rounds", [1, 3])
def test_against_reformer_pytorch(reformer, causal, rounds):
    """Its buckets in our attention. It doesn't wrap round where it keeps to buckets, as these are
    numbered apart by round; it counts a pair once a round, which is divided out."""
    n, size = 64, 8
    draw = torch.Generator().manual_seed(rounds)
    qk, v = torch.randn(2, 2, n, 16, generator=draw, dtype=torch.float64).unbind(0)
    layer = reformer.LSHAttention(
        bucket_size=size, n_hashes=rounds, causal=causal, return_attn=True,
        attend_across_buckets=False,
    ).eval()  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        out, weights, buckets = layer(qk, v)
    ids = buckets.view(2, rounds, n) - (torch.arange(rounds) * (n // size))[:, None]
    qkv = engine.QKV(qk, F.normalize(qk, dim=-1), v, causal=causal)
    pattern = patterns.Hashed.among(qkv, ids, ids, n // size, chunk=size, shared=True)
    att = Bucketed(qkv, pattern)
    at = torch.arange(n)
    count = torch.stack([m & oracle.allowed(qkv) for m in pattern.meets(at, at)]).sum(0)
    once = weights / count.clamp_min(1)
    once /= once.sum(-1, keepdim=True)
    torch.testing.assert_close(att.weights(), once, atol=1e-12, rtol=1e-9)
    if rounds == 1:
        torch.testing.assert_close(att.output, out, atol=1e-12, rtol=1e-9)


def test_two_chunks_one_round_against_reformer_pytorch(reformer):
    """Across buckets and with two chunks it is full attention with shared queries and keys."""
    draw = torch.Generator().manual_seed(4)
    qk, v = torch.randn(2, 2, 32, 16, generator=draw, dtype=torch.float64).unbind(0)
    layer = reformer.LSHAttention(bucket_size=16, n_hashes=1, causal=False, return_attn=True)
    out, weights, _ = layer.eval()(qk, v)
    qkv = engine.QKV(qk, qk, v)
    att = engine.attend(qkv, "lsh", buckets=1, rounds=2, shared_qk=True)
    torch.testing.assert_close(att.weights(), weights, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(att.output, out, atol=1e-12, rtol=1e-9)


def test_look_back_never_wraps_round():
    """The first chunk of a round doesn't see the last one, nor another round's."""
    qkv = made(40, groups=4)
    ids = torch.zeros(4, 2, 40, dtype=torch.long)
    pattern = patterns.Hashed.among(qkv, ids, ids, 1, chunk=10)
    seen = (Bucketed(qkv, pattern).weights() > 0)[0]
    assert not seen[:10, 10:].any() and seen[:10, :10].all()
    assert seen[10:20, :20].all() and not seen[10:20, 20:].any()


def test_view_says_what_was_hashed():
    qkv = made(50, groups=2)
    view = engine.attend(qkv, "lsh", buckets=6, rounds=3, scope="chunk", chunk=9).view(Buckets)
    assert view.ids.shape == (4, 3, 50) and view.queries.shape == (4, 3, 50)
    assert (view.rounds, view.count, view.chunk) == (3, 6, 9)
    in_order = view.ids.gather(-1, view.order)
    assert (in_order.diff(dim=-1) >= 0).all()
    same = in_order.diff(dim=-1) == 0
    assert (view.order.diff(dim=-1)[same] > 0).all(), "positions rise inside a bucket"
    queries, keys = hashing.compared(qkv)
    again = hashing.hashed(queries, view.rotations, 6)
    assert torch.equal(again, view.queries)
    assert torch.equal(hashing.hashed(keys, view.rotations, 6), view.ids[::2])
