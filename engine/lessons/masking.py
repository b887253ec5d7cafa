"""Masked softmax: what is hidden, what is renormalised, and a row with nothing to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.contract import QKV, Refusal
from engine.mechanisms import attend

SIDE = 8
"""Rows and keys of the grid."""
SENTENCES = 4
"""In the padded batch; each asks SIDE / SENTENCES queries, so that the batch fills the grid."""
WIDTH = 16
FILL = -1e6
"""What a masked score is often set to instead of being left out."""


@dataclass(frozen=True, eq=False)
class Masked:
    """Weights of SIDE rows over SIDE keys, without and with their mask.

    Attributes:
        logits, before, after: scores, their softmax, and the engine's weights under the mask.
        mask: True = may look. empty: rows that the engine flags as seeing nothing.
    """

    logits: Float[Tensor, "r c"]
    mask: Bool[Tensor, "r c"]
    before: Float[Tensor, "r c"]
    after: Float[Tensor, "r c"]
    empty: Bool[Tensor, " r"]

    def kept(self, row: int) -> float:
        """What the visible keys of a row weighed before; the row is divided by it."""
        return float(self.before[row][self.mask[row]].sum())

    def ways(self, row: int) -> dict[str, Float[Tensor, " c"]]:
        """One row, three ways: the engine's, hidden scores filled with −10⁶, and with −∞.

        Where something may be seen the three agree. Where nothing may, −10⁶ makes all scores the
        same number, and so the weights uniform; −∞ is 0/0.
        """
        hidden = ~self.mask[row]
        fill = {"filled": FILL, "infinite": -torch.inf}
        filled = {
            name: self.logits[row].masked_fill(hidden, x).softmax(-1) for name, x in fill.items()
        }
        return {"engine": self.after[row], **filled}


def square(seed: int = 0, **seen: object) -> QKV:
    """SIDE queries over SIDE keys, drawn; `seen` as in QKV (mask, causal)."""
    q, k, v = torch.randn(3, 1, SIDE, WIDTH, generator=torch.Generator().manual_seed(seed))
    return QKV(q, k, v).replace(**seen)


def padded(lengths: Sequence[int], seed: int = 0) -> list[QKV]:
    """A batch of sentences with SIDE keys each, those from its length on being padding.

    Raises:
        ValueError: not a length of 0 … SIDE for each sentence.
    """
    if len(lengths) != SENTENCES or not all(0 <= n <= SIDE for n in lengths):
        raise Refusal(
            "{sentences} lengths of 0 … {side} are needed, not {lengths}",
            sentences=SENTENCES,
            side=SIDE,
            lengths=list(lengths),
        )
    draw = torch.Generator().manual_seed(seed)
    each = SIDE // SENTENCES
    return [
        QKV(
            torch.randn(1, each, WIDTH, generator=draw),
            torch.randn(1, SIDE, WIDTH, generator=draw),
            torch.randn(1, SIDE, WIDTH, generator=draw),
            key_mask=torch.arange(SIDE) < n,
        )
        for n in lengths
    ]


def painted(mask: Bool[Tensor, "r c"], seed: int = 0) -> QKV:
    """The square under a person's own mask."""
    return square(seed, mask=lambda rows, cols: mask[rows][:, cols])


def masked(batch: Sequence[QKV]) -> Masked:
    """What their masks do, one under the other."""
    parts = []
    for qkv in batch:
        rows, cols = torch.arange(qkv.n), torch.arange(qkv.m)
        seen = qkv.frame.visible(rows, cols)
        if seen is None:
            seen = torch.ones(qkv.n, qkv.m, dtype=torch.bool)
        free = qkv.replace(mask=None, key_mask=None, causal=False)
        att = attend(qkv, "softmax")
        logits = qkv.q[0] @ qkv.k[0].mT * qkv.factor
        before = attend(free, "softmax").weights()[0]
        parts.append((logits, seen, before, att.weights()[0], att.rows().visible[0] == 0))
    return Masked(*(torch.cat(part) for part in zip(*parts, strict=True)))


def spelt(cells: Sequence[Sequence[bool]]) -> str:
    """A mask as hexadecimal digits, two a row, the first key the highest bit."""
    return "".join(f"{int(''.join('1' if x else '0' for x in row), 2):02x}" for row in cells)


def read(text: str) -> Bool[Tensor, "r c"]:
    """The mask that `spelt` wrote.

    Raises:
        ValueError: not so many hexadecimal digits.
    """
    digits = SIDE * SIDE // 4
    if len(text) != digits or not set(text.lower()) <= set("0123456789abcdef"):
        raise Refusal(
            "a mask is {digits} hexadecimal digits, two for each of {side, plural, one {# row} "
            "other {# rows}}",
            digits=digits,
            side=SIDE,
        )
    bits = f"{int(text, 16):0{SIDE * SIDE}b}"
    return torch.tensor([bit == "1" for bit in bits]).view(SIDE, SIDE)


def code(kind: str, seed: int, lengths: Sequence[int], own: str) -> str:
    """Lines of a notebook that find the same weights."""
    if kind == "lengths":
        return (
            "import torch, engine\n"
            f"draw = torch.Generator().manual_seed({seed})\n"
            f"for length in {tuple(lengths)}:\n"
            f"    q, k, v = (torch.randn(1, n, {WIDTH}, generator=draw) for n in"
            f" ({SIDE // SENTENCES}, {SIDE}, {SIDE}))\n"
            f"    qkv = engine.QKV(q, k, v, key_mask=torch.arange({SIDE}) < length)\n"
            '    att = engine.attend(qkv, "softmax")\n'
            "    att.weights(), att.rows().visible    # seeing 0 keys: a row of zeros"
        )
    how = "causal=True"
    first = ""
    if kind == "own":
        how = "mask=lambda rows, cols: mask[rows][:, cols]"
        first = (
            f'bits = f"{{0x{own}:0{SIDE * SIDE}b}}"\n'
            f'mask = torch.tensor([bit == "1" for bit in bits]).view({SIDE}, {SIDE})\n'
        )
    return (
        "import torch, engine\n"
        f"{first}draw = torch.Generator().manual_seed({seed})\n"
        f"q, k, v = torch.randn(3, 1, {SIDE}, {WIDTH}, generator=draw)\n"
        f"qkv = engine.QKV(q, k, v, {how})\n"
        'att = engine.attend(qkv, "softmax")\n'
        "att.weights(), att.rows().visible    # seeing 0 keys: a row of zeros"
    )
