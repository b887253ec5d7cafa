"""What is put in softmax's place, against dense forms, the packages and the papers' numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

import engine
from engine.contract import QKV, Learned
from engine.kernels import normalisers
from engine.mechanisms.adaptive_temperature import POLYNOMIAL, beta
from engine.mechanisms.differential import Difference
from tests import oracle
from tests.refusals import refused

close = torch.testing.assert_close
KEYS = {
    "ssmax": {"s": 0.8}, "entmax": {"alpha": 1.5}, "softmax1": {}, "adaptive_temperature": {},
    "differential": {"lambda_": 0.3}, "sigmoid": {},
}  # fmt: skip


def made(n: int = 90, extra: int = 0, groups: int = 2, d: int = 8, **more) -> QKV:
    draw = torch.Generator().manual_seed(n)
    q = 2 * torch.randn(4, n, d, generator=draw)
    k = torch.randn(groups, n + extra, d, generator=draw)
    v = torch.randn(groups, n + extra, 5, generator=draw)
    return QKV(q, k, v, **more)


def bias(rows: Tensor, cols: Tensor) -> Tensor:
    return -0.1 * torch.arange(1, 5)[:, None, None] * (rows[:, None] - cols).abs()


def everything(causal: bool = True, n: int = 40, extra: int = 7) -> QKV:
    """All that a QKV can hold."""
    mask = torch.arange(n + extra) % 5 != 2
    return made(
        n, extra, causal=causal, key_mask=mask, bias=bias, softcap=3.0, scale=0.5,
        mask=lambda rows, cols: (rows[:, None] + cols) % 7 != 3,
    )  # fmt: skip


def with_sinks(z: Tensor, qkv: QKV) -> Tensor:
    """Logits with the sinks' as one column more."""
    if qkv.sinks is None:
        return z
    return torch.cat([z, qkv.sinks.double()[:, None, None].expand(-1, qkv.n, 1)], -1)


