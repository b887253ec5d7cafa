"""Cached keys: against dense masks, streamed models of two other packages, and exact limits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import engine
from engine.contract.views import Memory
from engine.measure import ages
from tests import oracle


def made(n: int = 60, m: int | None = None, groups: int = 2, causal: bool = True, **more):
    draw = torch.Generator().manual_seed(n)
    q = torch.randn(4, n, 8, generator=draw)
    k, v = torch.randn(2, groups, m or n, 8, generator=draw).unbind(0)
    return engine.QKV(q, k, v, causal=causal, **more)


def reach(qkv: engine.QKV, segment: int, memory: int) -> torch.Tensor:
    """(n m), from the words of the definition, a pair at a time."""
    offset = qkv.m - qkv.n if qkv.causal else 0
    seen = torch.zeros(qkv.n, qkv.m, dtype=torch.bool)
    for i in range(qkv.n):
        begin = (i + offset) // segment * segment
        for j in range(qkv.m):
            seen[i, j] = begin - memory <= j < begin + segment
    return seen


def test_by_hand():
    """Segments of 2, memory 1, equal scores: row 2 reads keys 1 and 2, row 3 keys 1, 2 and 3."""
    qkv = engine.sources.identical(n=4, heads=1, dim=4).replace(causal=True)
    w = engine.attend(qkv, "transformer_xl", segment=2, memory=1).weights()[0]
    third = 1 / 3
    expected = [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, third, third, third]]
    torch.testing.assert_close(w, torch.tensor(expected))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("n", "m"), [(60, 60), (13, 60), (60, 41)])
@pytest.mark.parametrize(
    ("segment", "memory"), [(1, 0), (7, 3), (8, 8), (8, 20), (100, 5), (9, 99)]
)
def test_is_softmax_over_its_reach(n, m, segment, memory, causal):
    mask = torch.arange(m) % 5 != 2
    qkv = made(n, m, causal=causal, key_mask=mask, sinks=torch.randn(4), softcap=3.0)
    for x in (qkv, made(n, m, causal=causal)):
        expected = oracle.softmax(x, pattern=reach(x, segment, memory))
        att = engine.attend(x, "transformer_xl", segment=segment, memory=memory)
        torch.testing.assert_close(att.weights().double(), expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(
            att.output.double(), oracle.output(expected, x), atol=1e-5, rtol=1e-5
        )


def test_exact_limits():
    for causal in (True, False):
        qkv = made(50, causal=causal)
        none = engine.attend(qkv, "transformer_xl", segment=7, memory=0)
        segmented = engine.attend(qkv, "segmented", segment=7)
        assert torch.equal(none.weights(), segmented.weights())
    qkv = made(50, groups=4)
    everything = engine.attend(qkv, "transformer_xl", segment=7, memory=49)
    full = F.scaled_dot_product_attention(qkv.q, qkv.k, qkv.v, is_causal=True)
    torch.testing.assert_close(everything.output, full, atol=1e-6, rtol=1e-5)


def test_fidelity_never_falls_as_memory_grows():
    qkv = made(64)
    full = engine.attend(qkv, "softmax").weights()
    before = torch.zeros(4, 64)
    for memory in (0, 1, 5, 16, 40, 64):
        seen = reach(qkv, 8, memory) & oracle.allowed(qkv)
        captured = (full * seen).sum(-1)
        assert (captured >= before - 1e-6).all()
        before = captured
    torch.testing.assert_close(before, torch.ones(4, 64))


def streamed(model, x: torch.Tensor, segment: int) -> torch.Tensor:
    mems, outs = None, []
    for part in x.split(segment, 1):
        out, mems = model(part, mems=mems, return_mems=True)
        outs.append(out)
    return torch.cat(outs, 1)


@pytest.mark.parametrize("memory", [0, 5, 8, 20, 64])
def test_equals_x_transformers_with_mems(memory):
    """One layer without positions: its logits, segment by segment with mems, from our output.

    With memory shorter than the history this is finite memory, not only the full limit.
    """
    xt = pytest.importorskip("x_transformers")
    torch.manual_seed(0)
    model = xt.TransformerWrapper(
        num_tokens=50, max_seq_len=64, max_mem_len=memory, use_abs_pos_emb=False,
        attn_layers=xt.Decoder(dim=32, depth=1, heads=4, attn_dim_head=8),
    ).eval()  # fmt: skip
    x = torch.randint(50, (1, 40))
    caught = {}
    attend = next(b for _, b, _ in model.attn_layers.layers if hasattr(b, "to_q"))
    for name in ("to_q", "to_k", "to_v"):
        getattr(attend, name).register_forward_hook(
            lambda _, __, out, name=name: caught.__setitem__(name, out)
        )
    fed = {}
    attend.to_out.register_forward_hook(
        lambda _, given, __: fed.setdefault("all", []).append(given[0])
    )
    with torch.no_grad():
        model(x)
        q, k, v = (
            caught[name][0].unflatten(-1, (4, 8)).transpose(0, 1)
            for name in ("to_q", "to_k", "to_v")
        )
        fed.clear()
        streamed(model, x, 8)
    theirs = torch.cat(fed["all"], 1)[0].unflatten(-1, (4, 8)).transpose(0, 1)
    qkv = engine.QKV(q, k, v, causal=True)
    ours = engine.attend(qkv, "transformer_xl", segment=8, memory=memory).output
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("memory", [6, 64])
def test_equals_xlnet_with_mems(memory):
    """HF XLNet's relative attention with its position terms at zero, streamed with mems."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.XLNetConfig(
        vocab_size=50, d_model=32, n_layer=1, n_head=4, d_inner=64, attn_type="uni",
        mem_len=memory, dropout=0.0, use_mems_eval=True,
    )  # fmt: skip
    model = transformers.XLNetModel(config).eval()
    layer = model.layer[0].rel_attn
    x = torch.randint(50, (1, 32))
    with torch.no_grad():
        for name in ("r", "r_r_bias", "r_s_bias", "r_w_bias"):
            getattr(layer, name).zero_()
        embedded = model.word_embedding(x)[0]
        q, k, v = (torch.einsum("id,dhe->hie", embedded, getattr(layer, name)) for name in "qkv")
        mems, theirs = None, []
        for part in x.split(8, 1):
            found = model(part, mems=mems, use_mems=True, output_attentions=True)
            mems = found.mems
            theirs.append(found.attentions[0][0])
    qkv = engine.QKV(q, k, v, causal=True)
    ours = engine.attend(qkv, "transformer_xl", segment=8, memory=memory).weights()
    for s, weights in enumerate(theirs):
        kept = weights.shape[-1] - 8
        assert kept == min(memory, 8 * s)
        at = slice(8 * s - kept, 8 * s + 8)
        torch.testing.assert_close(ours[:, 8 * s : 8 * s + 8, at], weights, atol=1e-6, rtol=1e-5)
        assert ours[:, 8 * s : 8 * s + 8, : at.start].abs().max() == 0 if at.start else True


