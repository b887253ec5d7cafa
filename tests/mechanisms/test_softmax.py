"""Softmax against plain float64, torch's own attention, and exact limits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from tests import oracle
from tests.mechanisms.test_battery import CASES, some_qkv
from tests.refusals import refused


@settings(max_examples=80)
@given(CASES, st.floats(0.2, 4))
def test_equals_plain_float64(case, temperature):
    qkv = some_qkv(case)
    att = engine.attend(qkv, "softmax", temperature=temperature)
    expected = oracle.softmax(qkv, temperature)
    torch.testing.assert_close(att.weights().double(), expected, atol=3e-6, rtol=1e-5)
    found = att.summary(8, ("max",))
    torch.testing.assert_close(
        found.output.double(), oracle.output(expected, qkv), atol=2e-5, rtol=1e-5
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("n", [1, 255, 700])
def test_equals_torch(causal, n):
    q, k, v = torch.randn(3, 4, n, 16, generator=torch.Generator().manual_seed(n)).unbind(0)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    att = engine.attend(engine.QKV(q, k, v, causal=causal), "softmax")
    torch.testing.assert_close(att.output, expected)
    torch.testing.assert_close(att.summary(32).output, expected, atol=1e-5, rtol=1e-5)


def test_by_hand():
    """Two keys that score ln 3 and 0: weights 3/4 and 1/4."""
    z = torch.tensor(3.0).log()
    qkv = engine.QKV(
        torch.ones(1, 1, 1), torch.stack([z, z * 0]).view(1, 2, 1), torch.tensor([[[4.0], [8.0]]]),
        scale=1.0,
    )  # fmt: skip
    att = engine.attend(qkv, "softmax")
    torch.testing.assert_close(att.weights(), torch.tensor([[[0.75, 0.25]]]))
    torch.testing.assert_close(att.output, torch.tensor([[[5.0]]]))
    entropy = -(0.75 * torch.tensor(0.75).log() + 0.25 * torch.tensor(0.25).log())
    torch.testing.assert_close(att.rows().entropy, entropy.view(1, 1))


@pytest.mark.parametrize("scale", [1e3, 1e5])
def test_extreme_scores_stay_finite(scale):
    qkv = engine.sources.planted(n=600, heads=1, dim=8, seed=1)
    qkv = qkv.replace(q=qkv.q * scale, causal=True)
    found = engine.attend(qkv, "softmax").summary(64, ("max", "mean", "sum"))
    assert all(torch.isfinite(x).all() for x in vars(found.rows).values())
    assert all(torch.isfinite(x).all() for x in found.maps.values())
    expected = oracle.softmax(qkv)
    torch.testing.assert_close(
        found.rows.max_weight.double(), expected.amax(-1), atol=1e-3, rtol=0
    )


def test_very_low_first_tile_is_not_lost():
    """The first thousand keys score far below the rest: nothing of the rest underflows."""
    k = torch.zeros(1, 3000, 2)
    k[0, :1500, 0], k[0, 1500:, 0] = -400, 300
    qkv = engine.QKV(torch.ones(1, 3000, 2), k, torch.randn(1, 3000, 2), scale=1.0)
    rows = engine.attend(qkv, "softmax").rows()
    torch.testing.assert_close(
        rows.effective_tokens, torch.full((1, 3000), 1500.0), atol=0, rtol=1e-4
    )


@pytest.mark.parametrize("colour", ["uniform", "row"])
@pytest.mark.parametrize("pool", ["max", "mean", "sum"])
def test_colours_scale_rows_before_pooling(colour, pool):
    qkv = engine.sources.planted(n=90, heads=2, dim=8, seed=2, causal=True)
    w = oracle.softmax(qkv)
    factor = oracle.allowed(qkv).sum(-1)[:, None] if colour == "uniform" else 1 / w.amax(-1, True)
    expected = oracle.pooled(w * factor, qkv, 16, pool)
    att = engine.attend(qkv, "softmax")
    torch.testing.assert_close(
        att.heatmap(16, pool, colour=colour).double(), expected, atol=1e-4, rtol=1e-4
    )
    whole = att.summary(16, (pool,), colour)
    torch.testing.assert_close(whole.maps[pool].double(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("n", "size"), [(1300, 512), (1300, 30), (3000, 512), (3000, 90), (2600, 2), (5000, 512)]
)
@pytest.mark.parametrize("causal", [False, True])
def test_the_pass_and_the_blocks_agree_where_tiles_are_many(n, size, causal):
    qkv = engine.sources.planted(n=n, heads=1, dim=16, seed=n, causal=causal)
    att = engine.attend(qkv, "softmax")
    w = oracle.softmax(qkv)
    found = att.summary(size, ("max", "sum"))
    stored = engine.Attention.from_weights(w, causal=causal, needles=qkv.needles)
    expected = stored.summary(size, ("max", "sum"))
    for pool in ("max", "sum"):
        torch.testing.assert_close(
            found.maps[pool].double(), expected.maps[pool].double(), atol=2e-5, rtol=1e-4
        )
    for name, value in vars(expected.rows).items():
        if name != "argmax":
            torch.testing.assert_close(
                getattr(found.rows, name).double(), value.double(), atol=1e-4, rtol=1e-4,
                msg=lambda m, name=name: f"{name}: {m}",
            )  # fmt: skip
    best = w.gather(-1, found.rows.argmax[..., None])[..., 0]
    torch.testing.assert_close(best, w.amax(-1), atol=1e-6, rtol=0)


def test_progress_can_stop_it():
    class Stop(Exception):
        pass

    def report(share: float) -> None:
        shares.append(share)
        if share > 0.3:
            raise Stop

    shares: list[float] = []
    threads = torch.get_num_threads()
    qkv = engine.sources.planted(n=2048, heads=2)
    with pytest.raises(Stop):
        engine.attend(qkv, "softmax").summary(64, progress=report)
    assert shares == sorted(shares) and shares[-1] < 0.5
    assert torch.get_num_threads() == threads


def test_steps_are_the_row():
    qkv = engine.sources.planted(n=40, heads=2, dim=8, causal=True).replace(softcap=2.0)
    att = engine.attend(qkv, "softmax")
    steps = att.steps(1, 20)
    torch.testing.assert_close(steps.weights, att.weights(slice(20, 21))[1, 0])
    torch.testing.assert_close(steps.output, att.output[1, 20], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(steps.logits, 2 * torch.tanh(steps.scores / 2))
    assert steps.allowed.tolist() == [True] * 21 + [False] * 19


def test_refuses_what_it_cannot_honour():
    q, k = torch.randn(1, 3, 4), torch.randn(1, 3, 5)
    with refused(match="one width"):
        engine.attend(engine.QKV(q, k, k), "softmax")
    for temperature in (0.0, -1.0, float("nan")):
        with refused(match="temperature"):
            engine.attend(engine.QKV(q, q, q), "softmax", temperature=temperature)
    with refused(match="no mechanism"):
        engine.attend(engine.QKV(q, q, q), "sofmax")
    with refused(match="no parameter"):
        engine.attend(engine.QKV(q, q, q), "softmax", window=3)


def test_a_summary_is_not_worked_out_again():
    att = engine.attend(engine.sources.planted(n=64, heads=1, dim=8), "softmax")
    found = att.summary(16, ("max",), "uniform")
    assert att.heatmap(16, "max", colour="uniform") is found.maps["max"]
    assert att.heatmap(16, "max") is not found.maps["max"]
    assert att.rows() is found.rows


def test_hiding_a_key_leaves_a_sink_its_share_by_hand():
    """Logits ln 2, ln 1, ln 1 and a sink of ln 4: the keys have 4/8, and keep it between them."""
    k = torch.tensor([2.0, 1.0, 1.0]).log().view(1, 3, 1)
    qkv = engine.QKV(torch.ones(1, 1, 1), k, k, scale=1.0, sinks=torch.tensor([4.0]).log())
    hidden = engine.attend(qkv, "softmax").hide(torch.tensor([0]))
    torch.testing.assert_close(hidden.weights()[0, 0], torch.tensor([0.0, 0.25, 0.25]))