@pytest.mark.parametrize("key", [k for k in KEYS if k != "entmax"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("extra", [0, 7, -5])
def test_equals_its_definition(key, causal, extra):
    plain = made(40, extra, causal=causal)
    for qkv in (plain, everything(causal, 40, extra)):
        expected = engine.make(key, **KEYS[key]).reference(qkv)
        att = engine.attend(qkv, key, **KEYS[key])
        close(att.weights().double(), expected, atol=3e-6, rtol=1e-5)
        close(att.output.double(), oracle.output(expected, qkv), atol=1e-5, rtol=1e-5)
        exact = engine.attend(qkv.to(dtype=torch.float64), key, **KEYS[key])
        close(exact.weights(), expected, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("key", [k for k in KEYS if k not in ("entmax", "sigmoid")])
def test_sink_logits_are_one_more_logit(key):
    for qkv in (made(40, causal=True), everything()):
        qkv = qkv.replace(sinks=torch.tensor([-1.0, 0.0, 2.0, 5.0]))
        expected = engine.make(key, **KEYS[key]).reference(qkv)
        att = engine.attend(qkv, key, **KEYS[key])
        close(att.weights().double(), expected, atol=3e-6, rtol=1e-5)
        close(att.summary(16).rows.kept_mass.double(), expected.sum(-1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("key", KEYS)
def test_one_token_and_rows_that_see_nothing(key):
    one = engine.attend(made(1), key, **KEYS[key])
    expected = {"softmax1": None, "sigmoid": None, "differential": 0.7}.get(key, 1.0)
    if expected is not None:
        close(one.weights(), torch.full((4, 1, 1), expected))
    blind = made(6, -3, causal=True)
    att = engine.attend(blind, key, **KEYS[key])
    assert (att.weights()[:, :3] == 0).all() and (att.output[:, :3] == 0).all()
    assert torch.isfinite(att.output).all()


@pytest.mark.parametrize("key", KEYS)
def test_a_window_and_a_sample_of_rows_are_pieces(key):
    qkv = made(300, causal=True)
    whole = engine.attend(qkv, key, **KEYS[key]).weights()
    fresh = engine.attend(qkv, key, **KEYS[key])
    at = torch.tensor([299, 4, 150])
    close(fresh.weights(at, slice(3, 160)), whole[:, at, 3:160], atol=2e-6, rtol=1e-5)


# -- ssmax -----------------------------------------------------------------------------------


def test_ssmax_by_hand():
    """Two keys that differ by a gap of ln 2 in logits: n^(s z)."""
    z = torch.tensor([0.0, 1.0, 1.0, 3.0])
    qkv = QKV(torch.ones(1, 1, 1), z.view(1, 4, 1), torch.eye(4)[None], scale=1.0)
    w = engine.attend(qkv, "ssmax", s=0.5).weights()[0, 0]
    close(w, torch.tensor([1.0, 2.0, 2.0, 8.0]) / 13)  # 4^(z/2) = 2^z


def test_ssmax_is_softmax_where_s_ln_n_is_one():
    qkv = made(90)
    att = engine.attend(qkv, "ssmax", s=1 / math.log(90))
    close(att.weights(), engine.attend(qkv, "softmax").weights(), atol=1e-6, rtol=1e-5)


def test_ssmax_counts_what_causality_and_masks_leave():
    mask = torch.arange(50) != 1
    qkv = made(50, causal=True, key_mask=mask)
    att = engine.attend(qkv, "ssmax", s=1.0)
    rows = torch.arange(50)
    assert att.beta(rows)[0].tolist() == pytest.approx(
        [math.log(max(1, i + 1 - (i >= 1))) for i in range(50)], abs=1e-6
    )


@pytest.mark.parametrize(
    ("parameters", "beta"),
    [
        ({"s": 0.5, "b": 0.3}, lambda n: 0.5 * math.log(n) + 0.3),
        ({"s": 0.5, "form": "late", "start": 4}, lambda n: 1 + 0.5 * math.log(max(n / 4, 1))),
        ({"s": 0.5, "form": "stepped", "start": 4},
         lambda n: 1 + 0.5 * math.log(1 + (n - 1) // 4)),
    ],
)  # fmt: skip
def test_ssmax_as_it_is_shipped(parameters, beta):
    """Row by row, the n-th sees n keys: softmax of β(n) times the scores."""
    draw = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 12, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    qkv = QKV(q, k, k, causal=True)
    mechanism = engine.make("ssmax", **parameters)
    w, z = mechanism.attend(qkv).weights()[0], (q @ k.mT / 2)[0]
    for i in range(12):
        expected = (beta(i + 1) * z[i, : i + 1]).softmax(0)
        torch.testing.assert_close(w[i, : i + 1], expected)
        by = mechanism.inverse_temperature(i + 1, 0.0)
        assert float(by) == pytest.approx(beta(i + 1))


def test_ssmax_takes_a_bias_of_each_head_where_one_was_learned():
    draw = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 9, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    qkv = QKV(q, k, k, causal=True)
    s, b = torch.tensor([0.2, 0.9]), torch.tensor([0.0, 0.4])
    own = replace(engine.make("ssmax"), learned=Learned({"s": s, "b": b}))
    for h in range(2):
        alone = engine.attend(qkv.head(h), "ssmax", s=float(s[h]), b=float(b[h]))
        torch.testing.assert_close(own.attend(qkv).weights()[h], alone.weights()[0])


def test_no_strength_sharpens_what_does_not_grow_yet():
    late = engine.make("ssmax", form="late", start=1000)
    assert late.sharpened(2.0, 500) is None and late.sharpened(0.5, 5000) is None
    sharp = late.sharpened(2.0, 5000)
    assert sharp is not None and float(sharp.inverse_temperature(5000, 0)) == pytest.approx(2)


def test_ssmax_reaches_the_papers_figure():
    """D = 5, s = 0.43 (Figure 1): at n = 65,536 softmax keeps .00226 and SSMax .999997."""
    n = 2**16
    logits = torch.zeros(1, 1, n)
    logits[..., 7] = 5.0
    qkv = QKV(
        torch.ones(1, 1, 1), logits.mT[0].mT.reshape(1, n, 1), torch.ones(1, n, 1), scale=1.0
    )
    soft = engine.attend(qkv, "softmax").rows().max_weight.item()
    scaled = engine.attend(qkv, "ssmax", s=0.43).rows().max_weight.item()
    assert soft == pytest.approx(0.00226, abs=5e-6)
    assert 1 - scaled == pytest.approx(1 - 0.999997, abs=5e-7)


# -- entmax ----------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("n", [1, 2, 40, 120])
def test_entmax_equals_the_package(n, causal):
    package = pytest.importorskip("entmax")
    qkv = made(n, causal=causal)
    z = oracle.logits(qkv).masked_fill(~oracle.allowed(qkv), -torch.inf)
    for alpha, oracles in (
        (2.0, lambda z: package.sparsemax(z, -1)),
        (1.5, lambda z: package.entmax15(z, -1)),
        (1.2, lambda z: package.entmax_bisect(z, 1.2, n_iter=100)),
        (1.75, lambda z: package.entmax_bisect(z, 1.75, n_iter=100)),
        (2.6, lambda z: package.entmax_bisect(z, 2.6, n_iter=200)),
    ):
        expected = oracles(z.clamp_min(-1e9))
        att = engine.attend(qkv, "entmax", alpha=alpha)
        close(att.weights().double(), expected, atol=2e-6, rtol=1e-5)
        close(att.output.double(), oracle.output(expected, qkv), atol=1e-5, rtol=1e-5)
        exact = engine.attend(qkv.to(dtype=torch.float64), "entmax", alpha=alpha).weights()
        close(exact, expected, atol=1e-9, rtol=1e-9)


@settings(max_examples=60)
@given(
    st.integers(1, 700), st.sampled_from([1.01, 1.1, 1.3, 1.5, 1.7, 2.0, 2.5, 4.0]),
    st.sampled_from([0.0, 0.1, 1.0, 5.0, 50.0]), st.booleans(), st.integers(0, 10**6),
)  # fmt: skip
@example(634, 1.01, 50.0, False, 1)  # weights that underflow
def test_entmax_meets_its_conditions(n, alpha, spread, ties, seed):
    """Sum 1; where w > 0, ln_α w = z − μ with one μ; where w = 0, z lies 1/(α − 1) below μ."""
    z = spread * torch.randn(3, n, generator=torch.Generator().manual_seed(seed)).double()
    z = z.round() if ties else z
    hidden = torch.rand(3, n, generator=torch.Generator().manual_seed(seed + 1)) < 0.3
    z = z.masked_fill(hidden, -torch.inf)
    w = normalisers.entmax(z, alpha)
    alive = ~hidden.all(-1)
    close(w.sum(-1), alive.double(), atol=1e-12, rtol=0)
    assert (w[hidden] == 0).all() and (w >= 0).all()
    a = alpha - 1
    for row, weights in zip(z[alive], w[alive], strict=True):
        on = weights > 1e-12
        mu = row[on] - (weights[on] ** a - 1) / a
        assert mu.max() - mu.min() < 1e-7
        off = weights == 0
        least = torch.finfo(w.dtype).tiny ** a / a  # nearer than that a weight rounds to 0
        assert not off.any() or row[off].max() <= mu.max() - 1 / a + least + 1e-7


@pytest.mark.parametrize("alpha", [1.3, 1.5, 1.8, 2.0, 2.5])
def test_entmax_of_a_row_is_its_own_whatever_lies_beside_it(alpha):
    """Rows with few keys near the largest, with none, and with nothing but such keys."""
    z = torch.randn(7, 900, generator=torch.Generator().manual_seed(0)).double()
    z *= torch.tensor([3.0, 0.0, 40.0, 8.0, 3.0, 20.0, 8.0])[:, None]
    z[4] = -torch.inf
    z[6, 5:] = -torch.inf
    for rows in ([0, 2, 3, 5, 6], [0, 4, 6], [4], [2, 1, 4]):
        together = normalisers.entmax(z[rows], alpha)
        for i, w in zip(rows, together, strict=True):
            close(w, normalisers.entmax(z[i : i + 1], alpha)[0], atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("alpha", [1.0, 1 + 1e-9, 1 + 1e-6])
def test_entmax_goes_over_into_softmax(alpha):
    qkv = made(60, causal=True).to(dtype=torch.float64)
    w = engine.attend(qkv, "entmax", alpha=alpha).weights()
    close(w, oracle.softmax(qkv), atol=1e-4 if alpha > 1 + 1e-8 else 1e-7, rtol=0)
    assert (engine.attend(qkv, "softmax").weights() - w).abs().max() < 1e-4


def test_entmax_by_hand():
    z = torch.tensor([[1.0, 0.5, -3.0], [0.2, 0.2, 0.2]], dtype=torch.float64)
    close(normalisers.entmax(z, 2.0), torch.tensor([[0.75, 0.25, 0], [1 / 3] * 3]).double())
    gap = torch.tensor([[2.0, 0.0, 0.0]]).double()  # one-hot from 1/(α − 1) on, whatever n
    close(normalisers.entmax(gap, 1.5), torch.tensor([[1.0, 0, 0]]).double())
    assert normalisers.entmax(0.99 * gap, 1.5)[0, 1] > 0


def test_entmax_honours_sinks_as_one_more_logit():
    package = pytest.importorskip("entmax")
    qkv = everything().replace(sinks=torch.tensor([-9.0, 0.0, 1.0, 9.0]))
    z = oracle.logits(qkv).masked_fill(~oracle.allowed(qkv), -1e9)
    expected = package.entmax15(with_sinks(z, qkv), -1)[..., :-1]
    att = engine.attend(qkv, "entmax")
    close(att.weights().double(), expected, atol=2e-6, rtol=1e-5)
    assert att.row_kind == "substochastic" and (expected[3] == 0).any()


def test_entmax_finds_supports_that_are_wider_than_its_guess():
    """Equal keys: every one of many carries weight, though the search begins with a few."""
    qkv = engine.sources.identical(n=1000)
    for alpha in (1.5, 2.0, 3.0):
        w = engine.attend(qkv, "entmax", alpha=alpha).weights()
        close(w, torch.full_like(w, 1e-3), atol=1e-7, rtol=1e-4)


# -- softmax1 --------------------------------------------------------------------------------


def test_softmax1_equals_multihead_attention_with_a_zero_key():
    torch.manual_seed(0)
    n, width, heads = 20, 16, 4
    layer = torch.nn.MultiheadAttention(
        width, heads, add_zero_attn=True, batch_first=True, bias=False
    ).eval()
    x = torch.randn(1, n, width)
    _, expected = layer(x, x, x, need_weights=True, average_attn_weights=False)
    q, k, v = (
        y.view(n, heads, -1).transpose(0, 1)
        for y in (x[0] @ layer.in_proj_weight.T).detach().chunk(3, -1)
    )
    att = engine.attend(QKV(q, k, v), "softmax1")
    close(att.weights(), expected[0, ..., :-1].detach(), atol=1e-6, rtol=1e-5)
    assert att.row_kind == "substochastic" and bool((att.rows().kept_mass < 1).all())


def test_softmax1_is_softmax_where_logits_are_large():
    qkv = made(30, bias=lambda rows, cols: torch.full((4, len(rows), len(cols)), 30.0))
    close(
        engine.attend(qkv, "softmax1").weights(), engine.attend(qkv, "softmax").weights(),
        atol=1e-6, rtol=1e-5,
    )  # fmt: skip


# -- adaptive temperature --------------------------------------------------------------------


def test_the_papers_polynomial():
    """1.27, 2.10, 2.25, 2.39, 2.29 at H = 1 … 5, and back to 1 at 6 and 7."""
    entropy = torch.arange(1.0, 8.0, dtype=torch.float64)
    expected = torch.tensor([1.27, 2.10, 2.25, 2.39, 2.29, 1.0, 1.0], dtype=torch.float64)
    close(beta(entropy), expected, atol=5e-3, rtol=0)
    assert beta(torch.tensor(0.5)).item() == 1.0 and len(POLYNOMIAL) == 5


def test_adaptive_temperature_leaves_long_flat_rows_alone():
    qkv = engine.sources.planted(n=2000, heads=1, gap=0.0, noise=0.5)
    att = engine.attend(qkv, "adaptive_temperature")
    plain = engine.attend(qkv, "softmax")
    assert plain.rows().entropy.min() > 6
    close(att.output, plain.output)
    short = engine.sources.planted(n=50, heads=1, gap=0.0, noise=0.5)
    sharper = engine.attend(short, "adaptive_temperature").rows().entropy
    assert (sharper < engine.attend(short, "softmax").rows().entropy - 0.1).all()


def test_sharp_rows_are_not_sharpened():
    qkv = engine.sources.planted(n=50, heads=1, gap=9.0, noise=0.5)
    att = engine.attend(qkv, "adaptive_temperature")
    assert engine.attend(qkv, "softmax").rows().entropy.max() < 0.5
    close(att.weights(), engine.attend(qkv, "softmax").weights())


# -- differential ----------------------------------------------------------------------------


def test_differential_equals_diffllamas_two_softmaxes():
    """transformers returns the two plain maps; the layer's output subtracts them."""
    llama = pytest.importorskip("transformers.models.diffllama.modeling_diffllama")
    torch.manual_seed(1)
    q1, q2, k1, k2 = torch.randn(4, 2, 30, 8).unbind(0)
    v = torch.randn(2, 30, 8)
    lambda_ = llama.lambda_init_fn(2)
    assert lambda_ == pytest.approx(0.8 - 0.6 * math.exp(-0.6))
    maps = [F.softmax(q @ k.mT / math.sqrt(8), -1) for q, k in ((q1, k1), (q2, k2))]
    qkv = QKV(torch.cat([q1, q2], -1), torch.cat([k1, k2], -1), v)
    att = engine.attend(qkv, "differential", lambda_=lambda_)
    assert isinstance(att, Difference)
    for part, expected in zip(att.parts, maps, strict=True):
        close(part.weights(), expected, atol=1e-6, rtol=1e-5)
    close(att.weights(), maps[0] - lambda_ * maps[1], atol=1e-6, rtol=1e-5)
    close(att.output, maps[0] @ v - lambda_ * (maps[1] @ v), atol=1e-6, rtol=1e-5)


def test_differential_rows_sum_to_one_less_lambda():
    qkv = made(70, causal=True)
    rows = engine.attend(qkv, "differential", lambda_=0.3).rows()
    close(rows.kept_mass.float(), torch.full((4, 70), 0.7), atol=1e-5, rtol=0)
    assert torch.isnan(rows.entropy).all() and rows.negative_mass.sum() > 1
    none = engine.attend(qkv, "differential", lambda_=0.0)
    half = qkv.replace(q=qkv.q[..., :4], k=qkv.k[..., :4], scale=0.5)
    close(none.weights(), engine.attend(half, "softmax").weights(), atol=1e-6, rtol=1e-5)


def test_differential_refuses_an_odd_width():
    with refused(match="even"):
        engine.attend(made(10, d=7), "differential")


# -- sigmoid ---------------------------------------------------------------------------------


def test_sigmoid_pairs_do_not_compete():
    qkv = made(30)
    changed = qkv.k.clone()
    changed[:, 3] += 1
    before, after = (engine.attend(x, "sigmoid").weights() for x in (qkv, qkv.replace(k=changed)))
    rest = torch.arange(30) != 3
    close(before[..., rest], after[..., rest])
    assert engine.attend(qkv, "sigmoid").row_kind == "positive"


def test_sigmoid_of_equal_zero_logits_keeps_about_one():
    """σ(−ln n) = 1/(n + 1), so that a flat row sums to n/(n + 1)."""
    qkv = made(50).replace(q=torch.zeros(4, 50, 8))
    close(engine.attend(qkv, "sigmoid").rows().kept_mass.float(), torch.full((4, 50), 50 / 51))


def test_sigmoid_refuses_sinks():
    with refused(match="sinks"):
        engine.attend(made(10, sinks=torch.zeros(4)), "sigmoid")


# -- cost ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("causal", [False, True])
def test_operations_are_those_of_the_plain_twin(key, causal):
    qkv = made(12, 3, causal=causal)
    d, e, count = 8, 5, 0
    for row in oracle.allowed(qkv):
        pairs = int(row.sum())
        scores = {"adaptive_temperature": 2 * d}.get(key, d)  # halves: two of d/2
        values = {"differential": 2 * e}.get(key, e)
        count += 2 * 4 * pairs * (scores + values)
    assert engine.make(key, **KEYS[key]).flops(qkv) == count


@pytest.mark.parametrize("key", KEYS)
def test_blocks_are_bounded(key):
    qkv = made(3000)
    for i, block in enumerate(engine.attend(qkv, key, **KEYS[key]).blocks()):
        assert block.weights.numel() <= 2**22
        if i == 2:
            break
