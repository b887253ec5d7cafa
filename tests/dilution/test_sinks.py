"""First-token sinks, held to the literature: in closed form, planted, and in the bundled model."""

from __future__ import annotations

from functools import cache
from math import exp

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

import engine
from engine.measure.patterns import patterns
from engine.models import load
from engine.models.finder import ranked, score
from engine.runtime.paths import ROOT, TINY

T, ENOUGH = 64, 0.3
"""Tokens, and the mean weight from which a head counts as a sink (arXiv 2410.10781)."""


def mean_share(gap: float) -> float:
    """Mean over T rows of the first token's weight, its score so far above equal others."""
    return sum(exp(gap) / (exp(gap) + t) for t in range(T)) / T


def planted(gap: float, n: int = T, heads: int = 1) -> engine.QKV:
    """One direction in all queries, of which the first key alone has something: its value is 0,
    as sinks' nearly are, and the others' are drawn."""
    q, k = torch.zeros(heads, n, 4), torch.zeros(heads, n, 4)
    q[..., 0], k[:, 0, 0] = 1.0, gap
    v = torch.randn(heads, n, 16, generator=torch.Generator().manual_seed(0))
    v[:, 0] = 0
    return engine.QKV(q, k, v, causal=True, scale=1.0)


@pytest.mark.parametrize("gap", [0.0, 1.0, 2.51, 6.0])
def test_a_sink_is_a_gap_above_the_others(gap):
    """Even rows give the first of 64 tokens H₆₄/64 = 7 %, far from a sink; 2.5 nats make one."""
    w = engine.attend(planted(gap), "softmax").weights()[0].double()
    assert float(w[:, 0].mean()) == pytest.approx(mean_share(gap), rel=1e-5)
    assert mean_share(0.0) == pytest.approx(0.0741, abs=1e-4)
    assert (mean_share(gap) >= ENOUGH) == (gap >= 2.51)
    nothing = torch.zeros(T, dtype=torch.bool)
    att = engine.attend(planted(gap), "softmax")
    found = patterns(att, torch.arange(T), nothing, torch.tensor([0]))["sink"]
    assert float(found[0]) == pytest.approx((mean_share(gap) * T - 1) / (T - 1), rel=1e-5)


def test_who_need_not_add_up_to_one_needs_no_sink():
    """arXiv 2410.10781: 18.18 % of softmax's heads are sinks and 0.44 % of those of a sigmoid. A
    head with nothing to say has scores far below 0: softmax gives its first key what the others
    leave, whatever the scores; a sigmoid, softmax1 and a broken stick leave all of it."""
    silent = planted(6.0)
    low = silent.replace(q=torch.ones_like(silent.q), k=silent.k - 12)
    kept = engine.attend(low, "softmax").weights()[0].sum(-1)
    torch.testing.assert_close(kept, torch.ones(T))
    for key in ("sigmoid", "softmax1", "stick_breaking"):
        assert float(engine.attend(low, key).weights().sum(-1).max()) < 1e-6, key


def test_a_sink_takes_from_the_others_under_softmax_alone():
    for key, alike in (("softmax", False), ("sigmoid", True)):
        with_it, without = (engine.attend(planted(g), key).weights()[0, -1, 1:] for g in (6.0, 0))
        assert torch.allclose(with_it, without, rtol=1e-5) == alike


@pytest.mark.parametrize("gap", [4.0, 6.0])
def test_a_window_that_loses_the_sink_makes_too_much_of_the_rest(gap):
    """arXiv 2309.17453: without the first tokens a window's perplexity breaks down (5158 against
    5.40 with four of them). Where the first key takes s of a window's row and says nothing, the
    rest without it counts 1/(1 − s) times; with sinks, as in a text of the window's length."""
    n, width = 400, 32
    qkv = planted(gap, n)
    kept, lost = (
        engine.attend(qkv, "window", window=width, sinks=sinks).weights()[0, -1]
        for sinks in (4, 0)
    )
    share = exp(gap) / (exp(gap) + 3 + width)
    assert float(kept[0]) == pytest.approx(share, rel=1e-5)
    near = slice(n - width, n)
    by = (exp(gap) + 3 + width) / width
    torch.testing.assert_close(lost[near], kept[near] * by, rtol=1e-5, atol=0)
    assert by > 1 / (1 - share) > 2  # the three others beside the first are read, too


@cache
def own() -> tuple[list[Tensor], list[Tensor]]:
    """Weights (30 h T T) of the bundled model's layers on pieces of prose, as they are and with
    the token that begins a text put before each."""
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    text = (ROOT / "assets" / "examples" / "harbour.txt").read_text()
    ids = tokenizer(text, return_tensors="pt")["input_ids"][0, 1:]
    net = AutoModelForCausalLM.from_pretrained(TINY, attn_implementation="eager")
    pieces = ids[: 30 * T].view(-1, T)
    begun = torch.cat([torch.full((30, 1), tokenizer.bos_token_id), pieces[:, :-1]], 1)
    with torch.no_grad():
        both = [net(x, output_attentions=True).attentions for x in (pieces, begun)]
    return tuple(list(x) for x in both)


def shares(layers: list[Tensor]) -> Tensor:
    """(layers h) mean weight on the first token."""
    return torch.stack([w[..., 0].mean((0, 2)) for w in layers])


def test_the_bundled_models_sinks_are_on_the_token_that_begins_a_text():
    """arXiv 2410.10781: sinks come with training, on what stands first in all of it. Of the 24
    heads of a model so small two are sinks there (8 %; its models of 60 M parameters: 18 %), and
    none on a first token of prose, where shares are near those of even rows."""
    prose, begun = (shares(x) for x in own())
    assert float((begun >= ENOUGH).float().mean()) == pytest.approx(2 / 24)
    assert float(prose.max()) < 0.12
    assert (begun[1:] > prose[1:]).all()  # in all heads but those of the first layer


def test_few_heads_of_the_bundled_model_retrieve():
    """arXiv 2404.15574: 3–6 % of heads score above 0.1; here one of 24."""
    model = load(TINY, device="cpu")
    text = (ROOT / "assets" / "examples" / "harbour.txt").read_text()[:1500]
    heads = score(model.read(text, max_tokens=300))
    assert len(ranked(heads, "retrieval", least=0.1)) == 1 and len(heads) == 24
