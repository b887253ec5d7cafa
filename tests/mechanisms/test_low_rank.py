"""What all low rank honours, refuses and costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from engine.contract.views import Factors
from engine.mechanisms.linear import FEATURE_MAPS, Linear
from engine.mechanisms.linformer import PROJECTIONS, Linformer
from engine.mechanisms.nystrom import Nystrom
from engine.mechanisms.truncated_svd import TruncatedSVD
from tests import oracle
from tests.mechanisms.low_rank import BIDIRECTIONAL, counted, features, made
from tests.refusals import refused

close = torch.testing.assert_close


@pytest.mark.parametrize("mechanism", [Linformer(6), Linformer(6, "svd"), Nystrom(6),
                                       TruncatedSVD(6), Linear()])  # fmt: skip
def test_a_hidden_key_is_as_if_it_were_not_there(mechanism):
    qkv = made(40, 2, m=48)
    seen = torch.rand(48, generator=torch.Generator().manual_seed(1)) < 0.7
    hidden = mechanism.attend(qkv.replace(key_mask=seen))
    gone = mechanism.attend(qkv.replace(k=qkv.k[:, seen], v=qkv.v[:, seen]))
    close(hidden.output, gone.output, atol=1e-5, rtol=1e-4)
    close(hidden.weights()[..., seen], gone.weights(), atol=1e-5, rtol=1e-4)
    assert (hidden.weights()[..., ~seen] == 0).all()
    nothing = mechanism.attend(qkv.replace(key_mask=torch.zeros(48, dtype=torch.bool)))
    assert (nothing.output == 0).all() and (nothing.weights() == 0).all()


@pytest.mark.parametrize("cls", [*BIDIRECTIONAL, Linear])
def test_refuses_by_name(cls):
    given: dict[str, Any] = {}
    if cls is not TruncatedSVD:
        given["bias"] = lambda rows, cols: torch.zeros(4, len(rows), len(cols))
    if cls is Linear:
        given |= {"sinks": torch.zeros(4), "softcap": 2.0}
    else:
        given |= {"causal": True, "mask": lambda rows, cols: cols <= rows[:, None]}
    for name, value in given.items():
        with refused(match=name):
            cls().attend(made(**{name: value}))


def test_truncated_svd_refuses_long_texts():
    for n, m in ((1025, 4), (4, 1025)):
        with refused(match=r"at most 1,024 .* not 1,025"):
            TruncatedSVD().attend(made(n, m=m))


SMALL = [
    *(Linformer(7, p) for p in PROJECTIONS), Nystrom(7), TruncatedSVD(7),
    *(Linear(f) for f in FEATURE_MAPS),
]  # fmt: skip


@pytest.mark.parametrize(
    ("mechanism", "causal"),
    [(x, False) for x in SMALL] + [(x, True) for x in SMALL if x.causal_ok],
)
def test_the_product_of_the_factors_is_the_weights(mechanism, causal):
    seen = torch.arange(44) % 5 != 2
    att = mechanism.attend(made(40, 2, m=44, key_mask=seen, causal=causal))
    view = att.view(Factors)
    for head in range(4):
        product = torch.eye(40, dtype=torch.float64)
        for factor in view.factors(head).values():
            product = product @ factor.double()
            assert min(factor.shape) >= min(view.rank, 7)
        if causal:
            product *= oracle.allowed(att.qkv)
        close(product, att.weights()[head].double(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mechanism", SMALL)
def test_half_precision_of_every_choice(mechanism):
    half = made(40, 2).to(dtype=torch.bfloat16)
    att, exact = mechanism.attend(half), mechanism.attend(half.to(dtype=torch.float64))
    assert att.output.dtype == torch.bfloat16
    close(att.output.double(), exact.output, atol=2e-2, rtol=2e-2)
    close(att.weights().double(), exact.weights().double(), atol=1e-5, rtol=1e-4)


def test_flops_of_the_others_are_counted():
    qkv = made(48, 2)
    q, k = features(Linear(), qkv)
    v = F.pad(qkv.v, (0, 1), value=1.0)
    state = k.mT @ v
    assert Linear().flops(qkv) == counted(
        lambda: q.unflatten(0, (2, 2)).flatten(1, 2) @ (k.mT @ v) + 0 * state.sum()
    )
    mapped = counted(lambda: features(Linear("exp", features=24), qkv))
    assert Linear("exp", features=24).flops(qkv) == mapped + 24 // 8 * Linear().flops(qkv)

    def nystrom():
        ones = torch.full((1, 6), 1 / 6)
        a, b = (
            (ones.expand(len(x) * 8, -1, -1) @ x.reshape(-1, 6, 8)).view(-1, 8, 8)
            for x in (qkv.q, qkv.k)
        )
        b, keys, values = (x.repeat_interleave(2, 0) for x in (b, qkv.k, qkv.v))
        inner = (a @ keys.mT) @ values
        return (qkv.q @ b.mT) @ ((a @ b.mT) @ inner)

    assert Nystrom(8).flops(qkv) == counted(nystrom) + 4 * 22 * 8**3

    def svd():
        keys, values = (x.repeat_interleave(2, 0) for x in (qkv.k, qkv.v))
        full = qkv.q @ keys.mT
        out, left = full @ values, (full @ full.mT)[..., :5]
        return left @ (left.mT @ out)

    assert TruncatedSVD(5).flops(qkv) == counted(svd) + 4 * 9 * 48**3