def test_equals_local_attention_looking_back_one_segment():
    """With memory = segment, rows read two whole segments: local-attention's look_backward = 1."""
    local = pytest.importorskip("local_attention")
    n, s = 48, 8
    for causal in (True, False):
        qkv = made(n, groups=4, causal=causal)
        theirs = local.LocalAttention(
            dim=8, window_size=s, causal=causal, look_backward=1, look_forward=0,
            autopad=True, use_rotary_pos_emb=False,
        )(qkv.q, qkv.k, qkv.v)  # fmt: skip
        ours = engine.attend(qkv, "transformer_xl", segment=s, memory=s).output
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_nothing_leaks_from_the_future():
    qkv = made(60)
    later = {name: getattr(qkv, name).clone() for name in "qkv"}
    for x in later.values():
        x[:, 37:] += 5
    a, b = (
        engine.attend(x, "transformer_xl", segment=16, memory=10).output
        for x in (qkv, qkv.replace(**later))
    )
    torch.testing.assert_close(a[:, :37], b[:, :37])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("n", "m"), [(60, 60), (13, 60), (60, 41)])
def test_flops_are_two_a_multiply_add_of_each_pair_read(n, m, causal):
    qkv = made(n, m, causal=causal)
    for segment, memory in ((7, 3), (8, 20), (100, 0)):
        pairs = int((reach(qkv, segment, memory) & oracle.allowed(qkv)).sum())
        cls = engine.MECHANISMS["transformer_xl"]
        assert cls(segment=segment, memory=memory).flops(qkv) == 2 * 4 * pairs * 16


@pytest.mark.parametrize("causal", [False, True])
def test_view_says_reach_and_mass_by_age(causal):
    qkv = made(50, 57, causal=causal)
    att = engine.attend(qkv, "transformer_xl", segment=8, memory=5)
    view = att.view(Memory)
    seen = reach(qkv, 8, 5) & oracle.allowed(qkv)
    for i, (a, b) in enumerate(view.reach.tolist()):
        assert (b - a == 0 and not seen[i].any()) or (
            seen[i].nonzero()[0] == a and seen[i].nonzero()[-1] == b - 1
        )
    offset = 7 if causal else 0
    age = (torch.arange(50)[:, None] + offset - torch.arange(57)).abs()
    w = att.weights().double()
    for b in range(len(view.ages) - 1):
        inside = (age >= view.ages[b]) & (age < view.ages[b + 1])
        expected = (w * inside).sum(-1).mean(-1)
        torch.testing.assert_close(view.mass[:, b].double(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(view.mass.sum(-1), torch.ones(4))
    assert view.rows.tolist() == list(range(50)) and view.slots is None and view.length == 5


def test_long_texts_are_sampled():
    rows = ages.sample(10_000)
    assert len(rows) == 256 and rows.diff().min() >= 39 and rows[0] > 0 and rows[-1] < 10_000


@pytest.mark.parametrize(("segment", "memory"), [(7, 3), (8, 8), (5, 17)])
def test_is_the_recursion_that_its_formula_writes_out(segment, memory):
    """h_t = f(h_{t−1}, x_t), the last `memory` of [h_{t−1}; (K_t, V_t)], one segment at a time."""
    qkv = made(60)
    k, v = (x.double().repeat_interleave(2, 0) for x in (qkv.k, qkv.v))
    state, out = (k[:, :0], v[:, :0]), []
    for start in range(0, 60, segment):
        here = slice(start, start + segment)
        keys, values = (torch.cat([h, x[:, here]], 1) for h, x in zip(state, (k, v), strict=True))
        z = qkv.q[:, here].double() @ keys.mT / 8**0.5
        future = torch.ones(z.shape[-2:], dtype=torch.bool).triu(z.shape[-1] - z.shape[-2] + 1)
        out.append(z.masked_fill(future, -torch.inf).softmax(-1) @ values)
        state = (keys[:, -memory:], values[:, -memory:])
    mechanism = engine.make("transformer_xl", segment=segment, memory=memory)
    assert mechanism.formulas == ("", "recursion")
    assert engine.make("transformer_xl", memory=0).formulas == ("",)
    found = mechanism.attend(qkv).output.double()
    torch.testing.assert_close(found, torch.cat(out, 1), atol=1e-5, rtol=1e-5)
