"""Which tokens make words, sentences and paragraphs, or plain groups where there is no text.

Words and sentences are those of ICU (Unicode UAX 29; dictionaries for Chinese, Japanese, Thai,
Lao, Burmese and Khmer), put together so that each level partitions the text.
`offsets` are, for each token, the half-open span of characters that it stands for, (n 2).
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from icu4py.breakers import BaseBreaker, SentenceBreaker, WordBreaker
from jaxtyping import Int
from torch import Tensor

LANGUAGE = "en"  # ICU asks for one; its dictionaries go by script, whatever it is


@lru_cache(8192)
def _kind(character: str) -> str:
    """One letter for what a character does to words: see `WORD`."""
    if character in "\n\x0b\x0c\x85\u2028\u2029":
        return "n"
    if character.isspace():
        return "s"
    category = unicodedata.category(character)
    if category in ("Ps", "Pi"):
        return "o"
    return "w" if category[0] in "LN" or category in ("Pc", "So") else "p"


# In the letters of _kind; of a word of ICU's, the first letter, digit or emoji is w, and all after
# it is m. Spaces and opening brackets go with what follows, other punctuation and line ends with
# what precedes; punctuation among spaces stands alone.
WORD = re.compile(r"^[sn]+$|(?:^[sn]*)?s*(?:[op]*wm*|[op]+)p*(?:[sn]*n|s+$)?")
SPACED = re.compile(r"[.!?]['\")\]}»”’」』）]*$")
"""A mark that ends a sentence before a space alone; others (。！？) do anywhere."""
TITLE = re.compile(
    r"(?:^|[\s(“‘\"'])(?:(?:[A-ZÀ-ÞА-Я]\.)*[A-HJ-ZÀ-ÞА-Я]|Dr|Mrs?|Ms|Mx|Prof|St|Mt|Rev|Hon|Gen|Col"
    r"|Maj|Capt|Lt|Sgt|Sen|Rep|Gov|Jr|Sr|vs|cf|Figs?|Eqs?|pp?|et al|Mme|Mlle|Hr|Nr|Sra?|Dra)\.$"
)
"""Titles, initials and what else stands before a name or a number."""
LINE_END = re.compile(r"\r\n?|[\n\x85\u2028\u2029]")
CODE = re.compile(
    r"[;{}]\s*$|^\s+\S|^(?:#|//|\}|@)|[\w\])]\s?[-+*/|&]?=\s?\S|\w[(\[]|^(?:import|from|use)\s\w"
)
"""A line of a program, by its looks."""
SENTENCE = re.compile(r"(?<=[.?!][\"”’])(?= )|(?<=[.?!])(?= )|(?<=[。！？])(?![”’\n])|(?<=\n\n)")
"""Where a sentence of a story begins, with the space before it."""
BLANK_LINE = re.compile(r"\n[^\S\n]*\n|\u2029")


def _ends(breaker: type[BaseBreaker], text: str) -> list[int]:
    """Where each piece that ICU finds ends, in characters; it counts in UTF-16 itself."""
    whole = re.sub("[\ud800-\udfff]", "\ufffd", text)
    ends = [end for _, end in breaker(whole, LANGUAGE).segments()]
    if whole and max(whole) > "\uffff":
        wide = np.frombuffer(whole.encode("utf-32-le"), np.uint32) > 0xFFFF
        ends = (np.searchsorted(np.cumsum(1 + wide), ends) + 1).tolist()
    return ends


def word_starts(text: str) -> list[int]:
    """Where words start; spaces and punctuation go with one, so that they partition the text."""
    kinds, start = list(map(_kind, text)), 0
    for end in _ends(WordBreaker, text):
        if end > start + 1 and "w" in (inside := kinds[start:end]):
            first = start + inside.index("w") + 1
            kinds[first:end] = "m" * (end - first)
        start = end
    starts = [match.start() for match in WORD.finditer("".join(kinds))]
    return starts if starts and starts[0] == 0 else [0, *starts]


def _flowing(text: str) -> str:
    """The text with spaces for those line ends across which a sentence goes on.

    It does in prose before a small letter. Between two blank lines, where half of the lines or
    more look like those of a program, each stands for itself.
    """
    said = list(text)
    edges = [0, *(blank.end() for blank in BLANK_LINE.finditer(text)), len(text)]
    for start, stop in pairwise(edges):
        lines = textwrap.dedent(text[start:stop]).splitlines()
        if 2 * sum(CODE.search(line) is not None for line in lines) >= len(lines):
            continue
        for end in LINE_END.finditer(text, start, stop):
            if text[end.end() : min(stop, end.end() + 80)].lstrip(" \t")[:1].islower():
                said[end.start() : end.end()] = " " * len(end[0])
    return "".join(said)


def _sentence_starts(flowing: str, words: list[int]) -> list[int]:
    """Which words begin a sentence on the line of the one before: where ICU begins one, but not
    with a small letter, nor after a title or an initial."""
    heads, found, start = set(words), [], 0
    for end in _ends(SentenceBreaker, flowing):
        said = flowing[start:end].rstrip()
        while said and _kind(said[-1]) == "o":  # ICU leaves “ with what precedes it
            said = said[:-1]
        begin = start + len(said)
        goes_on = SPACED.search(said) and (
            begin == end or flowing[end : end + 1].islower() or TITLE.search(said[-12:])
        )
        if LINE_END.match(flowing, end - 1) or (begin in heads and not goes_on):
            found.append(begin)
            start = end
    return [begin for begin in found if begin in heads]


def units(text: str, offsets: Int[Tensor, "n 2"]) -> dict[str, Int[Tensor, "u 2"]]:
    """Spans of tokens that make words, sentences and paragraphs, and the tokens themselves.

    Each level partitions all tokens in order, and each sentence is made of whole words, each
    paragraph of whole sentences. A token that straddles a boundary goes where it starts; special
    tokens go with what precedes, and those at the beginning with the first unit. A sentence ends
    where ICU ends one, at . ! ? before a space only, and not before a small letter nor after a
    title or an initial ("Dr. Ray", "J. R. Ray"); and at the end of a line, unless it is prose and
    a small letter follows. A paragraph ends at a blank line, or, in a text that has none, at the
    end of a line. The first level is called "characters" where no token holds more than one, each
    with all of its bytes, else "tokens".
    """
    n = len(offsets)
    words, flowing = word_starts(text), _flowing(text)
    paragraphs, lines = [0], [0]
    for start, stop in pairwise(words):
        if BLANK_LINE.search(text, start, stop):
            paragraphs.append(stop)
        if LINE_END.search(flowing, start, stop):
            lines.append(stop)
    sentences = sorted({*_sentence_starts(flowing, words), *lines, *paragraphs})
    if len(paragraphs) == 1:
        paragraphs = lines
    at = torch.cummax(offsets[:, 0].cpu(), 0).values if n else offsets[:, 0]
    length = offsets[:, 1] - offsets[:, 0]
    single = n > 0 and int(length.max()) <= 1
    levels = {"tokens": torch.arange(n + 1)}
    if single:  # bytes of one character are joined; a token that stands for none is by itself
        apart = (at[1:] != at[:-1]) | (length[1:] == 0) | (length[:-1] == 0)
        starts = apart.cpu().nonzero()[:, 0] + 1
        levels = {"characters": torch.cat([torch.tensor([0]), starts, torch.tensor([n])])}
    for name, starts in (("words", words), ("sentences", sentences), ("paragraphs", paragraphs)):
        which = torch.searchsorted(torch.tensor(starts), at, right=True)
        changes = (which[1:] != which[:-1]).nonzero()[:, 0] + 1
        levels[name] = torch.cat([torch.tensor([0]), changes, torch.tensor([n])])
    return {name: torch.stack([edges[:-1], edges[1:]], 1) for name, edges in levels.items()}


def group_units(m: int) -> dict[str, Int[Tensor, "u 2"]]:
    """Levels where there is no text: groups of 8, 64 and 512 keys, the last of each ragged."""
    levels = {}
    for size in (8, 64, 512):
        starts = torch.arange(0, m, size)
        levels[str(size)] = torch.stack([starts, (starts + size).clamp_max(m)], 1)
    return levels
