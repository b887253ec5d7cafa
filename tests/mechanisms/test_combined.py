"""Every combination against the dense form, and against the mechanisms that it crosses."""

from __future__ import annotations

import itertools

import pytest
import torch

import engine
from engine.contract import QKV, params_of
from engine.mechanisms._distances import LEARNED
from engine.mechanisms.combined import Combined
from tests import oracle
from tests.refusals import refused
from tests.typecheck import annotations

close = torch.testing.assert_close
CHECKED = 5
"""One of so many combinations of a pattern checks annotations, too, and each fit: all choices are
among them."""
CHOICES = {name: p.choices for name, p in params_of(Combined).items() if p.choices}


def made(n: int = 40, **more) -> QKV:
    draw = torch.Generator().manual_seed(n)
    q = 2 * torch.randn(4, n, 8, generator=draw)
    k, v = torch.randn(2, 2, n, 8, generator=draw).unbind(0)
    return QKV(q, k, v, **more)


@pytest.mark.parametrize("pattern", CHOICES["pattern"])
@pytest.mark.parametrize("causal", [False, True])
def test_each_combination_equals_the_dense_form(pattern, causal):
    mask = torch.arange(40) % 6 != 4 if causal else None
    qkv = made(causal=causal, key_mask=mask)
    rest = [CHOICES[name] for name in ("bias", "scale", "normaliser")]
    for i, (bias, scale, normaliser) in enumerate(itertools.product(*rest)):
        if bias in LEARNED and (pattern, scale, normaliser) != ("window", "ssmax", "softmax"):
            continue  # fits take their time, and once fitted a bias is a bias
        choice = {"pattern": pattern, "bias": bias, "scale": scale, "normaliser": normaliser}
        mechanism = engine.make("combined", size=7, count=3, **choice)
        with annotations(bias in LEARNED or i % CHECKED == 0):
            expected, att = mechanism.reference(qkv), mechanism.attend(qkv)
            close(att.weights().double(), expected, atol=2e-5, rtol=1e-4, msg=str(choice))
            near = oracle.output(expected, qkv)
            close(att.output.double(), near, atol=5e-5, rtol=1e-4, msg=str(choice))


PLAIN = {"pattern": "all", "bias": "none", "scale": "none", "normaliser": "softmax"}


@pytest.mark.parametrize(
    ("choice", "key", "parameters"),
    [
        ({}, "softmax", {}),
        ({"pattern": "window", "size": 9}, "window", {"window": 9, "sinks": 0}),
        ({"pattern": "segments", "size": 9}, "segmented", {"segment": 9}),
        ({"pattern": "recurrent", "size": 9}, "transformer_xl", {"segment": 9, "memory": 9}),
        ({"pattern": "hashed", "count": 4}, "lsh", {"buckets": 4, "rounds": 1}),
        ({"pattern": "blocks", "size": 8, "count": 2}, "moba", {"block": 8, "top_k": 2}),
        ({"bias": "alibi"}, "relative", {"kind": "alibi"}),
        ({"bias": "rope"}, "relative", {"kind": "rope"}),
        ({"bias": "t5"}, "relative", {"kind": "t5"}),
        ({"scale": "ssmax", "s": 0.7}, "ssmax", {"s": 0.7}),
        ({"scale": "adaptive"}, "adaptive_temperature", {}),
        ({"normaliser": "entmax", "alpha": 2.0}, "entmax", {"alpha": 2.0}),
        ({"normaliser": "softmax1"}, "softmax1", {}),
        ({"normaliser": "sigmoid"}, "sigmoid", {}),
    ],
)
@pytest.mark.parametrize("causal", [False, True])
def test_one_choice_alone_is_that_mechanism(choice, key, parameters, causal):
    qkv = made(50, causal=causal)
    att = engine.attend(qkv, "combined", **PLAIN | choice)
    other = engine.attend(qkv, key, **parameters)
    close(att.weights(), other.weights(), atol=2e-6, rtol=1e-5)
    close(att.output, other.output, atol=1e-5, rtol=1e-5)
    assert att.row_kind == other.row_kind


def test_what_a_bias_learns_is_kept():
    qkv = made(50)
    mechanism = engine.make("combined", bias="t5").fit(qkv)
    assert mechanism.learned is not None
    att = mechanism.attend(qkv)
    assert att.fidelity is mechanism.learned.fidelity
    close(att.weights(), engine.attend(qkv, "combined", bias="t5").weights())
    assert engine.make("combined", bias="rope").fit(qkv).learned is None


def test_sigmoid_refuses_sinks_by_name():
    with refused(match="sinks"):
        engine.attend(made(sinks=torch.zeros(4)), "combined", normaliser="sigmoid")


@pytest.mark.parametrize("pattern", ["all", "window", "segments", "recurrent"])
@pytest.mark.parametrize("causal", [False, True])
def test_operations_are_counted(pattern, causal):
    qkv = made(23, causal=causal)
    for scale, width in (("ssmax", 16), ("adaptive", 24)):
        mechanism = Combined(pattern=pattern, size=5, scale=scale)
        pairs = int((oracle.allowed(qkv) & mechanism.reach(qkv)).sum())
        assert mechanism.flops(qkv) == 2 * 4 * pairs * width
