"""A tokenizer, and which characters of a text each of its tokens stands for.

Fast tokenizers say so themselves, though some not truly; for the others the tokens are laid along
the text one by one, by what each is written as.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from engine.models.masks import ModelError
from engine.text.offsets import display_tokens, show_bytes, whole_offsets

Span = tuple[int, int]


def _byte_alphabet() -> dict[str, int]:
    """The characters by which byte-level tokenizers write bytes (GPT-2's alphabet)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


BYTES = _byte_alphabet()


@dataclass(eq=False)
class Coded:
    """A text as tokens.

    Attributes:
        text: what was encoded; of a pair, both texts with a blank line between them.
        ids: numbers of the tokens. offsets: the characters that each stands for, grown so that
            they cover every text. special: which are no part of it, as BOS.
        types: which text of a pair each belongs to, as the model is told; None where it isn't.
    """

    text: str
    ids: list[int]
    offsets: Int[Tensor, "n 2"]
    special: list[bool]
    types: list[int] | None = None

    def kept(self, places: Sequence[int]) -> Coded:
        """Some of the tokens only."""
        types = None if self.types is None else [self.types[i] for i in places]
        at = list(places)
        return Coded(
            self.text, [self.ids[i] for i in at], self.offsets[at],
            [self.special[i] for i in at], types,
        )  # fmt: skip

    def beginning(self, limit: int) -> Coded:
        """At most so many tokens of the beginning, with what closes the text, as BERT's [SEP]."""
        total = len(self.ids)
        if limit >= total:
            return self
        closing = next((i for i, s in enumerate(reversed(self.special)) if not s), 0)
        closing = min(closing, limit - 1)
        return self.kept([*range(limit - closing), *range(total - closing, total)])


@dataclass(eq=False)
class Pieces:
    """A tokenizer of transformers. Several people may use it at once."""

    tokenizer: Any
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def token(self, number: int) -> str:
        """What a token of the vocabulary is called by itself; half a character as its bytes."""
        piece = self.tokenizer.convert_ids_to_tokens(number)
        if piece is None:
            return f"⟨{number}⟩"
        if number in self.tokenizer.all_special_ids:
            return piece
        if (raw := self._raw(piece)) is not None:
            return show_bytes(raw)
        word = self.tokenizer.decode([number], clean_up_tokenization_spaces=False)
        if "\ufffd" in word and all(c in BYTES for c in piece):
            return show_bytes(bytes(BYTES[c] for c in piece))
        return " " + word if piece.startswith("▁") and not word.startswith(" ") else word

    def named(self, coded: Coded) -> tuple[str, ...]:
        """What the tokens of a text are called: their own piece of it, special ones by name."""
        empty = (coded.offsets[:, 0] == coded.offsets[:, 1]).tolist()
        names = {i: self.token(t) for i, t in enumerate(coded.ids) if coded.special[i] or empty[i]}
        return display_tokens(coded.text, coded.offsets, names)

    def encode(self, text: str, characters: bool = False, target: bool = False) -> Coded:
        """A text's tokens.

        Args:
            characters: each character encoded on its own, as one token or as several bytes.
            target: it is what a decoder writes, which some tokenizers encode in another way.

        Raises:
            ModelError: the text is empty or has half a character in it.
        """
        _check(text)
        coded = self._called(text_target=text) if target else self._called(text)
        ids, special = list(coded["input_ids"]), self._special(coded)
        if not ids:
            raise ModelError("the text has no tokens: there is nothing to read")
        spans = self._spans(text, ids, special, coded.get("offset_mapping"))
        if characters:
            added = [s and a == b for s, (a, b) in zip(special, spans, strict=True)]
            ids, spans, special = self._spelt(text, ids, added)
        return Coded(text, ids, _whole(text, spans), special)

    def pairs(self) -> bool:
        """Whether two texts are told apart: by a separator or more between them."""
        count = self.tokenizer.num_special_tokens_to_add
        return count(pair=True) > count(pair=False)

    def pair(self, first: str, second: str) -> Coded:
        """The tokens of two texts that are read as a pair.

        Raises:
            ModelError: one of them is empty or has half a character in it.
        """
        _check(first)
        _check(second)
        coded = self._called(first, second)
        ids, special = list(coded["input_ids"]), self._special(coded)
        ends = len(self._called(first, add_special_tokens=False)["input_ids"])
        types = coded.get("token_type_ids")
        inside = [i for i, s in enumerate(special) if not s]
        sides = (inside[:ends], inside[ends:])
        spans: list[Span] = [(0, 0)] * len(ids)
        given, gap = coded.get("offset_mapping"), len(first) + 2
        for text, at, start in ((first, sides[0], 0), (second, sides[1], gap)):
            own = None if given is None else [given[i] for i in at]
            part = self._spans(text, [ids[i] for i in at], [False] * len(at), own)
            for i, (a, b) in zip(at, _whole(text, part).tolist(), strict=True):
                spans[i] = (a + start, b + start)
        end = 0
        for i, (a, b) in enumerate(spans):  # special tokens stand where they are
            spans[i] = (end, end) if special[i] else (a, b)
            end = spans[i][1]
        offsets = torch.tensor(spans, dtype=torch.long)
        return Coded(f"{first}\n\n{second}", ids, offsets, special, types and list(types))

    def _called(self, *texts: str, **more: Any) -> Any:
        with self._lock:  # a tokenizer keeps settings, and refuses to be shared while they change
            return self.tokenizer(
                *texts,
                return_offsets_mapping=self.tokenizer.is_fast,
                return_special_tokens_mask=True,
                verbose=False,
                **more,
            )

    def _special(self, coded: Any) -> list[bool]:
        known, unknown = self.tokenizer.all_special_ids, self._unknown()
        pairs = zip(coded["special_tokens_mask"], coded["input_ids"], strict=True)
        return [(bool(s) or t in known) and t != unknown for s, t in pairs]

    def _unknown(self) -> int | None:
        """The token of pieces that are not in the vocabulary, where it is that alone (GPT-2's
        also ends texts)."""
        tokenizer = self.tokenizer
        others = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id)
        return None if tokenizer.unk_token_id in others else tokenizer.unk_token_id

    def _spans(
        self, text: str, ids: list[int], special: list[bool], given: Sequence[Span] | None
    ) -> list[Span]:
        """The characters of each token: as the tokenizer says, unless it says of words that they
        stand for none (Llama 3.2's, tokenizers #1688)."""
        pieces = self.tokenizer.convert_ids_to_tokens(ids)
        if given is not None:
            empty = [a == b for a, b in given]
            if not any(
                e and not s and piece.strip("▁Ġ ")
                for e, s, piece in zip(empty, special, pieces, strict=True)
            ):
                spans = [list(span) for span in given]
                for piece, span in zip(pieces, spans, strict=True):
                    # a space that the tokenizer put before the text stands for nothing in it
                    if not piece.strip("▁") and text[slice(*span)].strip():
                        span[1] = span[0]
                return [(a, b) for a, b in spans]
        written = [
            "" if s else self._written(t, piece)
            for t, s, piece in zip(ids, special, pieces, strict=True)
        ]
        return laid(text, written)

    def _written(self, number: int, piece: str) -> str | bytes | None:
        """What a token stands for: text, bytes, or None where it is unknown to the vocabulary."""
        if number == self._unknown():
            return None
        if piece and not piece.strip("▁"):
            return " " * len(piece)
        if (raw := self._raw(piece)) is not None:
            return raw
        word = self.tokenizer.decode([number], clean_up_tokenization_spaces=False)
        if "\ufffd" in word and all(c in BYTES for c in piece):
            return bytes(BYTES[c] for c in piece)
        continues = piece.removeprefix("##") if piece.startswith("##") else None
        return word if continues is None else continues

    def _raw(self, piece: str) -> bytes | None:
        """The byte that a token of bytes alone stands for (ByT5, byte fallback)."""
        if re.fullmatch(r"<0x[0-9A-F]{2}>", piece):
            return bytes([int(piece[3:5], 16)])
        bytewise = getattr(self.tokenizer, "_utf_vocab_size", None) == 256
        return bytes([ord(piece)]) if bytewise and len(piece) == 1 and ord(piece) < 256 else None

    def _spelt(
        self, text: str, ids: list[int], added: list[bool]
    ) -> tuple[list[int], list[Span], list[bool]]:
        """The text's characters, each encoded on its own, between what opens and closes a text.

        Args:
            ids: the text as it is usually encoded. added: which of them stand for nothing in it.
        """
        first, last = (
            next((i for i, extra in enumerate(x) if not extra), 0) for x in (added, added[::-1])
        )
        opening, closing = ids[:first], ids[len(ids) - last :]
        vocabulary = self.tokenizer.get_vocab()
        known = {c: self._character(c, vocabulary) for c in set(text)}
        places = [(i, token) for i, c in enumerate(text) for token in known[c]]
        end = len(text)
        return (
            [*opening, *(token for _, token in places), *closing],
            [(0, 0)] * first + [(i, i + 1) for i, _ in places] + [(end, end)] * last,
            [True] * first + [False] * len(places) + [True] * last,
        )

    def _character(self, character: str, vocabulary: Mapping[str, int]) -> list[int]:
        """One character's tokens: the one of its name, without a space before it, if there is."""
        number = vocabulary.get("▁" if character == " " else character)
        if number is not None and self.token(number) == character:
            return [number]
        with self._lock:
            return list(self.tokenizer(character, add_special_tokens=False)["input_ids"])


