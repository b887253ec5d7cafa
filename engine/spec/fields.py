"""What each field of a picture's spec may be, under the key that a URL spells it with."""

import re
from collections.abc import Callable
from typing import Any

from engine.contract import Param, Refusal
from engine.mechanisms import MECHANISMS
from engine.sources.drawings import DRAWINGS
from engine.sources.stacks import CROPS
from engine.spec.spelling import Field, whole, wholes

CONTENT = ("sample", "text", "file", "arrays")
TEXTUAL = ("sample", "text", "file")
COLOURS = ("weight", "log", "uniform", "row")
POOLS = ("max", "mean", "sum")
LANGUAGES = ("en", "zh")
READINGS = ("tokens", "characters")
SIGHTS = ("own", "both")
TRAININGS = ("same", "own")
GROUPINGS = ("matrix", "icicle")
LONGEST_TEXT = 2_000
MOST_HIDDEN = 256
MOST_COLUMNS = 4


def _matching(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value, re.DOTALL))


def _count(low: int, high: int | None = None) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= low and (high is None or value <= high)


def _hidden(value: Any) -> bool:
    return len(value) <= MOST_HIDDEN and all(map(_count(0), value))


def _window(value: Any) -> bool:
    if len(value) != 4 or not all(map(_count(0), value)):
        return False
    r0, r1, c0, c1 = value
    return r0 < r1 and c0 < c1


_NAME = _matching(r"[a-z0-9_-]{1,64}")
_DIGEST = _matching(r"[0-9a-f]{16}")

FIELDS: dict[str, Param] = {
    "model": Field(
        str, "tiny", fits=_matching(r"[^\0\n]{1,400}"),
        said=Refusal("tiny, zoo-window, a folder, owner/name"),
    ),
    "second": Field(
        str, "", fits=lambda value: isinstance(value, str) and len(value) <= LONGEST_TEXT,
        said=f"≤ {LONGEST_TEXT:,}",
    ),
    "picture": Field(
        str, "", fits=lambda value: value == "" or value in DRAWINGS or _DIGEST(value),
        said=", ".join(DRAWINGS),
    ),
    "by": Param(str, "tokens", choices=READINGS),
    "item": Field(int, 0, read=whole, fits=_count(0), said="≥ 0"),
    "crop": Param(str, "none", choices=CROPS),
    "sight": Param(str, "own", choices=SIGHTS),
    "layer": Field(int, None, read=whole, fits=_count(0), said="≥ 0"),
    "mechanism": Field(
        str, "softmax", fits=lambda value: value in MECHANISMS,
        said=lambda: ", ".join(MECHANISMS),
    ),
    "trained": Param(str, "same", choices=TRAININGS),
    "column": Field(
        int, None, read=whole, fits=_count(1, MOST_COLUMNS), said=f"1 … {MOST_COLUMNS}"
    ),
    "head": Field(
        int, None, read=lambda text: text if text == "all" else whole(text),
        fits=lambda value: value == "all" or _count(0)(value), said="all, ≥ 0",
    ),
    "query": Field(int, None, read=whole, fits=_count(0), said="≥ 0"),
    "colour": Param(str, "weight", choices=COLOURS),
    "pool": Param(str, "max", choices=POOLS),
    "group": Field(
        str, "words", fits=_NAME, said="words, sentences, paragraphs, segments, blocks"
    ),
    "block": Field(int, 16, read=whole, fits=_count(1), said="≥ 1"),
    "grouping": Param(str, "matrix", choices=GROUPINGS),
    "hide": Field(tuple, (), read=wholes, fits=_hidden, said=f"0,1,2, … (≤ {MOST_HIDDEN})"),
    "zoom": Field(tuple, None, read=wholes, fits=_window, said="r0,r1,c0,c1"),
    "lang": Param(str, None, choices=LANGUAGES),
}  # fmt: skip
"""URL key -> what a field may be; a field whose default is None may also be None."""

CONTENT_FIELDS: dict[str, Param] = {
    "sample": Field(str, "lamp", fits=_NAME),
    "text": Field(
        str, "", fits=lambda value: isinstance(value, str) and len(value) <= LONGEST_TEXT,
        said=f"≤ {LONGEST_TEXT:,}",
    ),
    "file": Field(str, "", fits=_DIGEST, said="16 × 0…f"),
    "arrays": Field(str, "", fits=_DIGEST, said="16 × 0…f"),
}  # fmt: skip
"""What names the content, by the source that it belongs to."""
