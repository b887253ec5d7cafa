"""What models trained from scratch with each mechanism say of theory: their cards, read together.

A difference that is no larger than what another seed alone makes is said to be none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.models.zoo.kept import Card
from engine.models.zoo.recipes import KINDS, SEEDS

REFERENCE = "softmax"
"""The model that the others are set against."""
STILL = 0.1
"""Nats: a loss that changes by less from one stretch of a book to another stays the same. The
first stretches hold about 1,000 tokens, whose mean is known to a tenth of a nat."""
TIMES = (1, 4, 16)
"""Multiples of the trained length at which models are compared."""

Cards = Mapping[str, Card]
Figure = Callable[[Card], float | None]
"""A number of a card; None where it isn't measured."""


@dataclass(frozen=True)
class Prediction:
    """What is expected of a model: a claim, and where it is made ("" where it follows from the
    formula)."""

    model: str
    claim: str
    source: str = ""


PREDICTIONS = (
    Prediction("softmax", "thins"),
    Prediction("window", "extrapolates"),
    Prediction("ssmax", "focuses", "arXiv 2501.19399"),
    Prediction("ssmax", "rises_less", "arXiv 2501.19399"),
    Prediction("linear", "thins"),
    Prediction("linear", "behind", "arXiv 2312.04927"),
    Prediction("alibi", "extrapolates", "arXiv 2108.12409"),
    Prediction("entmax", "focuses", "arXiv 2506.16640"),
    Prediction("entmax", "rises_less", "arXiv 2506.16640"),
    Prediction("lsh", "matches", "arXiv 2001.04451"),
    Prediction("moba", "matches", "arXiv 2502.13189"),
    Prediction("differential", "matches", "arXiv 2410.05258"),
    Prediction("differential", "finds", "arXiv 2410.05258"),
    Prediction("transformer_xl", "extrapolates", "arXiv 1901.02860"),
    Prediction("nope", "rises_less", "arXiv 2305.19466"),
    Prediction("sigmoid", "matches", "arXiv 2409.04431"),
    Prediction("forgetting", "extrapolates", "arXiv 2503.02130"),
    Prediction("stick_breaking", "extrapolates", "arXiv 2410.17980"),
    Prediction("delta", "extrapolates", "arXiv 2412.06464"),
)
"""In the order of the list of models."""


@dataclass(frozen=True)
class Found:
    """What became of a prediction.

    Attributes:
        verdict: "holds", "fails", or "none" where the difference is no larger than chance.
        facts: numbers of the claim's sentence.
    """

    prediction: Prediction
    verdict: str
    facts: Mapping[str, Any]


def trained_length(card: Card) -> int:
    """Tokens that a model was trained at."""
    return card["training"]["contexts"][-1][1]


def losses(card: Card, book: str) -> dict[int, float]:
    """Where a range of positions ends -> mean loss in it, nats a token."""
    found = card["measured"]["loss_by_position"][book]
    return {int(name.partition("-")[2]): loss for name, loss in found.items()}


def over_length(card: Card, book: str, metric: str, of: str = "attention") -> dict[int, float]:
    """Tokens of a text -> "effective_tokens" or "needle_mass"; empty where it isn't measured.

    Args:
        of: "attention", the model's own, or "applied", the mechanism over the reference's Q, K.
    """
    found = card["measured"].get(of, {}).get(book, {})
    return {int(n): x[metric] for n, x in found.items() if x[metric] is not None}


def needle(card: Card, book: str) -> dict[int, float]:
    """Tokens of a text -> mean probability of a needle's tokens where they are asked for."""
    return {int(n): x["probability"] for n, x in card["measured"]["needle"][book].items()}


def bits(card: Card, book: str) -> float:
    """Bits a byte of the unseen book."""
    return card["measured"]["bits_per_byte"][book]


def exponent(found: Mapping[int, float]) -> float | None:
    """d ln y / d ln n from the shortest to the longest text: 1 thins out evenly, 0 holds."""
    if len(found) < 2 or min(found.values()) <= 0:
        return None
    first, last = min(found), max(found)
    return math.log(found[last] / found[first]) / math.log(last / first)


def rise(card: Card, book: str) -> float:
    """By how much the loss is larger at the last positions than within the trained length."""
    found = losses(card, book)
    return found[max(found)] - found[min(found)]


