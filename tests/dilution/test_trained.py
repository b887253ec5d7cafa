"""What cards say of theory: numbers by hand, and differences that are chance are none."""

import copy

import pytest

from engine.dilution import trained
from engine.dilution.trained import PREDICTIONS
from engine.models.zoo import kept
from engine.models.zoo.recipes import KINDS, SEEDS

RANGES = ("0-256", "256-512", "512-1024", "1024-2048", "2048-4096")
LENGTHS = (256, 512, 1024, 2048, 4096)


def card(first=4.0, last=5.0, bits=2.0, power=1.0, mass=0.5) -> dict:
    """A card whose loss runs evenly from first to last, and whose attention spreads by a power."""
    losses = {r: first + (last - first) * i / 4 for i, r in enumerate(RANGES)}
    spread = {
        str(n): {"effective_tokens": 10 * (n / 256) ** power, "needle_mass": mass * 256 / n}
        for n in LENGTHS
    }
    return {
        "training": {"contexts": [[0.0, 256]]},
        "measured": {
            "bits_per_byte": {"en": bits, "zh": bits + 1},
            "loss_by_position": {"en": losses},
            "needle": {"en": {str(n): {"probability": 64 / n} for n in LENGTHS}},
            "attention": {"en": spread},
        },
    }


def verdicts(cards, model):
    return {
        one.prediction.claim: one.verdict
        for one in trained.findings(cards, "en")
        if one.prediction.model == model
    }


def test_numbers_of_a_card():
    one = card(first=4.0, last=5.0, power=0.5)
    assert trained.trained_length(one) == 256
    assert trained.losses(one, "en") == dict(zip(LENGTHS, (4, 4.25, 4.5, 4.75, 5), strict=True))
    assert trained.rise(one, "en") == 1
    spread = trained.over_length(one, "en", "effective_tokens")
    assert trained.exponent(spread) == pytest.approx(0.5)
    assert trained.over_length(one, "en", "needle_mass")[1024] == 0.125
    assert trained.over_length(one, "en", "needle_mass", "applied") == {}
    assert trained.over_length(one, "zh", "needle_mass") == {}
    assert trained.exponent({256: 3.0}) is None
    one["measured"]["attention"]["en"]["256"]["effective_tokens"] = None
    assert 256 not in trained.over_length(one, "en", "effective_tokens")


def test_without_other_seeds_the_sign_decides_and_chance_is_not_known():
    cards = {"softmax": card(), "ssmax": card(first=3.9, last=4.8, power=0.2)}
    assert trained.chance(cards, lambda of: trained.bits(of, "en")) is None
    assert verdicts(cards, "ssmax") == {"focuses": "holds", "rises_less": "holds"}
    worse = cards | {"ssmax": card(first=3.9, last=5.3, power=1.2)}
    assert verdicts(worse, "ssmax") == {"focuses": "fails", "rises_less": "fails"}


def test_a_loss_that_changes_by_little_holds():
    for last, verdict in ((4.05, "holds"), (3.0, "holds"), (4.2, "fails")):
        cards = {"softmax": card(), "window": card(last=last)}
        assert verdicts(cards, "window") == {"extrapolates": verdict}


def test_differences_within_what_seeds_change_are_none():
    cards = {
        "softmax": card(), "softmax-seed1": card(last=5.3, bits=2.04), "ssmax": card(last=4.8),
    }  # fmt: skip
    assert trained.chance(cards, lambda of: trained.rise(of, "en")) == pytest.approx(0.3)
    assert trained.chance(cards, lambda of: trained.bits(of, "en")) == pytest.approx(0.04)
    assert verdicts(cards, "ssmax")["rises_less"] == "none"
    assert verdicts(cards | {"ssmax": card(last=4.6)}, "ssmax")["rises_less"] == "holds"
    assert verdicts(cards | {"ssmax": card(last=5.4)}, "ssmax")["rises_less"] == "fails"


def test_as_good_as_full_attention():
    alone = {"softmax": card(bits=2.0), "moba": card(bits=2.01)}
    assert verdicts(alone, "moba") == {"matches": "unknown"}
    assert verdicts(alone | {"moba": card(bits=1.9)}, "moba") == {"matches": "holds"}
    several = alone | {"softmax-seed2": card(bits=2.03)}
    assert verdicts(several, "moba") == {"matches": "holds"}
    assert verdicts(several | {"moba": card(bits=2.1)}, "moba") == {"matches": "fails"}
    assert verdicts(several | {"linear": card(bits=2.02)}, "linear")["behind"] == "none"


def test_what_is_not_measured_is_not_judged():
    bare = copy.deepcopy(card())
    del bare["measured"]["attention"]
    assert verdicts({"softmax": card(), "ssmax": bare}, "ssmax").keys() == {"rises_less"}
    assert trained.findings({"ssmax": card()}, "en") == []


def test_seeds_belong_to_their_model():
    cards = {name: card() for name in (*KINDS, *SEEDS)}
    assert {name: len(trained.seeds(cards, name)) for name in KINDS if name != "softmax1"} == {
        name: 3 if name in ("softmax", "window", "ssmax") else 1
        for name in KINDS if name != "softmax1"
    }  # fmt: skip
    assert len(trained.seeds(cards, "softmax1")) == 1


def test_the_table_has_a_line_a_model_in_their_order():
    cards = {name: card() for name in reversed(KINDS)}
    lines = trained.table(cards, "en")
    assert [line.name for line in lines] == list(KINDS)
    assert lines[0].losses == [4, 4.5, 5] and lines[0].needles == [0.25, 0.0625, 0.015625]


def test_predictions_are_of_models_of_the_list():
    assert {one.model for one in PREDICTIONS} <= KINDS.keys()
    assert len(set(PREDICTIONS)) == len(PREDICTIONS)


@pytest.mark.parametrize("book", ["en", "zh"])
def test_the_cards_that_are_kept_are_judged(book):
    cards = kept.measured()
    found = {one.prediction for one in trained.findings(cards, book)}
    there = {one for one in PREDICTIONS if one.model in cards}
    lacking = {one for one in there - found if one.claim in ("thins", "focuses", "finds")}
    assert found | lacking == there or "softmax" not in cards
