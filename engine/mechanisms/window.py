"""Local attention with sinks (Longformer, arXiv 2004.05150; StreamingLLM, arXiv 2309.17453)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.contract import QKV, param
from engine.kernels import dense, patterns
from engine.kernels.composed import Composed
from engine.kernels.sdpa import fits_sdpa, sdpa_blocks
from engine.mechanisms.base import Mechanism, nearby_pairs


@dataclass(frozen=True)
class Window(Mechanism):
    """Softmax over |i − j| < window (the query counts) and the first `sinks` keys.

    A window or a number of sinks beyond the text takes in all of it. On an image the window is a
    square: fewer than `window` rows and columns away.
    """

    key: ClassVar[str] = "window"
    family: ClassVar[str] = "segments"
    paper: ClassVar[str] = "arXiv 2004.05150, 2309.17453"
    complexity: ClassVar[str] = "n·(window + sinks)"
    leaves_out: ClassVar[bool] = True
    grows: ClassVar[str] = "window"
    sizes: ClassVar[tuple[str, ...]] = ("window",)
    beside_full: ClassVar[int] = 1

    window: int = param(64, low=1, slider=(1, 512), unit="tokens", log=True)
    sinks: int = param(4, low=0, slider=(0, 64), unit="tokens")

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        att = Composed(
            qkv,
            patterns.near(qkv.frame, self.window, self.sinks),
            output=(lambda: sdpa_blocks(att, min(256, max(64, self.window // 4))))
            if fits_sdpa(qkv)
            else None,
        )
        return att

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        return dense.softmax(qkv, pattern=self.reach(qkv))

    def reach(self, qkv: QKV) -> Bool[Tensor, "n m"]:
        """The pattern in the open."""
        cols = torch.arange(qkv.m, device=qkv.device)
        return (dense.steps(qkv).amax(0) < self.window) | (cols < self.sinks)

    @property
    def selects(self) -> bool:
        return True

    def suited(self, n: int) -> Window:
        """Also with one sink for every 512 tokens, at least the first."""
        made = super().suited(n)
        return replace(made, sinks=min(self.sinks, max(1, n // 512)))

    def suited_to(self, qkv: QKV) -> Window:
        """On an image a window is a square: it suits the image's side."""
        grid = qkv.grid
        return self.suited(qkv.m if grid is None else max(grid.rows, grid.cols))

    def shown(self, qkv: QKV) -> int:
        return nearby_pairs(qkv, self.pairs(qkv))

    def pairs(self, qkv: QKV) -> int:
        if qkv.grid is not None:
            return int(self.reach(qkv).sum())
        at = torch.arange(qkv.n) + qkv.frame.offset
        stop = (at + (1 if qkv.causal else self.window)).clamp(0, qkv.m)
        start = (at - self.window + 1).clamp_min(0).minimum(stop)
        seen = stop - start + start.clamp_max(self.sinks)
        if not qkv.causal:  # sinks may lie ahead, too
            seen += (min(self.sinks, qkv.m) - stop).clamp_min(0)
        return int(seen.sum())
