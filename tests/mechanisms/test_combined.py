"""Every combination against the dense form, and against the mechanisms that it crosses."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

import engine
from engine.contract import QKV, params_of
from engine.kernels import normalisers
from engine.kernels.patterns import Blocks, Clusters, Hashed
from engine.mechanisms.adaptive_temperature import beta
from engine.mechanisms.combined import Combined
from engine.mechanisms.relative import LEARNED, positioned
from tests import oracle
from tests.refusals import refused

close = torch.testing.assert_close
CHOICES = {name: p.choices for name, p in params_of(Combined).items() if p.choices}


def made(n: int = 40, **more) -> QKV:
    draw = torch.Generator().manual_seed(n)
    q = 2 * torch.randn(4, n, 8, generator=draw)
    k, v = torch.randn(2, 2, n, 8, generator=draw).unbind(0)
    return QKV(q, k, v, **more)


def allowed(pattern: str, qkv: QKV, size: int, count: int) -> Tensor:
    """(h n m) pairs of a pattern."""
    i = torch.arange(qkv.n)
    near = (i[:, None] - i).abs() < size
    same = i[:, None] // size == i // size
    start = (i // size * size)[:, None]
    found = {
        "all": torch.ones_like(near), "window": near, "segments": same,
        "recurrent": same | ((i < start) & (i >= start - size)),
        "hashed": lambda: Hashed.of(qkv, count, 1, 0).allows(i, i),
        "clusters": lambda: Clusters.of(qkv, count, size, 0).allows(i, i),
        "blocks": lambda: Blocks.of(qkv, size, count).allows(i, i),
    }[pattern]  # fmt: skip
    return (found() if callable(found) else found).expand(4, -1, -1)


def dense(choice: dict[str, str], qkv: QKV, size: int, count: int) -> Tensor:
    qkv = positioned(qkv, choice["bias"])
    seen = oracle.allowed(qkv)
    n = seen.sum(-1, keepdim=True).clamp_min(1).double()
    seen = seen & allowed(choice["pattern"], qkv, size, count)
    z = oracle.logits(qkv).masked_fill(~seen, -torch.inf)
    if choice["scale"] == "ssmax":
        z = z * (0.43 * n.log()).clamp_min(1e-30)
    elif choice["scale"] == "adaptive":
        w = z.softmax(-1).nan_to_num(0)
        z = z * beta(-torch.xlogy(w, w).sum(-1, keepdim=True))
    if choice["normaliser"] == "sigmoid":
        return torch.sigmoid(z - n.log())
    if choice["normaliser"] == "entmax":
        return normalisers.entmax(z, 1.5)  # held against the package in test_remedies
    if choice["normaliser"] == "softmax1":
        z = torch.cat([z, torch.zeros_like(z[..., :1])], -1)
    return z.softmax(-1).nan_to_num(0)[..., : qkv.m]


@pytest.mark.parametrize("pattern", CHOICES["pattern"])
@pytest.mark.parametrize("causal", [False, True])
def test_each_combination_equals_the_dense_form(pattern, causal):
    mask = torch.arange(40) % 6 != 4 if causal else None
    qkv = made(causal=causal, key_mask=mask)
    rest = [CHOICES[name] for name in ("bias", "scale", "normaliser")]
    for bias, scale, normaliser in itertools.product(*rest):
        if bias in LEARNED and (pattern, scale, normaliser) != ("window", "ssmax", "softmax"):
            continue  # fits take their time, and once fitted a bias is a bias
        choice = {"pattern": pattern, "bias": bias, "scale": scale, "normaliser": normaliser}
        expected = dense(choice, qkv, 7, 3)
        att = engine.attend(qkv, "combined", size=7, count=3, **choice)
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
    assert mechanism.learned is not None and mechanism.fit(qkv) is mechanism
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
    pairs = int((oracle.allowed(qkv) & allowed(pattern, qkv, 5, 3)).sum())
    for scale, width in (("ssmax", 16), ("adaptive", 24)):
        mechanism = engine.make("combined", pattern=pattern, size=5, scale=scale)
        assert mechanism.flops(qkv) == 2 * pairs * width
