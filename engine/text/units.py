"""Which tokens make words, sentences and paragraphs, or plain groups where there is no text.

`offsets` are, for each token, the half-open span of characters that it stands for, (n 2).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

HAN = (
    (0x3005, 0x3007), (0x3041, 0x309F), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)  # fmt: skip
JOINERS = "'’.·\u200c\u200d"


@lru_cache(8192)
def _kind(character: str) -> str:
    """One letter for what a character does to words: see `WORD`."""
    if character in "\n\x0b\x0c\x85\u2028\u2029":
        return "n"
    if character.isspace():
        return "s"
    if character in JOINERS:
        return "j"
    if any(low <= ord(character) <= high for low, high in HAN):
        return "h"
    category = unicodedata.category(character)
    if category[0] == "M":
        return "m"
    if category[0] in "LN" or category == "Pc":
        return "w"
    if 0x1F3FB <= ord(character) <= 0x1F3FF:  # skin tones
        return "m"
    return {"Ps": "o", "Pi": "o", "So": "e"}.get(category, "p")


# In the letters of _kind. A word is a Han or Hiragana character, a run of letters and digits
# (apostrophes and full stops inside it join, combining marks belong to it), or an emoji. Spaces
# and opening brackets go with what follows, other punctuation and line ends with what precedes;
# punctuation among spaces stands alone.
WORD = re.compile(
    r"^[sn]+$|(?:^[sn]*)?s*(?:[opj]*(?:hm*|w[wm]*(?:j+[wm]+)*|em*(?:jem*)*)|[opjm]+)[pjm]*(?:[sn]*n|s+$)?"
)
ENDS = re.compile(r"[。！？]['\")\]}»”’」』）]*\s*$")
MAY_END = re.compile(r"[.!?…।؟۔]['\")\]}»”’」』）]*(\s*)$")
LINE_END = re.compile(r"[\n\x0b\x0c\x85\u2028\u2029]")
SENTENCE = re.compile(r"(?<=[.?!][\"”’])(?= )|(?<=[.?!])(?= )|(?<=[。！？])(?![”’\n])|(?<=\n\n)")
"""Where a sentence begins, with the space before it."""
BLANK_LINE = re.compile(r"\n[^\S\n]*\n|\u2029")


def word_starts(text: str) -> list[int]:
    """Where words start, so that they partition the text: spaces and punctuation go with a word.

    By Unicode's categories. In a run of Chinese, each character is a word of its own (and in
    Japanese each hiragana): no dictionary is at work. Thai and the like are cut at spaces only.
    """
    kinds = "".join(map(_kind, text))
    starts = [match.start() for match in WORD.finditer(kinds)]
    return starts if starts and starts[0] == 0 else [0, *starts]


def units(text: str, offsets: Int[Tensor, "n 2"]) -> dict[str, Int[Tensor, "u 2"]]:
    """Spans of tokens that make words, sentences and paragraphs, and the tokens themselves.

    Each level partitions all tokens in order, and each sentence is made of whole words, each
    paragraph of whole sentences. A token that straddles a boundary goes where it starts; special
    tokens go with what precedes, and those at the beginning with the first unit. A sentence ends
    at 。！？, at . ! ? … (and । ؟ ۔) before a space and at the end of a line, those unless a small
    letter follows; a paragraph ends at a blank line, or, in a text that has none, at the
    end of a line. The first level is called "characters" where no token holds more than one, each
    with all of its bytes, else "tokens".
    """
    n = len(offsets)
    words = word_starts(text)
    sentences, paragraphs, lines = [0], [0], [0]
    for start, stop, after in zip(words, words[1:], [*words[2:], len(text)], strict=False):
        word, following = text[start:stop], text[stop:after]
        goes_on = following.lstrip()[:1].islower()
        blank, line = BLANK_LINE.search(word), LINE_END.search(word)
        may = MAY_END.search(word)
        spaced = may is not None and bool(may[1] or following[:1].isspace())
        if blank:
            paragraphs.append(stop)
        if line and not goes_on:
            lines.append(stop)
        if blank or ENDS.search(word) or ((line or spaced) and not goes_on):
            sentences.append(stop)
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