def seeds(cards: Cards, name: str) -> list[Card]:
    """A model, and the same from other seeds."""
    names = (name, *(x for x in SEEDS if x.rpartition("-seed")[0] == name))
    return [cards[x] for x in names if x in cards]


def chance(cards: Cards, figure: Figure) -> float | None:
    """The most by which a figure differs between seeds of one model; None where none has two."""
    spreads = []
    for name in KINDS:
        values = [x for card in seeds(cards, name) if (x := figure(card)) is not None]
        if len(values) > 1:
            spreads.append(max(values) - min(values))
    return max(spreads, default=None)


def findings(cards: Cards, book: str) -> list[Found]:
    """What became of every prediction of a model that is measured, on one book."""
    found = []
    for prediction in PREDICTIONS:
        card, full = cards.get(prediction.model), cards.get(REFERENCE)
        if card is None or full is None:
            continue
        judged = _judge(prediction.claim, card, full, cards, book)
        if judged is not None:
            found.append(Found(prediction, *judged))
    return found


def _judge(
    claim: str, card: Card, full: Card, cards: Cards, book: str
) -> tuple[str, dict[str, Any]] | None:
    """Verdict and facts; None where what it takes isn't measured."""
    if claim in ("extrapolates", "rises_less"):
        own, other = losses(card, book), losses(full, book)
        facts = {
            "trained": min(own), "last": max(own), "first": own[min(own)],
            "end": own[max(own)], "full_first": other[min(other)], "full_end": other[max(other)],
        }  # fmt: skip
        off = chance(cards, lambda of: rise(of, book))
        if claim == "extrapolates":
            return _verdict(max(STILL, off or 0) - rise(card, book), None), facts
        return _verdict(rise(full, book) - rise(card, book), off), facts
    if claim in ("thins", "focuses"):
        spread = over_length(card, book, "effective_tokens")
        power = exponent(spread)
        usual = exponent(over_length(full, book, "effective_tokens"))
        if power is None or usual is None:
            return None
        facts = {
            "first": spread[min(spread)], "end": spread[max(spread)], "trained": min(spread),
            "last": max(spread), "exponent": power, "full": usual,
        }  # fmt: skip
        off = chance(cards, lambda of: exponent(over_length(of, book, "effective_tokens")))
        return _verdict(power if claim == "thins" else usual - power, off), facts
    if claim == "finds":
        n = TIMES[1] * trained_length(card)
        own, other = (over_length(x, book, "needle_mass").get(n) for x in (card, full))
        if own is None or other is None:
            return None
        off = chance(cards, lambda of: over_length(of, book, "needle_mass").get(n))
        return _verdict(own - other, off), {"n": n, "mass": own, "full": other}
    own, other = bits(card, book), bits(full, book)
    off = chance(cards, lambda of: bits(of, book))
    facts = {"bits": own, "full": other}
    if claim == "behind":
        return _verdict(own - other, off), facts
    assert claim == "matches"
    # as good is what chance alone can tell apart no more
    if off is None:
        return ("holds" if own <= other else "unknown"), facts
    return _verdict(other + off - own, None), facts


def _verdict(margin: float, off: float | None) -> str:
    """Of how far a figure is on the side that was predicted, and of what is chance."""
    if off is not None and abs(margin) <= off:
        return "none"
    return "holds" if margin >= 0 else "fails"


@dataclass(frozen=True)
class Line:
    """One row of the table of all models.

    Attributes:
        name: of the model. bits: by language. losses, needles: at TIMES the trained length;
            of needles, None where texts of that length were not read.
    """

    name: str
    bits: Mapping[str, float]
    losses: Sequence[float | None]
    needles: Sequence[float | None]


def table(cards: Cards, book: str) -> list[Line]:
    """Every model of the list that is measured."""
    lines = []
    for name in (name for name in KINDS if name in cards):
        card = cards[name]
        at = [times * trained_length(card) for times in TIMES]
        lines.append(
            Line(
                name, card["measured"]["bits_per_byte"],
                [losses(card, book).get(n) for n in at],
                [needle(card, book).get(n) for n in at],
            )
        )  # fmt: skip
    return lines
