"""What is measured of a model of the zoo, and how its card tells it."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.contract import QKV
from engine.mechanisms.differential import Differential
from engine.mechanisms.softmax import Softmax
from engine.models.zoo import cards, measure, training
from engine.models.zoo.recipes import KINDS, LEFT_OUT, ON_REQUEST, SEEDS, kind_of

SMALL = replace(
    training.RECIPE, layers=2, heads=2, width=16, inner=16, batch=144, contexts=((0.0, 72),)
)
BOOK = torch.arange(1000, 3000)
"""Of tokens that no needle of the small vocabulary below has."""


def copies(sharp: float):
    """Tells what followed the last token when it stood here before; else anything."""

    def chances(ids):
        states = torch.zeros(len(ids), measure.ASKED, 4000)
        for row, each in enumerate(ids):
            for a in range(measure.ASKED):
                at = len(each) - measure.ASKED + a - 1  # the token before the one that is asked
                was = (each[:at] == each[at]).nonzero()
                if len(was):
                    states[row, a, each[was[0, 0] + 1]] = sharp
        return states.softmax(-1)

    return chances


@pytest.mark.parametrize("n", [80, 256])
def test_a_needle_stands_in_the_text_and_at_its_end(n):
    ids = measure.needle_texts(BOOK, n, 900, count=8)
    assert ids.shape == (8, n) and (ids[:, 0] == 0).all()
    places = []
    for row in ids:
        same = row.unfold(0, measure.NEEDLE, 1).eq(row[-measure.NEEDLE :]).all(1).nonzero()[:, 0]
        first, last = same.tolist()
        assert last == n - measure.NEEDLE
        assert (row < 1000).sum() == 1 + 2 * measure.NEEDLE, "the rest is the book's"
        places.append(first)
    assert places == sorted(set(places)), "as many depths as texts"
    assert places[-1] > n - 2 * measure.NEEDLE - n / 8


def test_no_text_is_longer_than_the_book_or_shorter_than_two_needles():
    for n in (2001, 2 * measure.NEEDLE):
        with pytest.raises(ValueError, match=f"no text of {n}"):
            measure.needle_texts(BOOK, n, 900)


def test_what_copies_finds_every_needle_and_what_knows_nothing_none():
    perfect = measure.needle(copies(60.0), 4000, BOOK, 256)
    assert perfect["probability"] > 0.95 and perfect["found"] > 0.95, "few tokens come twice"
    blind = measure.needle(copies(0.0), 4000, BOOK, 256)
    assert blind["probability"] == pytest.approx(1 / 4000) and blind["found"] == 0


def test_a_needle_among_equal_keys_gets_its_share_and_attention_spreads_over_all():
    """Two layers of two heads: all keys alike, and one head that sees nothing but the needle."""
    n, at = 200, torch.arange(50, 50 + measure.NEEDLE)
    same = torch.ones(2, n, 8)
    sharp = torch.zeros(2, n, 8)
    sharp[1, at, 0] = 200.0
    layers = [QKV(same, k, same, causal=True) for k in (same, sharp)]
    effective, share = measure.thinning([(Softmax(), qkv) for qkv in layers], at)
    reading = torch.arange(n - measure.NEEDLE - measure.ROWS, n - measure.NEEDLE) + 1.0
    asking = torch.arange(n - measure.ASKED - 1, n - 1) + 1.0
    flat = reading.mean().item()
    assert effective.tolist() == pytest.approx([flat, flat, flat, measure.NEEDLE])
    chance = (measure.NEEDLE / asking).mean().item()
    assert share.tolist() == pytest.approx([chance, chance, chance, 1.0])


def test_signed_weights_have_no_effective_tokens():
    draw = torch.Generator().manual_seed(0)
    qkv = QKV(*torch.randn(3, 2, 150, 8, generator=draw), causal=True)
    effective, share = measure.thinning([(Differential(), qkv)], torch.arange(40, 72))
    assert effective.isnan().all() and share.isfinite().all()


def test_only_what_is_lacking_is_measured(monkeypatch):
    asked = []
    parts = {name: lambda of, name=name: asked.append(name) or name for name in measure.PARTS}
    monkeypatch.setattr(measure, "PARTS", parts)
    monkeypatch.setattr(measure, "Subject", lambda folder, held: None)
    known = {"applied": {}, "passage": 1.5, "cost": {"1024": 0}}
    found = measure.measure(Path("x"), {}, known)
    assert list(found) == list(parts) and found | known == found
    assert asked == [name for name in parts if name not in known]


def test_a_card_tells_how_attention_thins_out():
    card = made(en=1.875, zh=2.625)
    assert "Effective tokens" not in cards.readme("window", card)
    spread = {
        str(n): {"effective_tokens": None if n == 512 else n / 2, "needle_mass": 32 / n}
        for n in measure.LENGTHS
    }
    card["measured"]["attention"] = {"en": spread}
    said = cards.readme("window", card)
    assert "| English | its own | 128.0 · 0.125 | – · 0.062 |" in said
    assert "applied |" not in said
    card["measured"]["applied"] = {"zh": spread}
    assert "| Chinese | applied | 128.0 · 0.125 |" in cards.readme("window", card)


def made(**bits: float) -> dict:
    """A card of given bits per byte."""
    ranges = ["0-256", "256-512", "512-1024", "1024-2048", "2048-4096"]
    return {
        "training": {
            "step": 1100, "tokens": 3_000_000, "contexts": [[0.0, 256]],
            "corpus_tokens": {"en": 5, "zh": 6}, "batch": 4096, "layers": 4, "heads": 4,
            "width": 128,
        },
        "measured": {
            "bits_per_byte": bits,
            "loss_by_position": {x: {r: 4 + i for i, r in enumerate(ranges)} for x in bits},
            "needle": {
                x: {str(n): {"probability": 64 / n, "found": 0.0} for n in measure.LENGTHS}
                for x in bits
            },
            "heads": {"previous_token": [[0.25]], "induction": [[0.75]]},
            "repeated": {"period": 127, "first": 8.25, "second": 0.125, "ratio": 0.02},
            "cost": {"1024": {"flops": 3e9, "bytes": 2**20}},
            "step": {"seconds_per_million": 400.0, "times_reference": 1.25},
        },
    }  # fmt: skip


def test_a_card_tells_its_figures():
    said = cards.readme("window", made(en=1.875, zh=2.625))
    assert "`window` · window 64, sinks 4 · rotary positions" in said
    assert "English 1.875 · Chinese 2.625" in said
    said = " ".join(said.split())
    assert "400 seconds of one core for a million tokens, 1.25 times" in said
    assert "| English | 0.25 | 0.12 | 0.06 | 0.03 | 0.02 |" in said
    assert "| 0 | 0.25 | 0.75 |" in said and "| 1,024 | 3" in said


def test_the_table_has_a_row_a_model_and_says_what_seeds_change():
    found = {"softmax": made(en=1.8, zh=2.6), "nope": made(en=1.9, zh=2.7)}
    alone = cards.overview(found)
    assert "chance is not known" in alone
    assert (
        "| `nope` | `softmax` · no rotary positions | 1.900 | 2.700 | 4.00 | 6.00 | 8.00 |"
        in alone
    )
    for key, reason in LEFT_OUT.items():
        assert f"- `{key}`: {reason}." in alone
    other = copy.deepcopy(found["softmax"])
    other["measured"]["bits_per_byte"]["en"] = 1.825
    both = cards.overview(found | {"softmax-seed1": other})
    assert "`softmax`, 2 seeds: bits 1.800 to 1.825, loss to 4,096 8.00 to 8.00." in both
    assert both.count("\n| `") == 3


def test_models_that_are_not_kept_are_named_until_they_are():
    found = {"softmax": made(en=1.8, zh=2.6)}
    assert "`gated`, `differential2`" in cards.overview(found)
    known = {name: made(en=1.8, zh=2.6) for name in ON_REQUEST}
    assert "asked for" not in cards.overview(found | known)


def test_a_step_costs_what_its_mechanism_costs():
    nets = {
        name: training.build(replace(SMALL, seed=1), kind_of(name)).train()
        for name in ("softmax", "entmax")
    }
    before = nets["softmax"].lm_head.weight.clone()
    found = measure.step_costs(nets, SMALL, repeats=2)
    assert found.keys() == nets.keys() and all(0 < x < 60 for x in found.values())
    assert not torch.equal(nets["softmax"].lm_head.weight, before)


def test_every_name_is_told_apart():
    assert set(ON_REQUEST) <= KINDS.keys()
    assert not KINDS.keys() & SEEDS.keys()
    assert all(cards.attends(kind) for kind in KINDS.values())
    assert len({cards.attends(kind) for kind in KINDS.values()}) == len(KINDS)
