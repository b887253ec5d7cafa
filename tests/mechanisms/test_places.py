"""CoPE and FIRE against the code their articles print, another package, and laws of theirs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from x_transformers.x_transformers import CoPE

import engine
from engine.contract.learned import Learned
from engine.contract.views import Bias
from engine.kernels import places
from engine.mechanisms.relative import Relative
from tests import oracle

close = torch.testing.assert_close


def made(n: int = 60, heads: int = 4, groups: int = 2, **more) -> engine.QKV:
    draw = torch.Generator().manual_seed(n)
    q = torch.randn(heads, n, 8, generator=draw, dtype=torch.float64)
    k, v = (torch.randn(groups, n, 8, generator=draw, dtype=torch.float64) for _ in range(2))
    return engine.QKV(q, k, v, **{"causal": True} | more)


def test_cope_is_that_of_another_package():
    """x-transformers leaves the product with the embeddings unscaled, as the article's code."""
    qkv = made()
    draw = torch.Generator().manual_seed(3)
    table = torch.randn(12, 8, generator=draw, dtype=torch.float64)
    theirs = CoPE(8, 4, 12).double()
    theirs.pos_emb.data = table
    later = torch.ones(60, 60, dtype=torch.bool).triu(1)
    z = oracle.logits(qkv).masked_fill(later, -torch.inf)
    with torch.no_grad():
        expected = (z + theirs(qkv.q[None], z[None])[0]).softmax(-1)
    learned = Learned({"cope": (table / qkv.factor).expand(4, -1, -1)})
    att = Relative("cope", 11, learned=learned).attend(qkv)
    close(att.weights(), expected)
    close(att.output, oracle.output(expected, qkv))


class Printed(nn.Module):
    """FIRE as its article's appendix has it: a network of one hidden layer on ψ over ψ."""

    def __init__(self, heads: int, c: float, length: float) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, heads)).double()
        self.c, self.length = c, length

    def forward(self, n: int) -> torch.Tensor:
        at = torch.arange(n).double()
        far = (at[:, None] - at).abs()
        longest = at.clamp_min(self.length)[:, None]
        x = torch.log(self.c * far + 1) / torch.log(self.c * longest + 1)
        return self.mlp(x[..., None]).permute(2, 0, 1)


@pytest.mark.parametrize("length", [8, 40, 500])
def test_fire_is_the_article_s_network(length):
    """Its 32 units put where ours bend: the first at a slope from 0, the others at each 31st."""
    qkv = made(120)
    theirs = Printed(4, 0.3, length)
    first, last = theirs.mlp[0], theirs.mlp[2]
    with torch.no_grad():
        first.weight.fill_(1.0)
        first.bias.copy_(-torch.arange(32) / 31)
        bend = last.weight  # (h 32)
        x = torch.arange(32).double() / 31
        values = torch.einsum("hu,xu->hx", bend, (x[:, None] - x).clamp_min(0))
        values += last.bias[:, None]
        added = theirs(120)
    how = Relative("fire", length=length, curve=0.3, learned=Learned({"fire": values[..., None]}))
    later = torch.ones(120, 120, dtype=torch.bool).triu(1)
    expected = (oracle.logits(qkv) + added).masked_fill(later, -torch.inf).softmax(-1)
    close(how.attend(qkv).weights(), expected)
    far = how.attend(qkv).qkv.bias(torch.arange(120), torch.arange(120))
    close(far.tril(), added.tril())


def test_equal_scores_count_every_key_alike():
    """A scaled score of z is σ(z) of a key: the key itself counts, and no more than the most."""
    n, z = 40, 1.1
    q = torch.full((1, n, 4), 2.0, dtype=torch.float64)
    k = torch.full((1, n, 4), z / 4, dtype=torch.float64)
    qkv = engine.QKV(q, k, k, causal=True)
    table = torch.zeros(1, 9, 4, dtype=torch.float64)
    att = Relative("cope", 8, learned=Learned({"cope": table})).attend(qkv)
    place = att.qkv.bias.place(torch.tensor([30]), torch.arange(n))[0, 0]
    gate = 1 / (1 + math.exp(-z))
    expected = (gate * (31 - torch.arange(31)).double()).clamp_max(8)
    close(place[:31], expected)
    assert (place[31:] == -1).all()


