"""Segments that also read the cached keys before them (Transformer-XL, arXiv 1901.02860)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.contract import QKV, param
from engine.kernels import dense, patterns
from engine.kernels.composed import Composed
from engine.kernels.sdpa import fits_sdpa, sdpa_blocks
from engine.measure import ages
from engine.mechanisms.base import Mechanism, nearby_pairs


@dataclass(frozen=True)
class TransformerXL(Mechanism):
    """Softmax over the row's own segment and the `memory` keys before that segment.

    Segments lie on the keys' axis. Causally a row sees its own segment up to itself; otherwise all
    of it, and still nothing of later segments, which the recurrence has not reached. No positional
    term is added: the paper's relative one is a choice of its own (`relative`). With no memory it
    is `segmented`; with memory for all that came before, full causal attention.
    """

    key: ClassVar[str] = "transformer_xl"
    family: ClassVar[str] = "memory"
    paper: ClassVar[str] = "arXiv 1901.02860"
    complexity: ClassVar[str] = "n·(segment + memory)"
    leaves_out: ClassVar[bool] = True
    grows: ClassVar[str] = "memory"
    sizes: ClassVar[tuple[str, ...]] = ("segment", "memory")

    segment: int = param(64, low=1, slider=(4, 512), unit="tokens", log=True)
    memory: int = param(64, low=0, slider=(0, 512), unit="tokens")

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        height = min(512, max(64, self.segment))
        return Composed(
            qkv,
            patterns.Recurrent(self.segment, self.memory),
            output=(lambda att: sdpa_blocks(att, height)) if fits_sdpa(qkv) else None,
            views=lambda att: (ages.memory(att, self.segment, self.memory),),
        )

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        return dense.softmax(qkv, pattern=self.reach(qkv))

    def reach(self, qkv: QKV) -> Bool[Tensor, "n m"]:
        """The pattern in the open."""
        at, cols = dense.positions(qkv)
        begin = at // self.segment * self.segment
        return (begin - self.memory <= cols) & (cols < begin + self.segment)

    @property
    def formulas(self) -> tuple[str, ...]:
        return ("", "recursion") if self.memory else ("",)

    @property
    def selects(self) -> bool:
        return True

    def shown(self, qkv: QKV) -> int:
        return nearby_pairs(qkv, self.pairs(qkv))

    def pairs(self, qkv: QKV) -> int:
        position = torch.arange(qkv.n) + qkv.frame.offset
        start = position // self.segment * self.segment
        stop = position + 1 if qkv.causal else start + self.segment
        seen = stop.clamp(0, qkv.m) - (start - self.memory).clamp(0, qkv.m)
        return int(seen.clamp_min(0).sum())
