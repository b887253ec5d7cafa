"""Which piece of a text each token stands for, and what the token is therefore called.

`offsets` are, for each token, the half-open span of characters that it stands for, (n 2); special
tokens that stand for none have an empty span.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor

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
