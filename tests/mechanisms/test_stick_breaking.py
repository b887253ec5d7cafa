"""Stick-breaking: by hand, in closed form, as probabilities, and with logits of any size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import engine
from engine.mechanisms.stick_breaking import StickBreaking
from tests import oracle
from tests.refusals import refused

close = torch.testing.assert_close


def scored(z: torch.Tensor) -> engine.QKV:
    """A causal text (n) whose rows all have these scores (n)."""
    k = z.double()[None, :, None]
    return engine.QKV(torch.ones_like(k), k, torch.randn_like(k), causal=True, scale=1.0)


def made(n: int = 40, heads: int = 4, groups: int = 2) -> engine.QKV:
    draw = torch.Generator().manual_seed(1)
    q = torch.randn(heads, n, 8, generator=draw, dtype=torch.float64)
    k, v = (torch.randn(groups, n, 8, generator=draw, dtype=torch.float64) for _ in range(2))
    return engine.QKV(q, k, v, causal=True)


def test_by_hand():
    """σ(0) = ½, σ(ln 2) = ⅔, σ(−ln 3) = ¼: the fourth row gives ¼, then ⅔ of ¾, then ½ of ¼."""
    z = torch.tensor([1.0, 2.0, 1 / 3, 5.0]).log()
    w = StickBreaking().attend(scored(z)).weights()[0]
    rows = [[0, 0, 0, 0], [1 / 2, 0, 0, 0], [1 / 6, 2 / 3, 0, 0], [1 / 8, 1 / 2, 1 / 4, 0]]
    close(w, torch.tensor(rows).double())
    own = StickBreaking(current=True).attend(scored(z)).weights()[0]
    close(own[2], torch.tensor([1 / 8, 1 / 2, 1 / 4, 0]).double())


def test_equal_scores_make_a_geometric_row_of_any_length():
    """σ (1 − σ)^distance, and 1 − (1 − σ)ⁿ in all: how far back it looks is not a matter of n."""
    for z in (-3.0, 0.0, 1.0):
        share = torch.tensor(z).double().sigmoid()
        for n in (10, 300):
            w = StickBreaking().attend(scored(torch.full((n,), z))).weights()[0, -1]
            far = torch.arange(n - 2, -1, -1).double()
            close(w[:-1], share * (1 - share) ** far, atol=1e-300, rtol=1e-10)
            close(w.sum(), 1 - (1 - share) ** (n - 1))
            total = StickBreaking().row_sum([z] * (n - 1), 0.0)
            assert float(total) == pytest.approx(float(w.sum()), abs=1e-12)


def test_equals_the_plain_recurrence():
    """One key after another, from the row back: no logarithms."""
    qkv = made()
    share = oracle.logits(qkv).sigmoid()
    for current in (False, True):
        expected = torch.zeros(4, 40, 40, dtype=torch.float64)
        for i in range(40):
            left = torch.ones(4, dtype=torch.float64)
            for j in range(i if current else i - 1, -1, -1):
                expected[:, i, j] = left * share[:, i, j]
                left = left - expected[:, i, j]
            close(left, 1 - expected[:, i].sum(-1))
        att = StickBreaking(current).attend(qkv)
        close(att.weights(), expected)
        close(att.output, oracle.output(expected, qkv))


def test_it_is_the_chance_that_a_key_is_the_first_that_says_yes():
    """Coins of each key, asked from the nearest back, 200,000 times."""
    qkv = made(n=12, heads=1, groups=1)
    share = oracle.logits(qkv).sigmoid()[0, -1, :-1]
    draw = torch.Generator().manual_seed(0)
    yes = torch.rand(200_000, 11, generator=draw) < share
    first = 10 - yes.flip(-1).int().argmax(-1)
    counts = torch.bincount(first[yes.any(-1)], minlength=11) / len(yes)
    close(counts, StickBreaking().attend(qkv).weights()[0, -1, :-1].float(), atol=4e-3, rtol=0)


def test_one_key_that_takes_all_is_all():
    """Exact limits: σ → 1 at one key takes what is left, and what lies behind it gets nothing."""
    z = torch.full((30,), -1e4)
    z[[5, 17]] = 1e4
    w = StickBreaking().attend(scored(z)).weights()[0]
    one = torch.zeros(30, 30, dtype=torch.float64)
    one[6:18, 5] = one[18:, 17] = 1
    assert torch.equal(w, one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_of_any_size(dtype):
    """Against the reference in float64; and far weights that are small are not lost."""
    draw = torch.Generator().manual_seed(2)
    for size, shift in ((1.0, -8.0), (30.0, 0.0), (300.0, -300.0), (3000.0, 0.0)):
        z = (size * torch.randn(400, generator=draw) + shift).to(dtype)
        qkv = scored(z).to(dtype=dtype)
        w = StickBreaking().attend(qkv).weights().double()
        near = 1e-4 if dtype == torch.float32 else 1e-11
        close(w, StickBreaking().reference(qkv), atol=1e-30, rtol=near * max(1, size / 30))
    close(F.softplus(z, threshold=40), torch.logaddexp(z, torch.zeros_like(z)))


@pytest.mark.parametrize("shift", [0.0, -4.0, -12.0])
def test_it_goes_back_as_far_as_there_is_something_left(shift):
    """Whether it stops early or not, blocks hold all that a number can tell."""
    qkv = made(n=1500, heads=2, groups=1).replace(
        bias=lambda rows, cols: torch.full((2, len(rows), len(cols)), shift)
    )
    qkv = qkv.to(dtype=torch.float32)
    att = StickBreaking().attend(qkv)
    rows = torch.tensor([3, 700, 1499, 20])
    expected = StickBreaking().reference(qkv)
    close(att.weights(rows).double(), expected[:, rows], atol=1e-30, rtol=1e-3)
    close(att.output.double(), oracle.output(expected, qkv), atol=2e-5, rtol=2e-5)
    blocks = list(att.blocks())
    width = [w.weights.shape[-1] for w in blocks]
    assert (max(width) < 1000) == (shift == 0.0)
    close(att.summary(64).rows.kept_mass.double(), expected.sum(-1), atol=1e-5, rtol=0)


def test_nothing_of_later_keys_and_hidden_ones_are_passed_over():
    qkv = made()
    w = StickBreaking().attend(qkv).weights()
    close(StickBreaking().attend(qkv.replace(causal=False)).weights(), w)
    keep = torch.arange(40) % 3 != 1
    some = StickBreaking().attend(qkv.replace(key_mask=keep)).weights()
    few = qkv.replace(q=qkv.q[:, keep], k=qkv.k[:, keep], v=qkv.v[:, keep])
    close(some[:, keep][..., keep], StickBreaking().attend(few).weights())


def test_sinks_are_refused():
    with refused(match="stick-breaking can't use sinks"):
        StickBreaking().attend(made().replace(sinks=torch.zeros(4)))
