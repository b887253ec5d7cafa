"""Relative positions against the models and packages that have them, and against loops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import engine
from engine.contract import Layer
from engine.contract.learned import Learned
from engine.contract.views import Bias
from engine.kernels import positions
from engine.mechanisms._distances import LEARNED, SCALARS, count
from engine.mechanisms.relative import KINDS, Relative, positioned
from tests import oracle
from tests.refusals import refused

close = torch.testing.assert_close


def made(n: int = 40, m: int | None = None, heads: int = 4, groups: int = 2, d: int = 8, **more):
    draw = torch.Generator().manual_seed(n + heads)
    q = torch.randn(heads, n, d, generator=draw)
    k = torch.randn(groups, m or n, d, generator=draw)
    v = torch.randn(groups, m or n, 6, generator=draw)
    return engine.QKV(q, k, v, **more)


def rotary(n: int = 60, **more) -> engine.QKV:
    """As a model with RoPE hands it over: rotated q and k, and what they were before."""
    qkv = made(n, **more)
    at = torch.arange(n)
    q, k = positions.rotated(qkv.q, at), positions.rotated(qkv.k, at)
    return qkv.replace(q=q, k=k, layer=Layer(q=qkv.q, k=qkv.k, rotary=True))


def learned(qkv: engine.QKV, kind: str, max_distance: int) -> Learned:
    width = 1 if kind in SCALARS else qkv.q.shape[-1]
    draw = torch.Generator().manual_seed(7)
    shape = qkv.heads, count(qkv, kind, max_distance), width
    return Learned({kind: torch.randn(shape, generator=draw)})


def by_hand(qkv: engine.QKV, kind: str, longest: int, table: torch.Tensor) -> torch.Tensor:
    """(h n m) float64 weights, one pair at a time."""
    z = torch.full((qkv.heads, qkv.n, qkv.m), -torch.inf, dtype=torch.float64)
    seen, per = oracle.allowed(qkv), qkv.heads // qkv.groups
    start = qkv.m - qkv.n if qkv.causal else 0
    for h in range(qkv.heads):
        for i in range(qkv.n):
            for j in range(qkv.m):
                if not seen[i, j]:
                    continue
                q, k, far = qkv.q[h, i].double(), qkv.k[h // per, j].double(), i + start - j
                e = table[h].double()
                if kind == "alibi":
                    added = -(2.0 ** (-8 * (h + 1) / qkv.heads)) * abs(far)
                elif kind == "t5":
                    added = e[positions.buckets(torch.tensor(far), qkv.causal, longest), 0]
                elif kind == "shaw":
                    most = len(e) // 2
                    added = q @ e[max(-most, min(most, -far)) + most] * qkv.factor
                elif kind == "fire":
                    longest = max(i + start, 0 if qkv.causal else qkv.m - 1 - i, 8)
                    at = math.log(abs(far) / 4 + 1) / math.log(longest / 4 + 1) * (len(e) - 1)
                    low = min(int(at), len(e) - 2)
                    added = (1 + low - at) * e[low, 0] + (at - low) * e[low + 1, 0]
                elif kind == "cope":
                    added = 0.0
                    if far >= 0:
                        keys = [l for l in range(j, min(qkv.m, i + start + 1)) if seen[i, l]]
                        at = sum(
                            torch.sigmoid(q @ qkv.k[h // per, l].double() * qkv.factor)
                            for l in keys
                        )
                        at = min(float(at), len(e) - 1)
                        low, high = math.floor(at), math.ceil(at)
                        added = q @ (e[low] + (at - low) * (e[high] - e[low])) * qkv.factor
                else:
                    added = q @ e[far] * qkv.factor if 0 <= far < len(e) else 0.0
                z[h, i, j] = q @ k * qkv.factor + added
    return z.softmax(-1).nan_to_num(0)


@pytest.mark.parametrize("kind", ["alibi", *LEARNED])
@pytest.mark.parametrize(("n", "m", "causal"), [(13, 13, False), (13, 13, True), (6, 15, True),
                                                (15, 6, True), (5, 11, False)])  # fmt: skip
def test_is_its_definition_pair_by_pair(kind, n, m, causal):
    qkv = made(n, m, causal=causal)
    fit = learned(qkv, kind, 4) if kind != "alibi" else Learned({kind: torch.zeros(4, 1, 1)})
    how = Relative(kind, 4, length=8, curve=0.25, learned=None if kind == "alibi" else fit)
    att = how.attend(qkv)
    close(how.reference(qkv), by_hand(qkv, kind, 4, fit.weights[kind]), atol=1e-9, rtol=1e-9)
    expected = by_hand(qkv, kind, 4, fit.weights[kind])
    close(att.weights().double(), expected, atol=1e-6, rtol=1e-5)
    close(att.output.double(), oracle.output(expected, qkv), atol=1e-5, rtol=1e-5)


def test_slopes():
    close(positions.slopes(8), 2.0 ** -torch.arange(1.0, 9).double())
    six = [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8]  # no power of two
    close(positions.slopes(6), torch.tensor(six, dtype=torch.float64))


@pytest.mark.parametrize("heads", [1, 4, 6, 8, 12])
def test_alibi_is_bloom_s_after_softmax(heads):
    """Bloom adds m·j: another number, the same weights."""
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    qkv = made(30, heads=heads, groups=1, causal=True)
    added = bloom.build_alibi_tensor(torch.ones(1, 30), heads, torch.float32).view(heads, 1, 30)
    mask = added + torch.full((30, 30), -torch.inf).triu(1)
    k, v = (x.expand(heads, -1, -1) for x in (qkv.k, qkv.v))
    expected = F.scaled_dot_product_attention(qkv.q, k, v, attn_mask=mask)
    att = engine.attend(qkv, "relative")
    close(att.output, expected, atol=2e-6, rtol=1e-5)
    bias = att.qkv.bias(torch.arange(30), torch.arange(30))
    assert not torch.allclose(bias, added.expand_as(bias))


@pytest.mark.parametrize("heads", [4, 6])
def test_alibi_is_x_transformers_in_both_directions(heads):
    x = pytest.importorskip("x_transformers.x_transformers")
    bias = engine.attend(made(30, heads=heads), "relative").qkv.bias
    rows = torch.arange(30)
    close(bias(rows, rows), x.AlibiPositionalBias(heads)(30, 30).view(heads, 30, 30))


@pytest.mark.parametrize("causal", [False, True])
def test_t5_buckets_and_bias_are_those_of_transformers(causal):
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    config = T5Config(d_model=16, d_kv=8, num_heads=4, is_decoder=causal)
    module = T5Attention(config, has_relative_attention_bias=True)
    far = torch.arange(-600, 601)
    expected = T5Attention._relative_position_bucket(-far, bidirectional=not causal)
    assert torch.equal(positions.buckets(far, causal, 128), expected)

    qkv = made(300, causal=causal)
    table = module.relative_attention_bias.weight.detach().T[..., None]
    att = Relative("t5", 128, learned=Learned({"t5": table})).attend(qkv)
    rows = torch.arange(300)
    added = module.compute_bias(300, 300)[0].detach()
    close(att.qkv.bias(rows, rows), added, atol=0, rtol=0)
    mask = added if not causal else added + torch.full((300, 300), -torch.inf).triu(1)
    expected = F.scaled_dot_product_attention(
        qkv.q, qkv.k.repeat_interleave(2, 0), qkv.v.repeat_interleave(2, 0), attn_mask=mask
    )
    close(att.output, expected, atol=2e-6, rtol=1e-5)


def test_t5_directions_have_buckets_of_their_own():
    far = torch.arange(-200, 201)
    both = positions.buckets(far, False, 128)
    assert set(both[far >= 0].tolist()) == set(range(16))
    assert set(both[far < 0].tolist()) == set(range(17, 32))  # bucket 16 is of no distance
    assert (both[far > 0].diff() >= 0).all() and both.max() == 31
    near = positions.buckets(far, True, 5)  # shorter than the single buckets
    assert near.max() == 5 and (near[far >= 5] == 5).all() and (near[far <= 0] == 0).all()


@pytest.mark.parametrize("longest", [3, 5, 40])
def test_shaw_keys_are_wav2vec2_bert_s(longest):
    bert = pytest.importorskip("transformers.models.wav2vec2_bert.modeling_wav2vec2_bert")
    config = bert.Wav2Vec2BertConfig(
        hidden_size=32, num_attention_heads=4, position_embeddings_type="relative_key",
        left_max_position_embeddings=longest, right_max_position_embeddings=longest,
        attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    module = bert.Wav2Vec2BertSelfAttention(config).eval()
    x = torch.randn(1, 30, 32)
    with torch.no_grad():
        weights = module(x, output_attentions=True)[1][0]
        q, k, v = (
            f(x).view(30, 4, 8).transpose(0, 1)
            for f in (module.linear_q, module.linear_k, module.linear_v)
        )
    table = module.distance_embedding.weight.detach().expand(4, -1, -1)
    att = Relative("shaw", longest, learned=Learned({"shaw": table})).attend(engine.QKV(q, k, v))
    close(att.weights(), weights, atol=1e-6, rtol=1e-5)


def test_skew_is_a_gather_below_the_diagonal():
    from transformers.models.xlnet.modeling_xlnet import XLNetRelativeAttention

    n = 9
    scores = torch.randn(3, n, n)
    found = positions.skewed(scores)
    i, j = torch.arange(n)[:, None], torch.arange(n)
    expected = scores.gather(-1, ((n - 1) - (i - j)).clamp(0, n - 1).expand(3, -1, -1))
    assert torch.equal(found.tril(), expected.tril())
    assert not torch.equal(found, expected)  # above it: garbage
    both = torch.cat([scores, torch.zeros(3, n, n)], -1)[None]  # distances from n − 1 to −n
    shifted = XLNetRelativeAttention.rel_shift_bnij(F.pad(both[..., :-1], (1, 0)), klen=n)[0]
    assert torch.equal(found.tril(), shifted.tril())


@pytest.mark.parametrize("longest", [4, 100])
@pytest.mark.parametrize("causal", [False, True])
def test_music_never_uses_what_the_skew_leaves_over(causal, longest):
    n = 20
    qkv = made(n, causal=causal)
    fit = learned(qkv, "music", longest)
    att = Relative("music", longest, learned=fit).attend(qkv)
    e = F.pad(fit.weights["music"], (0, 0, 0, max(0, n - longest)))[:, :n].flip(1)
    s_rel = positions.skewed(qkv.q @ e.mT).tril()
    z = (qkv.q @ qkv.k.repeat_interleave(2, 0).mT + s_rel) * qkv.factor
    if causal:
        z = z.masked_fill(torch.ones(n, n).triu(1).bool(), -torch.inf)
    close(att.weights(), z.softmax(-1), atol=1e-6, rtol=1e-5)
    before, after = att.view(Bias).skew
    assert torch.equal(after.tril(), positions.skewed(before).tril())
    close(after.tril(), s_rel * qkv.factor, atol=1e-6, rtol=1e-5)


def test_rope_is_llama_s():
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    qkv = made(50, d=16, groups=4)
    table = LlamaRotaryEmbedding(LlamaConfig(hidden_size=64, num_attention_heads=4))
    cos, sin = table(qkv.q, torch.arange(50)[None])
    q, k = apply_rotary_pos_emb(qkv.q[None], qkv.k[None], cos, sin)
    att = engine.attend(qkv.replace(causal=True), "relative", kind="rope")
    close(att.qkv.q, q[0], atol=1e-5, rtol=1e-5)
    expected = F.scaled_dot_product_attention(q[0], k[0], qkv.v, is_causal=True)
    close(att.output, expected, atol=1e-5, rtol=1e-5)


def test_rope_turns_and_nothing_else():
    x = torch.randn(2, 60, 16, dtype=torch.float64)
    turned = positions.rotated(x, torch.arange(60))
    close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, 0], x[:, 0])
    one = positions.rotated(x[:, :1].expand(-1, 60, -1), torch.arange(60))
    scores = one @ one.mT  # constant q and k: Toeplitz
    for shift in (0, 1, 17):
        line = scores.diagonal(shift, 1, 2)
        close(line, line[:, :1].expand_as(line))
    odd = positions.rotated(torch.randn(1, 5, 7), torch.arange(5))  # the last dimension stays
    assert odd.shape == (1, 5, 7)


def test_rope_decay_is_the_mean_over_unit_vectors():
    d, far = 8, torch.tensor([0, 1, 5, 40])
    x = F.normalize(torch.randn(1, 40_000, d, generator=torch.Generator().manual_seed(0)), dim=-1)
    for delta, value in zip(far, positions.decay(d, far), strict=True):
        turned = positions.rotated(x, torch.full((40_000,), int(delta)))
        assert float((x * turned).sum(-1).mean()) == pytest.approx(float(value), abs=0.01)


def test_rope_gives_back_what_the_model_had():
    qkv = rotary(causal=True)
    close(
        engine.attend(qkv, "relative", kind="rope").weights(),
        engine.attend(qkv, "softmax").weights(), atol=1e-6, rtol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_positions_are_put_where_the_model_s_were(kind):
    """The model's own rotation is taken out first; the view says which q and k these are."""
    qkv = rotary()
    plain = qkv.replace(q=qkv.layer.q, k=qkv.layer.k, layer=None)
    fit = None if kind not in LEARNED else learned(qkv, kind, 8)
    first, second = (Relative(kind, 8, learned=fit).attend(x) for x in (qkv, plain))
    close(first.weights(), second.weights(), atol=1e-6, rtol=1e-5)
    assert (first.view(Bias).origin, second.view(Bias).origin) == ("before", "given")
    unknown = qkv.replace(layer=Layer(rotary=True))
    assert Relative(kind, 8, learned=fit).attend(unknown).view(Bias).origin == "rotated"


