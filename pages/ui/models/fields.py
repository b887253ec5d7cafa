"""What the Models page lets a person choose, under keys that begin with `models-`."""

import re
from collections.abc import Iterable
from typing import Any

from engine.measure.patterns import PATTERNS
from engine.mechanisms import MECHANISMS
from engine.spec.fields import FIELDS
from engine.spec.spelling import Field, parse_choice, whole
from pages.ui.url.linked import Fields, flag, number, one_of

PLACES = ("project", "recent", "cache", "name")
"""Where models are looked for."""
SCORES = tuple(name for name in PATTERNS if name != "needle")
"""What heads are told apart by; a text at hand has no needle."""
SHARES = tuple(name for name in PATTERNS if name != "distance")
"""Those that are shares, 0 … 1."""
FOUND = ("induction", *(name for name in PATTERNS if name != "induction"))
"""What heads are ranked by; on the probe there is a needle."""
ON = ("probe", "text")
"""What they are scored on."""
LAYOUTS = ("down", "across")
"""How tokens stand between which lines run: a token a line, or as running text."""
PARTS = ("heads", "one", "finder", "across", "off", "transplant", "beside")
"""What the page shows of the model."""
SHOWS = ("map", *SCORES, "effective")
"""What each head's place shows where all are seen."""

NONE = "none"
"""No head is off; what suits is another thing."""
MOST_LISTED = 64


def _listed(numbers: int, default: str | None, said: str, word: str = "") -> Field:
    """A list of so many numbers each, points between them and commas between those."""
    one = r"\.".join([r"\d{1,6}"] * numbers)
    pattern = re.compile(rf"{one}(,{one}){{0,{MOST_LISTED - 1}}}")

    def fits(text: Any) -> bool:
        return isinstance(text, str) and (bool(pattern.fullmatch(text)) or text in ("", word))

    return Field(str, default, fits=fits, said=said)


def _mechanism(text: Any) -> bool:
    try:
        parse_choice(text)
    except ValueError:
        return False
    return True


def numbers_in(text: str | None) -> list[tuple[int, ...]]:
    """The numbers of such a list."""
    if not text or text == NONE:
        return []
    return [tuple(map(int, one.split("."))) for one in text.split(",")]


def spelt(found: Iterable[Iterable[int]]) -> str:
    """Such a list of these numbers."""
    return ",".join(".".join(map(str, one)) for one in found)


MODELS = Fields(
    "models-",
    {
        "from": one_of(PLACES),
        "part": one_of(PARTS, "heads"),
        "heads": _listed(2, None, "layer.head,layer.head"),
        "row": Field(int, None, read=whole, fits=lambda x: type(x) is int and x >= 0, said="≥ 0"),
        "from-token": number(0, 2**20, 0),
        "layout": one_of(LAYOUTS),
        "by-words": flag(),
        "aside": flag(),
        "by-value": flag(),
        "other-model": Field(
            str,
            "",
            fits=lambda x: isinstance(x, str) and len(x) <= 400 and "\n" not in x,
            said="owner/name",
        ),
        "other-text": FIELDS["second"],
        "way": one_of(("rollout", "flow"), "rollout"),
        "shows": one_of(SHOWS, "map"),
        "pattern": one_of(FOUND, "induction"),
        "on": one_of(ON, "probe"),
        "least": number(0.0, 1.0, 0.3, 0.05),
        "off": _listed(2, None, "layer.head,layer.head", NONE),
        "cut": _listed(4, "", "layer.head.query.key"),
        "hidden": _listed(1, "", "0,1,2"),
        "with": Field(str, "window", fits=_mechanism, said=", ".join(MECHANISMS)),
        "layers": _listed(1, "", "0,1,2"),
        "at": Field(int, None, read=whole, fits=lambda x: type(x) is int and x >= 0, said="≥ 0"),
    },
)
