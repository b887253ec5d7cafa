"""How tokens are shown: spaces, newlines and controls visible, and nothing interpreted.

Tokens come from people and models; they are data. `shown` makes them readable, `escaped` makes the
result inert in Plotly's little HTML; text sinks that interpret nothing take `shown` alone.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

MARKS = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍", "": "∅"}
JOINERS = (
    "\u200c\u200d"  # inside a word or an emoji they are spelling, at an edge they are invisible
)
HIDDEN = ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp", "Zs")


def _code(character: str) -> str:
    point = ord(character)
    return f"\\u{point:04X}" if point < 0x10000 else f"\\U{point:08X}"


def shown(token: str) -> str:
    """A token with spaces as ␣, newlines as ↵, and whatever can't be seen as \\uXXXX.

    A combining mark that has no letter before it stands on a dotted circle.
    """
    if token in MARKS:
        return MARKS[token]
    parts = []
    for i, character in enumerate(token):
        inside = 0 < i < len(token) - 1
        if character in MARKS:
            parts.append(MARKS[character])
        elif character in JOINERS and inside:
            parts.append(character)
        elif unicodedata.category(character) in HIDDEN:
            parts.append(_code(character))
        else:
            parts.append(character)
    if unicodedata.combining(token[0]):
        parts.insert(0, "◌")
    return "".join(parts)


PART = re.compile(r"(.)([¹²³⁴⁵⁶⁷⁸⁹])⁄[₂₃₄₅₆₇₈₉]", re.DOTALL)


def joined(tokens: Iterable[str]) -> str:
    """The text that neighbouring tokens make, a character that several share said once."""
    return PART.sub(lambda part: part[1] if part[2] == "¹" else "", "".join(tokens))


MARK = re.compile(r"<\|?\w+\|?>|\[[A-Z]+\]")
"""A token that is no text: where one begins or ends."""


def excerpt(tokens: Sequence[str], longest: int = 72) -> str:
    """How a text begins, in one line of at most `longest` characters, ended at a word's end where
    words are told apart."""
    read = [token for token in tokens[: longest + 1] if not MARK.fullmatch(token)]
    text = " ".join(joined(read).split())
    if len(text) <= longest and len(tokens) <= longest:
        return text
    cut = text[:longest].rpartition(" ")[0] if " " in text[longest // 2 : longest] else ""
    return f"{cut or text[:longest]}…"


def shortened(token: str, longest: int = 16) -> str:
    """`shown`, cut to at most `longest` characters with an ellipsis."""
    text = shown(token)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def escaped(text: str) -> str:
    """Text that Plotly's ticks, titles and hover boxes print as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def isolated(token: str, longest: int = 24) -> str:
    """A token for a sentence: shown, cut, and kept from turning the sentence's direction."""
    return f"\u2068{shortened(token, longest)}\u2069"


KEPT = " \n\t\u200c\u200d"
PART_OF = re.compile(r"(?P<character>.)(?P<part>[⁰¹²³⁴-⁹]+)⁄[₀-₉]+", re.DOTALL)
"""A token that is a few bytes of one character (`offsets.display_tokens`)."""


def flowing(token: str) -> str | None:
    """A token as it stands in running text: spaces and newlines stay, the unseen is named.

    Of a character that is several tokens, the first stands for it; the others are None.
    """
    if not token:
        return shown(token)
    if part := PART_OF.fullmatch(token):
        return part["character"] if part["part"] == "¹" else None
    return "".join(c if c in KEPT else shown(c).removeprefix("◌") for c in token)


def joining(tokens: Iterable[str]) -> list[str]:
    """Tokens for places of their own: where a word of a joined script (Arabic, Syriac) goes on in
    the next, its letters keep the forms that they have inside it."""
    made = list(tokens)
    meets = [False, *(_joins(a[-1:]) and _joins(b[:1]) for a, b in pairwise(made)), False]
    return [
        "\u200d" * before + token + "\u200d" * after
        for token, before, after in zip(made, meets, meets[1:], strict=False)
    ]


def _joins(character: str) -> bool:
    return bool(character) and unicodedata.bidirectional(character) in ("AL", "NSM")


RUNNING = re.compile(
    r"[\u0590-\u08ff\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af]"
)
"""Hebrew, Arabic, Syriac; Chinese, Japanese, Korean."""


def runs_on(text: str) -> bool:
    """Whether a text is mostly of scripts that are read as a line, not as words in a list."""
    letters = [c for c in text[:4096] if c.isalpha()]
    return 2 * sum(RUNNING.match(c) is not None for c in letters) > len(letters)


def direction(text: str) -> Literal["ltr", "rtl"]:
    """Which way most of a text's letters run: names of special tokens are Latin in any text."""
    kinds = [unicodedata.bidirectional(c) for c in text[:4096]]
    back = sum(kind in ("R", "AL") for kind in kinds)
    return "rtl" if back > kinds.count("L") else "ltr"