def test_hidden_keys_are_not_counted():
    """As if they were not there: the article masks scores before it takes their gates."""
    hidden = torch.arange(60) % 5 == 2
    qkv = made(key_mask=~hidden, groups=4)
    draw = torch.Generator().manual_seed(5)
    table = torch.randn(4, 20, 8, generator=draw, dtype=torch.float64)
    how = Relative("cope", 19, learned=Learned({"cope": table}))
    left = engine.QKV(qkv.q[:, ~hidden], qkv.k[:, ~hidden], qkv.v[:, ~hidden], causal=True)
    kept = how.attend(qkv).weights()[:, ~hidden][..., ~hidden]
    close(kept, how.attend(left).weights())


@pytest.mark.parametrize("p", [0.1, 0.3])
def test_fire_thins_out_as_a_power_that_length_weakens(p):
    """Equal scores and a function that falls by a: a key d back weighs (c·d + 1)^−p with
    p = a / ln(c·n + 1), so that over a long past the participation ratio is
    n (1 − 2p) / (1 − p)², and as n grows and p falls, all of n."""
    n, c = 20_000, 10.0
    a = p * math.log(c * (n - 1) + 1)
    zero = torch.zeros(1, n, 1, dtype=torch.float64)
    values = -a * torch.linspace(0, 1, places.POINTS, dtype=torch.float64)
    how = Relative("fire", curve=c, length=8, learned=Learned({"fire": values[None, :, None]}))
    rows = how.attend(engine.QKV(zero, zero, zero, causal=True)).rows(torch.tensor([n - 1]))
    expected = n * (1 - 2 * p) / (1 - p) ** 2
    assert float(rows.participation[0, 0]) == pytest.approx(expected, rel=0.02)


def test_fire_says_the_same_of_a_longer_text_s_same_part():
    """Beyond the threshold it is the share of the past that counts: with a curve that hardly
    bends, a key half-way back gets the same in a text of any length."""
    values = torch.randn(2, places.POINTS, 1, generator=torch.Generator().manual_seed(0)).double()
    how = Relative("fire", curve=1e-8, length=8, learned=Learned({"fire": values}))
    added = []
    for n in (401, 1601):
        bias = how.attend(made(n, heads=2)).qkv.bias
        added.append(bias(torch.tensor([n - 1]), torch.arange(0, n, n // 100))[:, 0, :100])
    close(*added, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["cope", "fire"])
def test_what_is_added_is_seen_by_distance(kind):
    att = engine.attend(made(90), "relative", kind=kind)
    view = att.view(Bias)
    assert view.kind == kind
    bias = att.qkv.bias(torch.arange(90), torch.arange(90))
    for far in (0, 5, 60):
        close(
            view.value[:, far].double(), bias.diagonal(-far, 1, 2).mean(-1), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("far", [6, 400])
@pytest.mark.parametrize("ramp", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_cope_streams_its_rows_tile_by_tile(causal, ramp, far):
    """More rows than a piece has, more keys than a tile or one step of counting has."""
    bias = lambda rows, cols: (cols % 3).double().expand(4, len(rows), -1)  # noqa: E731
    qkv = made(1300, causal=causal, bias=bias if ramp else None)
    table = torch.randn(4, far + 1, 8, generator=torch.Generator().manual_seed(5)).double()
    how = Relative("cope", far, learned=Learned({"cope": table}))
    att, expected = how.attend(qkv), how.reference(qkv)
    assert att.streams
    summary = att.summary(64)
    close(summary.output, oracle.output(expected, qkv))
    close(summary.rows.entropy, torch.special.entr(expected).sum(-1), atol=1e-9, rtol=1e-9)
    close(summary.rows.max_weight, expected.amax(-1))
    rows, cols = torch.tensor([3, 700, 1299]), torch.tensor([0, 2, 650, 699, 1280, 1299])
    close(att.window(rows, cols), expected[:, rows[:, None], cols])