def _check(text: str) -> None:
    if not text:
        raise ModelError("the text is empty: there is nothing to read")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ModelError(
            "the text holds an incomplete character at position {position}", position=error.start
        ) from None


def _whole(text: str, spans: Sequence[Span]) -> Int[Tensor, "n 2"]:
    return whole_offsets(text, torch.tensor(spans, dtype=torch.long).reshape(-1, 2))


@lru_cache(8192)
def _folded(text: str) -> str:
    """Text without case, marks and widths, which tokenizers fold; spaces all alike."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(" " if c.isspace() or c == "▁" else c for c in (plain or text).casefold())


def laid(text: str, written: Sequence[str | bytes | None]) -> list[Span]:
    """Spans of characters of tokens that follow one another in a text.

    Compared without case, marks and widths; a space that the text lacks stands for nothing.

    Args:
        written: what each token stands for, as text or bytes, "" for nothing; None for an unknown
            one, which stands for what lies between its neighbours.
    """
    marks = [(c, i) for i, char in enumerate(text) for c in _folded(char)]
    met: list[list[int]] = [[] for _ in written]
    at, unknown = 0, False
    for characters, tokens in _stream(written):
        if characters is None:
            unknown = True
            continue
        start = _found(marks, at, characters, 256 if unknown else 4)
        if start is None:
            continue
        unknown = False
        for c, owners in zip(characters, tokens, strict=True):
            if c != " ":
                while marks[start][0] == " ":
                    start += 1
            elif start >= len(marks) or marks[start][0] != " ":
                continue
            for token in owners:
                met[token].append(marks[start][1])
            start += 1
        at = start
    spans: list[Span] = []
    for number, places in enumerate(met):
        end = spans[-1][1] if spans else 0
        if places:
            spans.append((min(places), max(places) + 1))
        elif written[number] is None and len(spans) == number:
            run = next((i for i, x in enumerate(met[number:]) if x), len(met) - number)
            stop = min(met[number + run]) if number + run < len(met) else len(text)
            alone = sum(one is None for one in written[number : number + run])
            inside = text[end:stop]
            start = end + len(inside) - len(inside.lstrip())
            stop = max(start, end + len(inside.rstrip()))
            if alone == run == stop - start:  # one character each
                spans += [(start + i, start + i + 1) for i in range(run)]
            else:
                spans += [(start, stop), *[(stop, stop)] * (run - 1)]
        elif len(spans) == number:
            spans.append((end, end))
    return spans


def _stream(
    written: Sequence[str | bytes | None],
) -> Iterator[tuple[str | None, list[tuple[int, ...]]]]:
    """What stands together, folded, and the tokens that each of its characters belongs to; None
    for an unknown token. Bytes are joined to characters first."""
    number = 0
    while number < len(written):
        one = written[number]
        if one is None:
            yield None, []
        elif isinstance(one, str):
            if characters := _folded(one):
                yield characters, [(number,)] * len(characters)
        else:
            run = [number]
            while run[-1] + 1 < len(written) and isinstance(written[run[-1] + 1], bytes):
                run.append(run[-1] + 1)
            parts = [x for i in run if isinstance(x := written[i], bytes)]
            owner = [i for i, x in zip(run, parts, strict=True) for _ in x]
            raw = b"".join(parts)
            place = 0
            for char in raw.decode(errors="surrogateescape"):
                size = len(char.encode(errors="surrogateescape"))
                characters = _folded(char)
                owners = tuple(dict.fromkeys(owner[place : place + size]))
                yield characters, [owners] * len(characters)
                place += size
            number = run[-1]
        number += 1


def _found(marks: Sequence[tuple[str, int]], at: int, characters: str, reach: int) -> int | None:
    """Where these characters come next, spaces aside; not further on than `reach`."""
    if not characters.strip():
        return at
    for start in range(at, min(len(marks), at + reach)):
        place = start
        for c in characters:
            if c == " ":
                place += place < len(marks) and marks[place][0] == " "
                continue
            while place < len(marks) and marks[place][0] == " ":
                place += 1
            if place >= len(marks) or marks[place][0] != c:
                break
            place += 1
        else:
            return start
    return None
