"""Levels of a Fenwick tree: by hand, as sums carried along, and where it is linear attention."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from engine.contract import QKV, Layer, Learned
from engine.contract.views import Octaves
from engine.mechanisms.log_linear import LogLinear, even
from tests import oracle
from tests.refusals import refused

close = torch.testing.assert_close


def made(n: int = 100, heads: int = 4, groups: int = 2, m: int | None = None, **more) -> QKV:
    draw = torch.Generator().manual_seed(0)
    q = torch.randn(heads, n, 8, generator=draw, dtype=torch.float64)
    k, v = (torch.randn(groups, m or n, e, generator=draw, dtype=torch.float64) for e in (8, 5))
    return QKV(q, k, v, causal=True, **more)


def trained(qkv: QKV, levels: int = 9, **more) -> tuple[QKV, LogLinear]:
    """With a layer's input, and levels that each row weighs in its own way."""
    draw = torch.Generator().manual_seed(1)
    w = torch.randn(qkv.heads, levels, 6, generator=draw, dtype=torch.float64)
    b = torch.randn(qkv.heads, levels, generator=draw, dtype=torch.float64)
    x = torch.randn(qkv.m, 6, generator=draw, dtype=torch.float64)
    learned = Learned({"w_level": w, "b_level": b})
    return qkv.replace(layer=Layer(x=x)), replace(LogLinear(**more), learned=learned)


def test_levels_by_hand():
    """Position 6 is 110: two keys before it, and four before these; 5 is 101: one, and four."""
    level = LogLinear().attend(made(8)).view(Octaves).level(torch.tensor([6, 5, 0, 7]))
    assert level.tolist() == [
        [3, 3, 3, 3, 2, 2, 0, -1],
        [3, 3, 3, 3, 1, 0, -1, -1],
        [0, -1, -1, -1, -1, -1, -1, -1],
        [3, 3, 3, 3, 2, 2, 1, 0],
    ]


@pytest.mark.parametrize("feature_map", ["elu1", "none"])
@pytest.mark.parametrize(
    ("n", "m"), [(100, 100), (300, 300), (60, 130), (130, 60), (1, 1), (64, 64)]
)
def test_outputs_are_those_of_sums_merged_as_a_counter_counts(feature_map, n, m):
    """One token after another: a sum for each digit 1 of how many there were, two of a size
    becoming one of twice that."""
    qkv = made(n, m=m)
    qkv, mechanism = trained(qkv, levels=10, feature_map=feature_map)
    phi = (lambda x: F.elu(x) + 1) if feature_map == "elu1" else (lambda x: x)
    q, k = F.normalize(phi(qkv.q), dim=-1), F.normalize(phi(qkv.k), dim=-1)
    learned = mechanism.learned
    assert learned is not None and qkv.layer is not None and qkv.layer.x is not None
    w, b = learned.weights["w_level"], learned.weights["b_level"]
    out = torch.zeros(4, n, 5, dtype=torch.float64)
    sums: list[tuple[int, torch.Tensor]] = []  # tokens, and Σ k vᵀ
    for t in range(m):
        i = t - (m - n)
        new = k[:, t, :, None] * qkv.v[:, t, None]
        if i >= 0:
            x = qkv.layer.x[t]
            share = F.softplus(w @ x + b)  # (h L)
            for h in range(4):
                out[h, i] = share[h, 0] * (q[h, i] @ new[h // 2])
                for size, state in sums:
                    out[h, i] += share[h, size.bit_length()] * (q[h, i] @ state[h // 2])
        sums.append((1, new))
        while len(sums) > 1 and sums[-1][0] == sums[-2][0]:
            (size, last), (_, before) = sums.pop(), sums.pop()
            sums.append((2 * size, last + before))
    att = mechanism.attend(qkv)
    close(att.output, out)
    close(oracle.output(att.weights(), qkv), out)
    assert att.row_kind == ("positive" if feature_map == "elu1" else "signed")


def test_with_all_levels_alike_it_is_linear_attention_without_its_sum():
    """Over the sum of its row it is that of the package's own, for queries and keys of length 1
    under the features."""
    qkv = made()
    one = torch.full((4, 12), 1.0).double().expm1().log()
    learned = Learned({"w_level": torch.zeros(4, 12, 8).double(), "b_level": one})
    w = replace(LogLinear(), learned=learned).attend(qkv).weights()
    q, k = (F.normalize(F.elu(x) + 1, dim=-1) for x in (qkv.q, qkv.k))
    close(w, (q @ k.repeat_interleave(2, 0).mT).tril())


def test_levels_beyond_those_that_are_known_count_as_the_last():
    qkv, few = trained(made(), levels=4)
    assert few.learned is not None
    w, b = (few.learned.weights[x] for x in ("w_level", "b_level"))
    more = {"w_level": torch.cat([w, w[:, -1:].expand(-1, 5, -1)], 1),
            "b_level": torch.cat([b, b[:, -1:].expand(-1, 5)], 1)}  # fmt: skip
    close(few.attend(qkv).weights(), replace(few, learned=Learned(more)).attend(qkv).weights())


def test_equal_keys_share_evenly_by_level_however_long_the_text():
    """Every bucket counts as one token: log n of them, and 1 the whole weight of each."""
    for n in (16, 256, 4096):
        k = torch.ones(1, n, 2, dtype=torch.float64)
        w = (
            LogLinear(levels="even")
            .attend(QKV(k, k, k, causal=True))
            .weights(torch.tensor([n - 1]))
        )
        assert float(w.sum()) == pytest.approx(1 + (n - 1).bit_length())
    close(even(5), torch.tensor([1, 1, 0.5, 0.25, 0.125]).double())


@pytest.mark.parametrize("feature_map", ["elu1", "none"])
def test_fitted_levels_are_the_nearest(feature_map):
    """Least squares by another way: no one level's number can be bettered."""
    qkv = made(40)
    fitted = LogLinear(feature_map=feature_map).fit(qkv)
    full, best = oracle.softmax(qkv), fitted.attend(qkv).weights()
    assert fitted.learned is not None and fitted.learned.fidelity is not None
    off = (best - full).square().sum((1, 2))
    b = fitted.learned.weights["b_level"]
    for level in range(b.shape[1]):
        for factor in (0.9, 1.1):
            other = b.clone()
            other[:, level] = (F.softplus(b[:, level]) * factor).expm1().log()
            learned = Learned({**fitted.learned.weights, "b_level": other})
            w = replace(fitted, learned=learned).attend(qkv).weights()
            assert ((w - full).square().sum((1, 2)) >= off - 1e-9).all()
    found = fitted.learned.fidelity
    assert found.value.mean() < found.random.mean()


def test_it_looks_back_only_and_adds_no_hidden_key():
    qkv = made()
    att = LogLinear(levels="even").attend(qkv)
    close(LogLinear(levels="even").attend(qkv.replace(causal=False)).weights(), att.weights())
    keep = torch.arange(100) % 3 > 0
    some = LogLinear(levels="even").attend(qkv.replace(key_mask=keep)).weights()
    close(some, att.weights() * keep)


def test_what_it_has_no_place_for_is_refused():
    for name, value in (("sinks", torch.zeros(4)), ("softcap", 3.0)):
        with refused(match=f"can't use {name}: its keys are added up"):
            LogLinear().attend(made().replace(**{name: value}))
