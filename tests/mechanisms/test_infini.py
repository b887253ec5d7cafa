"""A compressive memory beside segments: by hand, as the paper's recurrence, and at its limits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import engine
from engine.contract import QKV, Learned
from engine.contract.views import Memory, Parts, Returns
from engine.mechanisms.infini import Infini
from tests import oracle
from tests.refusals import refused

close = torch.testing.assert_close


def made(n: int = 50, heads: int = 4, groups: int = 2, m: int | None = None, **more) -> QKV:
    draw = torch.Generator().manual_seed(0)
    q = torch.randn(heads, n, 8, generator=draw, dtype=torch.float64)
    k, v = (torch.randn(groups, m or n, e, generator=draw, dtype=torch.float64) for e in (8, 5))
    return QKV(2 * q, k, v, causal=True, **more)


def opened(beta: float, heads: int = 4, **more) -> Infini:
    return replace(Infini(**more), learned=Learned({"beta": torch.full((heads,), beta)}))


def test_by_hand():
    """φ is 1 + x: features 1, 2 of a first segment, 3 of the row's own; the row's is 2."""
    k = torch.tensor([[[0.0], [1], [2], [3]]], dtype=torch.float64)
    q = torch.ones(1, 4, 1, dtype=torch.float64)
    qkv = QKV(q, k, k, causal=True, scale=1.0)
    w = opened(0.0, 1, segment=2).attend(qkv).weights()[0]
    own = torch.tensor([2.0, 3]).softmax(0).double()
    close(w[3], torch.cat([torch.tensor([1 / 6, 2 / 6]).double(), own / 2]))
    close(w[0], torch.tensor([0.5, 0, 0, 0]).double())  # the memory is empty still


@pytest.mark.parametrize("update", ["linear", "delta"])
@pytest.mark.parametrize(("n", "m"), [(50, 50), (30, 50), (50, 30)])
def test_outputs_are_those_of_the_papers_recurrence(update, n, m):
    """Equations 3 to 6 in values, one segment after another."""
    qkv, size, g = made(n, m=m), 8, torch.sigmoid(torch.tensor(0.7)).double()
    att = opened(0.7, segment=size, update=update).attend(qkv)
    near = engine.attend(qkv, "segmented", segment=size).output
    memory, total = torch.zeros(2, 8, 5).double(), torch.zeros(2, 8).double()
    expected = (1 - g) * near
    for start in range(0, max(n, m), size):
        rows = [i for i in range(n) if start <= i + m - n < start + size]
        q, k = F.elu(qkv.q[:, rows]) + 1, F.elu(qkv.k[:, start : start + size]) + 1
        v = qkv.v[:, start : start + size]
        if start and rows:
            for h in range(4):
                read = (q[h] @ memory[h // 2]) / (q[h] @ total[h // 2])[:, None]
                expected[h, rows] += g * read
        if update == "delta" and start:
            v = v - (k @ memory) / (k @ total[..., None])
        memory, total = memory + k.mT @ v, total + k.sum(1)
    close(att.output, expected)
    close(oracle.output(att.weights(), qkv), expected)
    assert att.row_kind == ("signed" if update == "delta" else "substochastic")


def test_a_memory_of_one_token_a_segment_is_linear_attention_to_those_before():
    qkv = made()
    w = opened(60.0, segment=1).attend(qkv).weights()
    before = engine.attend(qkv, "linear").weights()
    expected = before.tril(-1)
    expected = expected / expected.sum(-1, keepdim=True).clamp_min(1e-300)
    close(w, expected, atol=1e-9, rtol=1e-7)


def test_one_segment_is_softmax_under_its_gate():
    qkv = made(sinks=torch.zeros(4), softcap=3.0)
    w = opened(-1.0, segment=64).attend(qkv).weights()
    close(w, torch.sigmoid(torch.tensor(1.0)).double() * engine.attend(qkv, "softmax").weights())


def test_with_delta_a_key_that_comes_again_erases_what_it_wrote():
    """One key in all segments: of the first nothing is left, though z counts it still, so that the
    row sums to a half; without "delta" both are there."""
    k = torch.ones(1, 12, 4, dtype=torch.float64)
    qkv = QKV(k, k, k, causal=True)
    w = opened(60.0, 1, segment=4, update="delta").attend(qkv).weights()[0]
    close(w[4:8, :4], torch.full((4, 4), 0.25).double())
    close(w[8:, :8], torch.tensor([[0.0] * 4 + [0.125] * 4] * 4).double())
    plain = opened(60.0, 1, segment=4).attend(qkv).weights()[0]
    close(plain[8:, :8], torch.full((4, 8), 0.125).double())


def test_the_fitted_gate_is_the_nearest():
    """Against a search over a grid, of each head."""
    qkv = made()
    full = oracle.softmax(qkv)
    fitted = Infini(segment=8).fit(qkv)
    assert fitted.learned is not None
    g = torch.sigmoid(fitted.learned.weights["beta"])
    tried = torch.linspace(0, 1, 101, dtype=torch.float64)
    beta = torch.logit(tried, eps=1e-9)
    off = torch.stack([
        (opened(float(b), segment=8).attend(qkv).weights() - full).square().sum((1, 2))
        for b in beta
    ])  # fmt: skip
    close(g, tried[off.argmin(0)], atol=0.011, rtol=0)
    assert fitted.learned.fidelity is not None
    found = fitted.learned.fidelity
    assert found.value.mean() < found.random.mean()


def test_the_view_says_what_is_returned():
    """Keys at right angles, each of its own value: all that was written is found again; keys that
    are one and the same return the mean of all, and nothing of each."""
    k = 30 * (2 * torch.eye(16, dtype=torch.float64)[None] - 1)  # φ: one feature, and nothing else
    v = torch.randn(1, 16, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    view = opened(0.0, 1, segment=4).attend(QKV(k, k, v, causal=True)).view(Returns)
    written = torch.ones(4, 4).tril().bool()
    assert view.size == 4 and (view.alike[0].isnan() == ~written).all()
    close(view.alike[0][written], torch.ones(10))
    same = torch.zeros_like(k)
    view = opened(0.0, 1, segment=4).attend(QKV(same, same, v, causal=True)).view(Returns)
    close(view.alike[0, -1], torch.zeros(4), atol=1e-6, rtol=0)


def test_its_parts_are_the_two_ways_under_their_gates():
    qkv = made()
    att = Infini(segment=8).attend(qkv)
    view, rows = att.view(Parts), torch.tensor([40, 3, 17])
    close(sum(part(rows) for part in view.maps.values()), att.weights(rows))
    reach = att.view(Memory).reach
    assert (reach[:, 0] == 0).all() and (reach[:, 1] == torch.arange(1, 51)).all()


def test_what_keeps_no_key_takes_no_bias_and_no_mask():
    with refused(match="can't use bias: its memory"):
        Infini().attend(made(bias=lambda rows, cols: torch.zeros(4, len(rows), len(cols))))
    with refused(match="can't use mask"):
        Infini().attend(made(mask=lambda rows, cols: rows[:, None] >= cols))
