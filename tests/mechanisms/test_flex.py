"""FlexAttention's rules as they are written, against dense attention written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import (
    and_masks,
    create_block_mask,
    flex_attention,
    or_masks,
)

import engine
from engine.contract import QKV
from engine.mechanisms.cost import Alive
from engine.models.masks import Band
from tests import oracle
from tests.refusals import refused

N, HEADS, SIDE = 20, 4, 5
I, J = torch.arange(N)[:, None], torch.arange(N)
H = torch.arange(HEADS)[:, None, None]
NEAR = {"atol": 1e-5, "rtol": 1e-5}
DOC = torch.tensor([0] * 7 + [1] * 4 + [2] * 9)
# texts with pictures: where a picture's tokens lie, and the last picture before each token
PICTURE = torch.tensor([0] * 3 + [1] * 3 + [0] * 4 + [2] * 4 + [0] * 6)
LAST = PICTURE.cummax(0).values
TABLE = torch.randn(HEADS, 2 * N, generator=torch.Generator().manual_seed(1))


def given_qkv(causal: bool = False, dtype: torch.dtype = torch.float64, m: int = N) -> QKV:
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(x, generator=draw) for x in ((HEADS, N, 8), (2, m, 8), (2, m, 5)))
    return QKV(q, k, v, causal=causal, needles=torch.tensor([3])).to(dtype=dtype)


def causal(b, h, q_idx, kv_idx):
    return q_idx >= kv_idx


def sliding(b, h, q_idx, kv_idx):
    return q_idx - kv_idx < 4


def prefix(b, h, q_idx, kv_idx):
    return kv_idx < 6


def document(b, h, q_idx, kv_idx):
    return DOC[q_idx] == DOC[kv_idx]


def dilated(b, h, q_idx, kv_idx):
    far = q_idx - kv_idx
    return (far >= 0) & (far < 9) & (far % 3 == 0)


def both_ways(b, h, q_idx, kv_idx):
    return torch.abs(q_idx - kv_idx) <= 3


def with_globals(b, h, q_idx, kv_idx):
    return (torch.abs(q_idx - kv_idx) <= 2) | (q_idx < 2) | (kv_idx < 2)


def neighbourhood(b, h, q_idx, kv_idx):
    """NATTEN: a square of 3 × 3 about the patch, shifted at the edges."""
    x, y = q_idx // SIDE, q_idx % SIDE
    x, y = x.clamp(1, N // SIDE - 2), y.clamp(1, SIDE - 2)
    return ((x - kv_idx // SIDE).abs() <= 1) & ((y - kv_idx % SIDE).abs() <= 1)


def last_picture(b, h, q_idx, kv_idx):
    """Flamingo: text reads the last picture before it."""
    return (PICTURE[kv_idx] == LAST[q_idx]) & (PICTURE[kv_idx] > 0)


def shared_question(b, h, q_idx, kv_idx):
    """Answers that read the question and themselves."""
    return causal(b, h, q_idx, kv_idx) & ((kv_idx < 7) | (DOC[q_idx] == DOC[kv_idx]))


def pictures_whole(b, h, q_idx, kv_idx):
    """Transfusion: causal, and both ways inside a picture."""
    return (q_idx >= kv_idx) | ((PICTURE[q_idx] == PICTURE[kv_idx]) & (PICTURE[q_idx] > 0))


def space_or_time(b, h, q_idx, kv_idx):
    """Sparse VideoGen: heads that look within a frame, and heads that look along time."""
    within, along = q_idx // SIDE == kv_idx // SIDE, q_idx % SIDE == kv_idx % SIDE
    return torch.where(h < 2, within, along)


def everything(b, h, q_idx, kv_idx):
    return b.new_ones(size=(), dtype=torch.bool)


ROW, COL = I // SIDE, I % SIDE
MASKS = {
    causal: I >= J,
    sliding: I - J < 4,
    and_masks(causal, sliding): (I - J < 4) & (I >= J),
    or_masks(prefix, causal): (J < 6) | (I >= J),
    document: torch.block_diag(torch.ones(7, 7), torch.ones(4, 4), torch.ones(9, 9)) > 0,
    and_masks(document, causal): torch.block_diag(
        torch.ones(7, 7), torch.ones(4, 4), torch.ones(9, 9)
    ).tril() > 0,
    dilated: sum(torch.eye(N).diag().diag_embed(-x)[:N, :N] for x in (0, 3, 6)) > 0,
    both_ways: (I - J < 4) & (J - I < 4),
    with_globals: ((I - J < 3) & (J - I < 3)) | (I < 2) | (J < 2),
    neighbourhood: (
        ((ROW.clamp(1, 2) - ROW.T).abs() < 2) & ((COL.clamp(1, 3) - COL.T).abs() < 2)
    ),
    last_picture: torch.cat(
        [torch.zeros(3, N), ((J > 2) & (J < 6)).expand(7, N), ((J > 9) & (J < 14)).expand(10, N)]
    ) > 0,
    shared_question: (I >= J) & ((J < 7) | ((I >= 7) & (I < 11) & (J < 11)) | (I < 7)
                                 | ((I >= 11) & (J >= 11))),
    pictures_whole: (I >= J) | ((I > 2) & (I < 6) & (J > 2) & (J < 6))
    | ((I > 9) & (I < 14) & (J > 9) & (J < 14)),
    space_or_time: torch.where(H < 2, I // SIDE == J // SIDE, I % SIDE == J % SIDE),
    everything: torch.ones(N, N) > 0,
}  # fmt: skip


def alibi(score, b, h, q_idx, kv_idx):
    return score - (q_idx - kv_idx).abs() * torch.exp2(-((h + 1) * 8.0 / HEADS))


def softcap(score, b, h, q_idx, kv_idx):
    return 2 * torch.tanh(score / 2)


def relative(score, b, h, q_idx, kv_idx):
    return score + (q_idx - kv_idx)


def learned(score, b, h, q_idx, kv_idx):
    return score + TABLE[h, q_idx - kv_idx + N]


def by_head(score, b, h, q_idx, kv_idx):
    return score + TABLE[h, 0]


def checkerboard(score, b, h, q_idx, kv_idx):
    return torch.where((q_idx + kv_idx) % 2 == 0, score * 0.5, score)


def unseen(score, b, h, q_idx, kv_idx):
    return torch.where(kv_idx <= q_idx, score, -float("inf"))


SLOPES = torch.tensor([0.25, 0.0625, 0.015625, 0.00390625])[:, None, None]
SCORES = {
    alibi: lambda z: z - SLOPES * (I - J).abs(),
    softcap: lambda z: 2 * torch.tanh(z / 2),
    relative: lambda z: z + I - J,
    learned: lambda z: z + TABLE[H, I - J + N],
    by_head: lambda z: z + TABLE[:, :1, None],
    checkerboard: lambda z: z * (1 - 0.5 * ((I + J) % 2 == 0)),
    unseen: lambda z: z.masked_fill(J > I, -torch.inf),
}


def dense(qkv: QKV, mask: torch.Tensor | None = None, change=None) -> torch.Tensor:
    k = qkv.k.double().repeat_interleave(2, 0)
    z = qkv.q.double() @ k.mT / 8**0.5
    z = z if change is None else change(z)
    seen = oracle.allowed(qkv) if mask is None else oracle.allowed(qkv) & mask
    return z.masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num(0)


@pytest.mark.parametrize("rule", MASKS, ids=lambda rule: rule.__name__)
def test_masks_as_the_gym_has_them(rule):
    for qkv in (given_qkv(), given_qkv(causal=True)):
        expected = dense(qkv, MASKS[rule])
        att = engine.attend(qkv, engine.flex(mask_mod=rule))
        torch.testing.assert_close(att.weights(), expected)
        found = att.summary(7)
        torch.testing.assert_close(found.output, oracle.output(expected, qkv))
        for name, value in oracle.statistics(expected, qkv).items():
            torch.testing.assert_close(getattr(found.rows, name), value, **NEAR)
        torch.testing.assert_close(
            found.maps["max"].double(), oracle.pooled(expected, qkv, 7, "max"), atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("rule", SCORES, ids=lambda rule: rule.__name__)
def test_scores_as_the_gym_has_them(rule):
    for qkv in (given_qkv(), given_qkv(causal=True)):
        expected = dense(qkv, change=SCORES[rule])
        att = engine.attend(qkv, engine.flex(score_mod=rule))
        torch.testing.assert_close(att.weights(), expected)
        found = att.summary(7)
        torch.testing.assert_close(found.output, oracle.output(expected, qkv))
        for name, value in oracle.statistics(expected, qkv).items():
            torch.testing.assert_close(getattr(found.rows, name), value, **NEAR)


@pytest.mark.parametrize("mask", [document, space_or_time])
def test_the_output_is_flex_attentions(mask):
    qkv = given_qkv(dtype=torch.float32).replace(v=torch.randn(2, N, 8))
    q, k, v = (x[None] for x in (qkv.q, qkv.k, qkv.v))
    blocks = create_block_mask(mask, None, HEADS, N, N, device="cpu")
    expected = flex_attention(q, k, v, score_mod=alibi, block_mask=blocks, enable_gqa=True)[0]
    att = engine.attend(qkv, engine.flex(score_mod=alibi, mask_mod=mask))
    torch.testing.assert_close(att.output, expected, atol=2e-6, rtol=1e-5)


@settings(max_examples=25)
@given(
    mask=st.sampled_from([None, *MASKS]), score=st.sampled_from([None, *SCORES]),
    weights=st.booleans(), sinks=st.booleans(), softcap=st.sampled_from([None, 3.0]),
    causal=st.booleans(), bias=st.booleans(), band=st.booleans(), hidden=st.booleans(),
)  # fmt: skip
def test_rules_come_after_all_that_a_layer_holds(
    mask, score, weights, sinks, softcap, causal, bias, band, hidden
):
    if not (mask or score or weights):
        return
    qkv = given_qkv(causal).replace(
        sinks=torch.arange(4).double() if sinks else None, softcap=softcap,
        bias=(lambda r, c: TABLE[:, r[:, None] - c]) if bias else None,
        mask=Band(5, 5) if band else None, key_mask=torch.arange(N) % 4 > 0 if hidden else None,
    )  # fmt: skip
    half = qkv.replace(q=qkv.q[:, :6])  # rows by their numbers, whatever the keys
    made = engine.flex(
        mask_mod=mask, score_mod=score,
        weights=(lambda z: torch.nan_to_num((z / 2).softmax(-1))) if weights else None,
    )  # fmt: skip
    for given_ in (qkv, half):
        att = engine.attend(given_, made)
        expected = made.reference(given_)
        torch.testing.assert_close(att.weights(), expected)
        torch.testing.assert_close(att.output, oracle.output(expected, given_))
    steps = att.steps(2, 4)
    torch.testing.assert_close(steps.weights, expected[2, 4])
    left = att.hide(torch.tensor([1])).weights()
    before, kept = expected.sum(-1), expected[..., torch.arange(N) != 1].sum(-1)
    some = kept > 0
    torch.testing.assert_close(left.sum(-1)[some], before[some])


def test_only_what_asks_for_the_head_has_a_pattern_of_each():
    qkv = given_qkv(dtype=torch.float32)
    for rule in MASKS:
        att = engine.attend(qkv, engine.flex(mask_mod=rule))
        assert att.pattern.per_head == (rule is space_or_time) != att.streams


def test_a_map_of_ones_own():
    """Any function from scores to weights: here σ(z)/4, and a row's largest alone."""
    qkv = given_qkv(causal=True)
    seen, z = oracle.allowed(qkv), oracle.logits(qkv)
    share = engine.attend(qkv, engine.flex(weights=lambda z: z.sigmoid() / 4, rows="positive"))
    torch.testing.assert_close(share.weights(), z.sigmoid() / 4 * seen)

    def largest(z):
        return (z == z.amax(-1, keepdim=True)).double()

    hard = engine.attend(qkv, engine.flex(weights=largest))
    expected = z.masked_fill(~seen, -torch.inf).argmax(-1)
    assert torch.equal(hard.weights().argmax(-1), expected) and hard.row_kind == "stochastic"
    assert torch.equal(hard.rows().entropy, torch.zeros(HEADS, N, dtype=torch.float64))


