"""Attention whose weights are given, or derived from another's blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import Attention, Block, Frame, Index, RowKind, index
from engine.refusal import Refusal


class Stored(Attention):
    """A person's own weights.

    Args:
        w: (h n m), any real numbers; what they are (stochastic, …, signed) is read off them.
        v: (g m e), for the output. frame: causal, tokens, needles, … as in Frame.

    Raises:
        ValueError: values are not finite, or shapes disagree.
    """

    def __init__(
        self, w: Float[Tensor, "h n m"], v: Float[Tensor, "g m e"] | None = None, **frame: Any
    ) -> None:
        if w.ndim != 3 or not w.is_floating_point():
            raise Refusal("weights must be floating point, (heads, queries, keys)")
        if not bool(torch.isfinite(w).all()):
            raise Refusal("weights hold values that are not finite")
        heads, n, m = w.shape
        if v is not None and (v.ndim != 3 or v.shape[1] != m or heads % v.shape[0]):
            raise Refusal(
                "values {values} do not fit weights {weights}",
                values=tuple(v.shape),
                weights=tuple(w.shape),
            )
        super().__init__(Frame(heads=heads, n=n, m=m, **frame))
        self.w, self.v = w, v
        self.row_kind = kind_of(w)

    @property
    def device(self) -> torch.device:
        return self.w.device

    def weighted(self) -> Tensor:
        if self.v is None:
            raise Refusal("weights were given without values, so there is no output")
        w = self.w.unflatten(0, (len(self.v), -1))
        return torch.einsum("grnm,gme->grne", w, self.v.to(w)).flatten(0, 1)

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        at = index(rows, self.frame.n, self.device)
        for part in at.split(max(1, 2**22 // (self.frame.heads * self.frame.m))):
            name = part if isinstance(rows, Tensor) else slice(int(part[0]), int(part[-1]) + 1)
            yield Block(name, slice(0, self.frame.m), self.w[:, part])


class Hidden(Attention):
    """Another attention without some keys' mass, each row scaled to keep what it kept."""

    def __init__(self, att: Attention, keys: Int[Tensor, " k"]) -> None:
        super().__init__(att.frame, views=att._views)
        self.att, self.keys = att, index(keys, att.frame.m, att.device)
        self.row_kind = att.row_kind

    @property
    def device(self) -> torch.device:
        return self.att.device

    def weighted(self) -> Tensor:
        raise Refusal("hiding keys is a way to look at weights; it has no output")

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        for block in self.att.blocks(rows):
            cols = block.cols
            if isinstance(cols, slice):
                cols = index(cols, self.frame.m, self.device)
            left = block.weights.masked_fill(torch.isin(cols, self.keys), 0)
            before, after = block.weights.sum(-1, True), left.sum(-1, True)
            yield Block(block.rows, block.cols, left * torch.where(after != 0, before / after, 0))


def kind_of(w: Float[Tensor, "h n m"]) -> RowKind:
    """What rows of explicit weights are; rows of zeros see nothing and don't count."""
    if bool((w < 0).any()):
        return "signed"
    total = w.sum(-1, dtype=torch.float64)
    slack = 8 * torch.finfo(w.dtype).eps * max(8, w.shape[-1] ** 0.5)
    if bool((total > 1 + slack).any()):
        return "positive"
    return "stochastic" if bool(((total > 1 - slack) | (total == 0)).all()) else "substochastic"
