"""Text as a source: what its tokens are called, and which make words, sentences, paragraphs.

`offsets` are, for each token, the half-open span of characters that it stands for, (n 2); special
tokens that stand for none have an empty span.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from engine.contract import QKV

if TYPE_CHECKING:
    from engine.models.load import Model

TINY = Path(__file__).resolve().parents[2] / "assets" / "models" / "tiny"
UPPER, LOWER = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"), str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def whole_offsets(text: str, offsets: Int[Tensor, "n 2"]) -> Int[Tensor, "n 2"]:
    """The same spans, grown so that they cover every character.

    Tokenizers leave out spaces (BERT) or trim them from a token that begins with one (GPT-2): what
    lies between two tokens goes to the second, what follows the last to the last.
    """
    spans, end, last = offsets.tolist(), 0, None
    for i, (start, stop) in enumerate(spans):
        if start > end:  # also where a token of spaces was trimmed to an empty span at its end
            spans[i][0] = end
        if stop > end:
            end, last = stop, i
    if last is not None and end < len(text):
        spans[last][1] = len(text)
    return torch.tensor(spans, dtype=torch.long).reshape(-1, 2)


def display_tokens(
    text: str, offsets: Int[Tensor, "n 2"], names: Mapping[int, str] | None = None
) -> tuple[str, ...]:
    """What each token is called: its own piece of the text, spaces and newlines as they are.

    Where one character is shared by several tokens (the bytes of a Chinese character or an emoji),
    each shows the character and which part of it it is: "𓂀¹⁄₃". Joined, the tokens with fractions
    taken as one character are the text; offsets should be those of `whole_offsets`.

    Args:
        names: what tokens are called instead, by position: special ones by their own names.
    """
    spans = offsets.tolist()
    names = names or {}
    sharing: dict[int, list[int]] = {}  # the tokens of each character
    for i, (start, stop) in enumerate(spans):
        for at in range(start, stop if i not in names else start):
            sharing.setdefault(at, []).append(i)
    shown = []
    for i, (start, stop) in enumerate(spans):
        parts = []
        for at in range(start, stop if i not in names else start):
            parts.append(text[at])
            if len(among := sharing[at]) > 1:
                part, total = str(among.index(i) + 1), str(len(among))
                parts.append(f"{part.translate(UPPER)}⁄{total.translate(LOWER)}")
        shown.append(names.get(i) or "".join(parts))
    return tuple(shown)


def show_bytes(piece: bytes) -> str:
    """Bytes as a token's name: text where they are whole characters, else ⟨E4·BD⟩."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "⟨" + "·".join(f"{b:02X}" for b in piece) + "⟩"


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


@lru_cache(2)
def _loaded(folder: str) -> Model:
    from engine.models.load import load

    return load(folder)


def reader_of(model: Model | str | Path | None) -> Model:
    """A model as it is, or opened from a folder or hub id; the embedded one if None.

    Raises:
        ValueError: it can't be opened.
    """
    chosen = model or TINY
    return _loaded(str(chosen)) if isinstance(chosen, (str, Path)) else chosen


def text(
    text: str,
    model: Model | str | Path | None = None,
    layer: int = 0,
    characters: bool = False,
) -> QKV:
    """Q, K and V of one layer of a language model that reads this text.

    Args:
        model: a loaded model, or a folder or hub id; the embedded one if None. layer: from 0.
        characters: it reads character by character.

    Raises:
        ValueError: the text is empty, there is no such layer, or the model can't be opened.
    """
    return reader_of(model).read(text, characters=characters).layer(layer)