def branching(b, h, q_idx, kv_idx):
    if q_idx > kv_idx:
        return q_idx > kv_idx
    return q_idx == kv_idx


def missing(score, b, h, q_idx, kv_idx):
    return score + no_such_name


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({}, "needs a rule"),
        ({"mask_mod": branching}, r"test_flex.py, line \d+: .*control flow"),
        ({"mask_mod": lambda b, h, q_idx, kv_idx: q_idx - kv_idx}, "true or false .* not int64"),
        ({"score_mod": missing}, r"test_flex.py, line \d+: NameError.*no_such_name"),
        ({"score_mod": lambda s, b, h, q_idx, kv_idx: s / 0 - s / 0}, "what is no number"),
        ({"weights": lambda z: z.sigmoid()}, "not stochastic, as was said"),
        ({"weights": lambda z: -z.sigmoid(), "rows": "positive"}, "not positive, as was said"),
        ({"weights": lambda z: z.sum(-1)}, "as many numbers"),
        ({"weights": lambda z: z + 1e400, "rows": "signed"}, "not finite"),
        ({"weights": lambda z: z, "rows": "even"}, "rows must be"),
    ],
)
def test_a_mistake_is_said_with_its_line(rules, words):
    with refused(match=words):
        engine.attend(given_qkv(), engine.flex(**rules)).rows()


def test_nothing_n_by_n_is_held():
    qkv = engine.sources.planted(n=4096, heads=1, dim=8, seed=1)
    made = engine.flex(mask_mod=lambda b, h, q_idx, kv_idx: q_idx // 99 == kv_idx // 99)
    with Alive([qkv.q, qkv.k, qkv.v]) as alive:
        engine.attend(qkv, made).summary(64)
    assert alive.peak < qkv.n * qkv.m * 4
