"""Rows whose keys are blocks of their own choice: their scores alone are worked out."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import Block, Index
from engine.kernels.composed import Composed
from engine.kernels.patterns import Blocks
from engine.kernels.rows import BLOCK

FEW = 4
"""Keys are gathered where a row reads at most one in so many: copies cost more than products."""


class Picked(Composed):
    """Softmax over the keys of chosen blocks; with a mask of pairs or a bias, as any other."""

    pattern: Blocks

    @property
    def few(self) -> bool:
        """Whether a row's keys are gathered."""
        picked = self.pattern.chosen.shape[-1] * self.pattern.block
        plain = self.qkv.mask is None and self.qkv.bias is None
        return plain and picked * FEW <= self.frame.m

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        if not self.few:
            yield from super().blocks(rows)
            return
        qkv, frame, device = self.qkv, self.frame, self.device
        inside = torch.arange(self.pattern.block, device=device)
        rep = torch.arange(qkv.heads, device=device) // (qkv.heads // qkv.groups)
        width = self.pattern.chosen.shape[-1] * len(inside) * qkv.k.shape[-1]
        for name, at in self.row_parts(rows, min(BLOCK, BLOCK * frame.m // width)):
            chosen = self.pattern.chosen[:, at, :, None]
            cols = (chosen * len(inside) + inside).flatten(2)  # (h r c)
            allowed = (cols >= 0) & (cols < frame.m)
            if frame.causal:
                allowed &= cols <= (at + frame.offset)[:, None]
            held = torch.where(allowed, cols, 0)
            if frame.key_mask is not None:
                allowed &= frame.key_mask.to(device)[held]
            q = qkv.q[:, at].to(self.dtype) * qkv.factor
            k = qkv.k[rep[:, None, None], held].to(self.dtype)
            everyone = slice(0, qkv.heads)
            logits = self.finish((k @ q[..., None])[..., 0], everyone, at, cols)
            visible = frame.seen(at)[0]
            weights = self.normaliser.weights(logits, allowed, self.sinks(at), visible)
            yield Block(name, torch.where(allowed, cols, -1), weights)

    def weigh(self, block: Block) -> Float[Tensor, "h r e"]:
        cols = block.cols
        if not isinstance(cols, Tensor) or cols.ndim == 1:
            return super().weigh(block)
        qkv = self.qkv
        rep = torch.arange(qkv.heads, device=self.device) // (qkv.heads // qkv.groups)
        v = qkv.v[rep[:, None, None], cols.clamp_min(0)].to(block.weights)
        return (block.weights[..., None, :] @ v)[..., 0, :]
