"""Segments against a block mask; integration against its definition, key by key."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import engine
from engine.contract.views import Segments
from engine.mechanisms.segmented import INTEGRATE
from tests import oracle
from tests.refusals import refused


def made(n: int = 100, groups: int = 4, causal: bool = False, **more) -> engine.QKV:
    draw = torch.Generator().manual_seed(n)
    q = torch.randn(4, n, 8, generator=draw)
    k, v = torch.randn(2, groups, n, 8, generator=draw).unbind(0)
    return engine.QKV(q, k, v, causal=causal, **more)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("segment", [1, 7, 25, 100, 1000])
def test_equals_a_block_mask(segment, groups, causal):
    qkv = made(groups=groups, causal=causal)
    i = torch.arange(100)
    block = i[:, None] // segment == i // segment
    expected = oracle.softmax(qkv, pattern=block)
    att = engine.attend(qkv, "segmented", segment=segment)
    torch.testing.assert_close(att.weights().double(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        att.output.double(), oracle.output(expected, qkv), atol=1e-5, rtol=1e-5
    )
    bounds = att.view(Segments).bounds
    assert bounds[0, 0] == 0 and bounds[-1, 1] == 100


def test_limits():
    qkv = made()
    whole = engine.attend(qkv, "segmented", segment=100)
    torch.testing.assert_close(
        whole.output, F.scaled_dot_product_attention(qkv.q, qkv.k, qkv.v), atol=1e-6, rtol=1e-5
    )
    torch.testing.assert_close(engine.attend(qkv, "segmented", segment=1).output, qkv.v)


def test_own_part_is_full_attention_renormalised():
    qkv = made()
    full = engine.attend(qkv, "softmax").weights()
    own = engine.attend(qkv, "segmented", segment=20).weights()
    part = full[:, :20, :20]
    torch.testing.assert_close(own[:, :20, :20], part / part.sum(-1, True), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("integrate", INTEGRATE[1:])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("corrected", [False, True])
def test_integration_is_its_definition(integrate, causal, masked, corrected):
    n, s = 23, 5
    mask = torch.arange(n) % 4 != 1 if masked else None
    qkv = made(n, 2, causal, key_mask=mask)
    seen = torch.ones(n, dtype=torch.bool) if mask is None else mask
    expected = torch.zeros(4, n, n, dtype=torch.float64)
    spans = [(a, min(a + s, n)) for a in range(0, n, s)]
    for h in range(4):
        q, k = qkv.q[h].double(), qkv.k[h // 2].double()
        pools = []  # (segment, key, pooling weights over all keys)
        for b, (start, stop) in enumerate(spans):
            inside = torch.zeros(n, dtype=torch.float64)
            inside[start:stop] = 1
            inside[~seen] = 0
            if inside.sum() == 0:
                continue
            kinds = {"pool": ["pool"], "attention": ["attention"]}.get(
                integrate, ["pool", "attention"]
            )
            for kind in kinds:
                z = torch.zeros(n, dtype=torch.float64)
                if kind == "attention":
                    z = k @ q[start:stop].mean(0) * qkv.factor
                p = z.masked_fill(inside == 0, -torch.inf).softmax(0)
                size = inside.sum() / len(kinds) if corrected else torch.ones(())
                pools.append((b, p @ k, p, size.log()))
        for i in range(n):
            own = spans[i // s]
            logits, spread = [], []
            for j in range(*own):
                if seen[j] and (j <= i or not causal):
                    logits.append(q[i] @ k[j] * qkv.factor)
                    spread.append(torch.eye(n, dtype=torch.float64)[j])
            for b, key, p, more in pools:
                if b < i // s or (not causal and b != i // s):
                    logits.append(q[i] @ key * qkv.factor + more)
                    spread.append(p)
            if logits:
                expected[h, i] = torch.stack(logits).softmax(0) @ torch.stack(spread)
    att = engine.attend(qkv, "segmented", segment=s, integrate=integrate, corrected=corrected)
    torch.testing.assert_close(att.weights().double(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        att.output.double(), oracle.output(expected, qkv), atol=1e-5, rtol=1e-5
    )
    summary = att.view(Segments).summary
    assert summary is not None and summary.shape == (4, 5, 5)
    if causal:
        assert (summary.triu() == 0).all(), "a summary read before its segment was complete"


@pytest.mark.parametrize("integrate", INTEGRATE[1:])
def test_summaries_that_count_their_keys_are_full_attention_of_identical_keys(integrate):
    """512 keys, segments of 64: seven eighths lie outside. A summary that counts as one key is
    given 7 of 64 + 7 parts, two a segment 14 of 64 + 14."""
    qkv = engine.sources.identical(n=512, heads=1, dim=16)
    own = torch.arange(512) // 64
    outside = own != own[:, None]

    def far(corrected: bool) -> torch.Tensor:
        how = {"segment": 64, "integrate": integrate, "corrected": corrected}
        w = engine.attend(qkv, "segmented", **how).weights().double()
        assert not corrected or torch.allclose(w, torch.tensor(1 / 512, dtype=w.dtype), rtol=1e-5)
        return (w * outside).sum(-1)

    close, kinds = torch.testing.assert_close, 2 if integrate == "concat" else 1
    close(far(True), torch.full((1, 512), 7 / 8, dtype=torch.float64), atol=1e-6, rtol=0)
    alone = 7 * kinds / (64 + 7 * kinds)
    close(far(False), torch.full((1, 512), alone, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("integrate", INTEGRATE)
def test_nothing_leaks_from_the_future(integrate):
    qkv = made(60, causal=True)
    changed = qkv.v.clone(), qkv.k.clone(), qkv.q.clone()
    for x in changed:
        x[:, 40:] += 5
    later = qkv.replace(v=changed[0], k=changed[1], q=changed[2])
    before, after = (
        engine.attend(x, "segmented", segment=16, integrate=integrate).output for x in (qkv, later)
    )
    torch.testing.assert_close(before[:, :40], after[:, :40])


def test_refuses_a_bias_where_summaries_have_no_position():
    qkv = made(20).replace(bias=lambda rows, cols: torch.zeros(4, len(rows), len(cols)))
    with refused(match="bias"):
        engine.attend(qkv, "segmented", integrate="pool")
    engine.attend(qkv, "segmented")