@pytest.mark.parametrize("kind", LEARNED)
def test_zero_embeddings_are_full_attention(kind):
    qkv = made()
    nothing = Learned({kind: torch.zeros_like(learned(qkv, kind, 8).weights[kind])})
    same = Learned({kind: torch.ones_like(learned(qkv, kind, 8).weights[kind])})
    full = engine.attend(qkv, "softmax").weights()
    close(Relative(kind, 8, learned=nothing).attend(qkv).weights(), full, atol=1e-6, rtol=1e-5)
    if kind not in ("music", "cope"):  # the same for each distance: constant in a row
        close(Relative(kind, 8, learned=same).attend(qkv).weights(), full, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", LEARNED)
def test_a_fit_finds_what_there_is(kind):
    """Positions that are of the kind are explained almost wholly; random ones are not."""
    qkv = made(400, groups=4, causal=True)
    truth = learned(qkv, kind, 16)
    z = oracle.logits(positioned(qkv, Relative(kind, 16, learned=truth))).float()
    # rotated "scores" that are content and position: q one-hot in a wide space, k the columns
    eye = torch.eye(400).expand(4, -1, -1)
    given = engine.QKV(
        torch.cat([eye, torch.zeros(4, 400, 8)], -1),
        torch.cat([z.mT, torch.zeros(4, 400, 8)], -1),
        qkv.v, causal=True, scale=1.0,
        layer=Layer(
            q=torch.cat([torch.zeros_like(eye), qkv.q * qkv.factor], -1),
            k=torch.cat([torch.zeros_like(eye), qkv.k], -1), rotary=True,
        ),
    )  # fmt: skip
    fit = Relative(kind, 16).fit(given).learned
    assert fit.fidelity.measure == "r2_position"
    assert (fit.fidelity.value > 0.97).all() and (fit.fidelity.random < 0.3).all()


@pytest.mark.parametrize("kind", LEARNED)
def test_a_fit_is_kept_and_seeded(kind):
    qkv = rotary()
    first, again = (Relative(kind, 8, 3).fit(qkv) for _ in range(2))
    close(first.learned.weights[kind], again.learned.weights[kind], atol=0, rtol=0)
    assert first.attend(qkv).fidelity is first.learned.fidelity
    with refused(match=f"its {kind} is"):
        first.attend(qkv.head(0))


def test_noise_has_no_positions_to_find():
    qkv = engine.sources.planted(n=600, heads=2, dim=16)
    for kind in LEARNED:
        fidelity = Relative(kind).fit(qkv).learned.fidelity
        assert fidelity.measure == "r2" and (fidelity.value < 0.05).all()


def test_alibi_alone_has_its_closed_form():
    """Equal scores: H = −ln(1−q) + mq/(1−q) and PR = coth(m/2), whatever the length."""
    q = k = torch.zeros(8, 600, 4)
    qkv = engine.QKV(q, k, torch.zeros(8, 600, 4), causal=True)
    last = engine.attend(qkv, "relative").rows(torch.tensor([599]))
    for h in range(4):  # slopes 1/2 … 1/16: the text is long beside their reach
        m = 2.0 ** -(h + 1)
        p = math.exp(-m)
        expected = -math.log(1 - p) + m * p / (1 - p)
        assert float(last.entropy[h, 0]) == pytest.approx(expected, rel=1e-5)
        assert float(last.participation[h, 0]) == pytest.approx(1 / math.tanh(m / 2), rel=1e-5)
    assert float(last.entropy[0, 0]) == pytest.approx(1.703499, abs=1e-5)
    assert float(last.participation[0, 0]) == pytest.approx(4.082988, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bias_that_is_there_stays(kind):
    ramp = lambda rows, cols: (cols % 3).float().expand(4, len(rows), -1)  # noqa: E731
    qkv = made()
    fit = None if kind not in LEARNED else learned(qkv, kind, 8)
    both = Relative(kind, 8, learned=fit).attend(qkv.replace(bias=ramp)).weights().double()
    without = positioned(qkv, Relative(kind, 8, learned=fit))
    z = oracle.logits(without) + (torch.arange(40) % 3).double()
    close(both, z.softmax(-1), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_fast_output_streaming_and_windows_agree(kind):
    """Long enough for several blocks of rows and tiles of keys, masked, one bias a head."""
    mask = torch.arange(1500) % 7 != 3
    qkv = rotary(1500, heads=4, causal=True, key_mask=mask)
    fit = None if kind not in LEARNED else learned(qkv, kind, 64)
    att = Relative(kind, 64, learned=fit).attend(qkv)
    expected = att.weights().double()
    close(oracle.softmax(att.qkv), expected, atol=2e-6, rtol=1e-4)
    close(att.output.double(), oracle.output(expected, qkv), atol=1e-5, rtol=1e-5)
    found = att.summary(64)
    close(found.output, att.output, atol=1e-5, rtol=1e-5)
    some = torch.tensor([1400, 3, 77])
    part = att.weights(some, slice(5, 900)).double()
    close(part, expected[:, some, 5:900], atol=1e-6, rtol=1e-5)
    close(att.steps(2, 900).weights.double(), expected[2, 900], atol=1e-6, rtol=1e-5)


def test_what_there_is_no_kind_of_is_refused():
    with refused(match="kind"):
        Relative("learned")


@pytest.mark.parametrize("kind", KINDS)
def test_the_view_is_of_the_scores(kind):
    qkv = rotary(30, causal=True)
    fit = None if kind not in LEARNED else learned(qkv, kind, 8)
    att = Relative(kind, 8, learned=fit).attend(qkv)
    view = att.view(Bias)
    plain = qkv.replace(q=qkv.layer.q, k=qkv.layer.k, layer=None)
    added = oracle.logits(att.qkv) - oracle.logits(plain)
    assert view.distance.tolist() == list(range(30))
    for far in (0, 1, 7, 29):
        line = added.diagonal(-far, 1, 2).mean(-1)
        close(view.value[:, far].double(), line, atol=1e-5, rtol=1e-4)
        line = oracle.logits(att.qkv).diagonal(-far, 1, 2).mean(-1)
        close(view.logit[:, far].double(), line, atol=1e-5, rtol=1e-4)
    if kind == "alibi":
        close(view.half_life, math.log(2) * 2.0 ** torch.tensor([2.0, 4, 6, 8]))


@pytest.mark.parametrize("kind", KINDS)
def test_flops_count_the_products(kind):
    qkv = made(7, 9, causal=True)
    pairs = int(oracle.allowed(qkv).sum()) * qkv.heads
    d, e = 8, 6
    each = {"alibi": 2, "t5": 1, "shaw": 1, "music": 1, "fire": 4, "cope": 4 + 2 * d}.get(kind, 0)
    once = {
        "alibi": 0, "t5": 0, "fire": 0, "cope": 2 * 4 * 7 * 4 * d,
        "shaw": 2 * 4 * 7 * 7 * d, "music": 2 * 4 * 7 * 3 * d,
    }.get(kind, 3 * d * (4 * 7 + 2 * 9))  # fmt: skip
    assert Relative(kind, 3).flops(qkv) == pairs * (2 * (d + e) + each) + once
