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


@pytest.mark.parametrize(
    ("key", "name", "value"),
    [
        ("softmax", "temperature", 1e-300), ("softmax", "temperature", 1e300),
        ("gaussian", "width", 1e-300), ("gaussian", "width", 1e300),
        ("differential", "lambda_", 1e300), ("ssmax", "s", 1e300), ("ssmax", "b", 1e300),
    ],
)  # fmt: skip
def test_parameters_whose_powers_no_number_holds_are_refused(key, name, value):
    with refused("at least" if value < 1 else "at most"):
        engine.make(key, **{name: value})


def closed(rows: torch.Tensor, cols: torch.Tensor) -> torch.Tensor:
    """Biases that close every second key, and for every third query all of them."""
    table = torch.zeros(2, len(rows), len(cols), dtype=torch.float64, device=rows.device)
    table[..., cols % 2 == 0] = -torch.inf
    table[:, rows % 3 == 0] = -torch.inf
    return table


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("key", MECHANISMS)
def test_keys_that_a_bias_closes_are_not_seen(key, causal):
    """Rows that are shares sum to 1 over the keys that are left, and to 0 where none is."""
    q, k, v = torch.randn(3, 2, 30, 4, generator=draw, dtype=torch.float64)
    try:
        # at the sizes of a short text, so that what is chosen is a part of it
        att = MECHANISMS[key]().suited(30).attend(QKV(q, k, v, causal=causal, bias=closed))
    except engine.contract.Refusal:
        return
    weights, rows, whole = att.weights(), att.rows(), att.summary(4).rows
    assert max(weights[..., ::2].abs().max(), weights[:, ::3].abs().max()) < 1e-12
    empty = weights.abs().sum(-1) == 0
    for name, found in vars(rows).items():
        torch.testing.assert_close(found, getattr(whole, name), equal_nan=True)
    if att.row_kind != "signed":
        assert not rows.entropy[empty].any() and not rows.max_weight[empty].any()
    if att.row_kind == "stochastic":
        total = weights.sum(-1)
        assert bool(((total - 1).abs() < 1e-12).logical_or(empty).all())


@pytest.mark.parametrize("key", MECHANISMS)
def test_shares_sum_to_1_in_the_precision_they_have(key):
    q, k, v = (torch.randn(2, 40, 8, generator=draw, dtype=torch.float64) for _ in range(3))
    att = engine.attend(QKV(q, k, v, causal=MECHANISMS[key].causal_ok), key)
    if att.row_kind == "stochastic":
        total = att.weights().sum(-1)
        assert bool(((total - 1).abs() < 1e-12).logical_or(total == 0).all())


@pytest.mark.parametrize("size", [1e-310, 1e-190, 1e-120, 1e29])
def test_rows_of_any_size_have_the_statistics_of_their_shares(size):
    w = torch.tensor([[[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]).double()
    plain, far = (engine.Attention.from_weights(x) for x in (w, w * size))
    scaled = {"kept_mass", "l1_mass"}
    for found in (far.rows(), far.summary(2).rows):
        for name, expected in vars(plain.rows()).items():
            right = expected * size if name in scaled else expected
            torch.testing.assert_close(getattr(found, name), right, atol=0, rtol=1e-9)


def test_weights_that_no_picture_holds_are_refused():
    with refused("1e30"):
        engine.Attention.from_weights(torch.full((1, 2, 2), 1e300, dtype=torch.float64))
