"""What each field of a spec may be, and how its value is spelt in a URL."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from engine.contract import Param, Refusal
from engine.mechanisms import MECHANISMS
from engine.sources import SOURCES

CONTENT = ("sample", "text", "file", "arrays")
TEXTUAL = ("sample", "text", "file")
COLOURS = ("weight", "log", "uniform", "row")
POOLS = ("max", "mean", "sum")
LANGUAGES = ("en", "zh")
READINGS = ("tokens", "characters")
SIGHTS = ("own", "both")
GROUPINGS = ("matrix", "icicle")
LONGEST_TEXT = 2_000
MOST_HIDDEN = 256
MOST_COLUMNS = 4
NAME = r"[a-z0-9_-]{1,64}"
DIGEST = r"[0-9a-f]{16}"


@dataclass(frozen=True)
class Problem:
    """One value that could not be used.

    Attributes:
        field: the URL key. value: what was found. allowed: what may stand there, in symbols, or
            the sentence that refused it.
        kind: "choice" (not among those allowed), "number" (not one, or out of range), "length".
    """

    field: str
    value: str
    allowed: str | ValueError
    kind: str = "choice"

    def __str__(self) -> str:
        value = self.value if len(self.value) <= 40 else self.value[:39] + "…"
        return f"{self.field} can't be {value!r}; allowed: {self.allowed}. The default is used."


def allowed(declared: Param) -> str:
    """What a parameter may be, in symbols: `a, b`, `1 … 64`, `> 0`."""
    if declared.choices:
        return ", ".join(declared.choices)
    if declared.kind is bool:
        return "true, false"
    if declared.kind is str:
        return "text"
    low, high = declared.low, declared.high
    if low is not None and high is not None and not declared.open_low:
        return f"{low:,g} … {high:,g}"
    above = None if low is None else f"{'>' if declared.open_low else '≥'} {low:,g}"
    below = None if high is None else f"≤ {high:,g}"
    return ", ".join(part for part in (above, below) if part) or "a number"


def _one_of(options: Collection[str], or_none: bool = False) -> Any:
    def check(name: str, value: Any) -> None:
        if not (value in options if isinstance(value, str) else or_none and value is None):
            raise ValueError(f"{name} must be one of {', '.join(options)}, not {value!r}")

    return check


def _matching(pattern: str, what: str) -> Any:
    def check(name: str, value: Any) -> None:
        if not (isinstance(value, str) and re.fullmatch(pattern, value, re.DOTALL)):
            raise ValueError(f"{name} must be {what}")

    return check


def _count(low: int, or_none: bool = True) -> Any:
    def check(name: str, value: Any) -> None:
        if (or_none and value is None) or (type(value) is int and value >= low):
            return
        raise ValueError(f"{name} must be a whole number ≥ {low}, not {value!r}")

    return check


def _head(name: str, value: Any) -> None:
    if value != "all":
        _count(0)(name, value)


def _column(name: str, value: Any) -> None:
    if value is not None and not (type(value) is int and 1 <= value <= MOST_COLUMNS):
        raise ValueError(f"{name} must be 1 … {MOST_COLUMNS}, not {value!r}")


def _hide(name: str, value: Any) -> None:
    if len(value) > MOST_HIDDEN or any(type(i) is not int or i < 0 for i in value):
        raise ValueError(f"{name} must be at most {MOST_HIDDEN} positions ≥ 0")


def _zoom(name: str, value: Any) -> None:
    if value is None:
        return
    if len(value) != 4 or any(type(i) is not int for i in value):
        raise ValueError(f"{name} must be four whole numbers")
    r0, r1, c0, c1 = value
    if not (0 <= r0 < r1 and 0 <= c0 < c1):
        raise ValueError(f"{name} must be r0,r1,c0,c1 with 0 ≤ r0 < r1 and 0 ≤ c0 < c1")


CHECKS = {
    "source": _one_of((*CONTENT, *SOURCES)),
    "model": _matching(r"[^\0\n]{1,400}", "a folder or a hub id"),
    "by": _one_of(READINGS),
    "sight": _one_of(SIGHTS),
    "layer": _count(0),
    "mechanism": _one_of(tuple(MECHANISMS)),
    "column": _column,
    "head": _head,
    "query": _count(0),
    "colour": _one_of(COLOURS),
    "pool": _one_of(POOLS),
    "group": _matching(NAME, "a level of units, segments or blocks"),
    "block": _count(1, or_none=False),
    "grouping": _one_of(GROUPINGS),
    "hide": _hide,
    "zoom": _zoom,
    "language": _one_of(LANGUAGES, or_none=True),
}
CONTENT_CHECKS = {
    "sample": _matching(NAME, "the id of a sample"),
    "text": _matching(rf".{{0,{LONGEST_TEXT}}}", f"at most {LONGEST_TEXT:,} characters"),
    "file": _matching(DIGEST, "16 hexadecimal digits"),
    "arrays": _matching(DIGEST, "16 hexadecimal digits"),
}
ALLOWED: dict[str, str | ValueError] = {
    "by": ", ".join(READINGS),
    "sight": ", ".join(SIGHTS),
    "layer": "≥ 0",
    "column": f"1 … {MOST_COLUMNS}",
    "head": "all, ≥ 0",
    "query": "≥ 0",
    "colour": ", ".join(COLOURS),
    "pool": ", ".join(POOLS),
    "group": "words, sentences, paragraphs, segments, blocks",
    "block": "≥ 1",
    "grouping": ", ".join(GROUPINGS),
    "hide": f"0,1,2, … (≤ {MOST_HIDDEN})",
    "zoom": "r0,r1,c0,c1",
    "lang": ", ".join(LANGUAGES),
    "model": Refusal("tiny, a folder, owner/name"),
    "file": "16 × 0…f",
    "arrays": "16 × 0…f",
}


def positions(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        raise ValueError("whole numbers with commas are expected")
    return tuple(int(part) for part in text.split(","))


def whole(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise ValueError("a whole number is expected")
    return int(text)


PARSERS = {
    "model": str,
    "by": str,
    "sight": str,
    "layer": whole,
    "mechanism": str,
    "column": whole,
    "head": lambda text: text if text == "all" else whole(text),
    "query": whole,
    "colour": str,
    "pool": str,
    "group": str,
    "block": whole,
    "grouping": str,
    "hide": positions,
    "zoom": positions,
    "lang": str,
}
