"""What a QKV refuses, and what it derives."""

from __future__ import annotations

import pytest
import torch

import engine
from engine.contract import Frame, Param
from tests import oracle
from tests.refusals import refused


def tensors(h=2, g=1, n=4, m=5, d=3):
    return torch.randn(h, n, d), torch.randn(g, m, d), torch.randn(g, m, d)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"q": torch.zeros(4, 3)}, "q must be floating point"),
        ({"q": torch.zeros(2, 4, 3, dtype=torch.long)}, "q must be floating point"),
        ({"k": torch.full((1, 5, 3), torch.nan)}, "k holds values that are not finite"),
        ({"v": torch.zeros(1, 6, 3)}, "heads and positions must agree"),
        ({"q": torch.zeros(3, 4, 3), "k": torch.zeros(2, 5, 3), "v": torch.zeros(2, 5, 3)},
         "do not divide"),
        ({"q": torch.zeros(2, 0, 3)}, "empty"),
        ({"q": torch.zeros(2, 4, 3, dtype=torch.float64)}, "one data type"),
        ({"key_mask": torch.ones(4, dtype=torch.bool)}, "key_mask must be 5 booleans"),
        ({"tokens": ("a",)}, "1 token was given for 5 keys"),
        ({"needles": torch.tensor([5])}, "positions must lie in"),
        ({"sinks": torch.zeros(3)}, "sinks must be 2 logits"),
        ({"softcap": 0.0}, "softcap must be above 0"),
        ({"units": {"words": torch.tensor([[0, 2], [3, 5]])}}, "partition"),
    ],
)  # fmt: skip
def test_refuses_what_disagrees(change, words):
    q, k, v = tensors()
    with refused(match=words):
        engine.QKV(**({"q": q, "k": k, "v": v} | change))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("n", "m"), [(6, 6), (3, 9), (9, 3)])
@pytest.mark.parametrize("extra", ["none", "key_mask", "mask", "both"])
def test_seen_counts_what_is_visible(n, m, causal, extra):
    keys = torch.arange(m) % 3 != 0 if extra in ("key_mask", "both") else None
    near = (lambda r, c: (r[:, None] - c).abs() < 4) if extra in ("mask", "both") else None
    qkv = engine.QKV(*tensors(n=n, m=m), causal=causal, key_mask=keys, mask=near)
    expected = oracle.allowed(qkv)
    count, first = qkv.frame.seen(torch.arange(n))
    assert torch.equal(count, expected.sum(1))
    some = expected.any(1)
    assert torch.equal(first[some], expected.int().argmax(1)[some])
    visible = qkv.frame.visible(torch.arange(n), torch.arange(m))
    assert torch.equal(expected, expected | True if visible is None else visible)
    edges = torch.tensor([0, 1, m])
    cells = qkv.frame.cell_counts(torch.arange(n), edges)
    assert torch.equal(cells, torch.stack([expected[:, :1].sum(1), expected[:, 1:].sum(1)], 1))


def test_one_head_is_the_head():
    qkv = engine.QKV(
        *tensors(h=4, g=2), sinks=torch.arange(4.0),
        bias=lambda r, c: torch.arange(4.0)[:, None, None] * (r[:, None] - c),
    )  # fmt: skip
    whole = engine.attend(qkv, "softmax")
    for h in range(4):
        alone = engine.attend(qkv.head(h), "softmax")
        torch.testing.assert_close(alone.output[0], whole.output[h])
    with refused(match="head 4"):
        qkv.head(4)


def test_a_row_that_sees_nothing_is_zero_and_flagged():
    qkv = engine.QKV(*tensors(d=4), key_mask=torch.zeros(5, dtype=torch.bool))
    for key in engine.MECHANISMS:
        att = engine.attend(qkv, key)
        assert not att.output.any() and not att.weights().any()
        rows = att.rows()
        assert (rows.visible == 0).all() and (rows.argmax == -1).all()
        if att.row_kind != "signed":  # which has no entropy
            assert not rows.entropy.any() and not rows.effective_tokens.any()


def test_windows_too_large_are_refused():
    qkv = engine.QKV(*(torch.zeros(1, 20_000, 1) for _ in range(3)))
    with refused(match="too many weights"):
        engine.attend(qkv, "softmax").weights()
    with refused(match="positions must lie"):
        engine.attend(qkv, "softmax").weights(torch.tensor([20_000]))


def test_views_are_found_by_kind():
    att = engine.attend(engine.QKV(*tensors(m=4)), "softmax")
    with pytest.raises(LookupError, match="Segments"):
        att.view(engine.views.Segments)


@pytest.mark.parametrize(
    ("declared", "text", "value"),
    [
        (Param(int, 3, low=1), "7", 7),
        (Param(float, 1.0), "1e-3", 1e-3),
        (Param(bool, False), "true", True),
        (Param(str, "a", choices=("a", "b")), "b", "b"),
    ],
)
def test_parameters_parse(declared, text, value):
    assert declared.parse("x", text) == value


@pytest.mark.parametrize("text", ["", "x", "0", "1.5", "nan", "inf", "1e999", "９" * 5000])
def test_parameters_refuse(text):
    with refused(match="x must be"):
        Param(int, 3, low=1, high=10).parse("x", text)


def test_frame_refuses_nothing_to_see():
    with refused(match="at least one"):
        Frame(heads=1, n=0, m=3)


@pytest.mark.parametrize("value", [10**9 + 1, 10**30, 10**400, 1e12])
def test_a_whole_number_beyond_what_positions_take_is_refused(value):
    with refused(match="window must be at most 1e"):
        engine.make("window", window=value)
