"""Numbers at the ends of what is allowed: weights and outputs stay finite, and belong together."""

import pytest
import torch

import engine
from engine.contract import QKV, params_of
from engine.contract.params import FAR
from engine.mechanisms import MECHANISMS
from tests.refusals import refused

draw = torch.Generator().manual_seed(0)
Q, K, V = (torch.randn(2, 6, 4, generator=draw) for _ in range(3))


def finite(qkv: QKV, key: str, **parameters) -> engine.Attention | None:
    try:
        att = engine.attend(qkv, key, **parameters)
    except engine.contract.Refusal:  # some are never causal, or not below 0
        return None
    assert torch.isfinite(att.weights()).all() and torch.isfinite(att.output).all()
    assert not any(torch.isinf(x).any() for x in att.rows().__dict__.values() if x is not None)
    return att


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("key", MECHANISMS)
def test_scales(key, causal):
    for scale in (0.0, -1.0, 1e-320):
        att = finite(QKV(Q, K, V, causal=causal, scale=scale), key)
        if att is not None:
            expected = att.weights().double() @ V.double()
            torch.testing.assert_close(att.output.double(), expected, atol=1e-4, rtol=1e-4)
    finite(QKV(Q, K, V, causal=causal, scale=1e17), key)
    finite(QKV(Q * 1e9, K * 1e9, V, causal=causal), key)


@pytest.mark.parametrize("key", [k for k in MECHANISMS if k != "combined"])
def test_parameters(key):
    for name, declared in params_of(MECHANISMS[key]).items():
        if declared.kind is float:
            for value in (1 / FAR, FAR, -FAR, 1e-320):
                finite(QKV(Q, K, V, causal=MECHANISMS[key].causal_ok), key, **{name: value})


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_what_no_number_holds_is_refused(scale):
    with refused("scale"):
        QKV(Q, K, V, scale=scale)


def test_vectors_whose_scores_no_number_holds_are_refused():
    with refused("scores"):
        engine.attend(QKV(Q * 1e30, K * 1e30, V), "softmax")
    with refused("at most"):
        engine.make("softmax", temperature=1e300)
    with refused("at least"):
        engine.make("gaussian", width=1e-300)
