"""Attention weighed by what each key's value adds: weight times the length of the value, after the
head's own part of the output projection (Kobayashi et al. 2020, arXiv 2004.10102)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Block, Index, Refusal, index
from engine.measure.attention import Attention


def lengths(qkv: QKV) -> Float[Tensor, "h m"]:
    """‖W_O v‖ of every key in every head.

    Raises:
        ValueError: the layer's output projection isn't known.
    """
    w_o = None if qkv.layer is None else qkv.layer.w_o
    if w_o is None:
        raise Refusal(
            "the output projection of this layer isn't known, so that values can't be weighed"
        )
    each = w_o.unflatten(1, (qkv.heads, -1)).float()  # (D h e)
    v = qkv.v.float().repeat_interleave(qkv.heads // len(qkv.v), 0)
    return torch.einsum("dhe,hme->hmd", each, v).norm(dim=-1)


class ByValue(Attention):
    """Another attention, each weight times the length of its key's value.

    Every row is scaled to what it added up to, so that shares can be compared with those of the
    weights alone. There is no output.

    Args:
        att: with no weight below 0. lengths: of each head's keys, (h m).
    """

    has_output = False

    def __init__(self, att: Attention, lengths: Float[Tensor, "h m"]) -> None:
        super().__init__(att.frame)
        self.att, self.lengths = att, lengths.to(att.device)
        self.row_kind = att.row_kind

    @property
    def device(self) -> torch.device:
        return self.att.device

    def weighted(self) -> Tensor:
        raise Refusal("weights by value have no output: they are a way to look at weights")

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        for block in self.att.blocks(rows):
            cols, w = block.cols, block.weights
            if isinstance(cols, slice):
                cols = index(cols, self.frame.m, self.device)
            some = self.lengths[:, cols.clamp_min(0)] if cols.ndim == 1 else self._of(cols)
            made = w * (some[:, None] if cols.ndim == 1 else some)
            scale = w.sum(-1, True) / made.sum(-1, True).clamp_min(torch.finfo(w.dtype).tiny)
            yield Block(block.rows, block.cols, made * scale)

    def _of(self, cols: Tensor) -> Tensor:
        """Lengths of columns that differ from row to row, (h r c)."""
        flat = self.lengths.gather(1, cols.clamp_min(0).flatten(1))
        return flat.view(cols.shape)
