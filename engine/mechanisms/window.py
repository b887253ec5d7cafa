"""Local attention with sinks, holes, global and random keys (Longformer, arXiv 2004.05150;
StreamingLLM, arXiv 2309.17453; BigBird, arXiv 2007.14062)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.contract import QKV, Refusal, param
from engine.kernels import dense, patterns
from engine.kernels.composed import Composed
from engine.kernels.sdpa import fits_sdpa, sdpa_blocks
from engine.kernels.sparse import Sparse, drawn
from engine.mechanisms.base import Mechanism, nearby_pairs


@dataclass(frozen=True)
class Window(Mechanism):
    """Softmax over |i − j| < window (the query counts) and the first `sinks` keys.

    A window or a number of sinks beyond the text takes in all of it. With a `dilation` of d only
    every d-th key of a window d times as wide is seen. `whole` makes the sinks Longformer's global
    tokens: they also see all. `random` more keys of each query, drawn from those that it may see,
    make it BigBird's pattern, whose blocks are single tokens here. On an image the window is a
    square, fewer than `window` rows and columns away, and has no dilation.
    """

    key: ClassVar[str] = "window"
    family: ClassVar[str] = "segments"
    paper: ClassVar[str] = "arXiv 2004.05150, 2309.17453, 2007.14062"
    complexity: ClassVar[str] = "n·(window + sinks + random)"
    leaves_out: ClassVar[bool] = True
    grows: ClassVar[str] = "window"
    sizes: ClassVar[tuple[str, ...]] = ("window",)
    beside_full: ClassVar[int] = 1

    window: int = param(64, low=1, slider=(1, 512), unit="tokens", log=True)
    sinks: int = param(4, low=0, slider=(0, 64), unit="tokens")
    dilation: int = param(1, low=1, slider=(1, 16), later=True)
    whole: bool = param(False, later=True)
    random: int = param(0, low=0, high=4096, slider=(0, 32), unit="keys", later=True)
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100), later=True)

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        if self.dilation > 1 and qkv.grid is not None:
            raise Refusal("on an image a window has no dilation: set it to 1")

    def pattern(self, qkv: QKV, sinks: int) -> patterns.SlidingWindow | patterns.Square | Sparse:
        """Which keys rows see, with so many sinks."""
        if self.plain:
            return patterns.near(qkv.frame, self.window, sinks)
        return Sparse(
            patterns.near(qkv.frame, self.window * self.dilation), self.dilation, sinks,
            self.whole, drawn(qkv, self.random, self.seed), qkv.frame.offset,
        )  # fmt: skip

    @property
    def plain(self) -> bool:
        """Whether it is a window and sinks, and nothing else."""
        return self.dilation == 1 and not self.whole and not self.random

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        height = min(256, max(64, self.window * self.dilation // 4))
        return Composed(
            qkv,
            self.pattern(qkv, self.sinks),
            output=(lambda att: sdpa_blocks(att, height)) if fits_sdpa(qkv) else None,
        )

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        return dense.softmax(qkv, pattern=self.reach(qkv))

    def reach(self, qkv: QKV) -> Bool[Tensor, "n m"]:
        """The pattern in the open."""
        at, cols = dense.positions(qkv)
        steps = dense.steps(qkv).amax(0)
        seen = (steps < self.window * self.dilation) & (steps % self.dilation == 0)
        seen = seen | (cols < self.sinks)
        if self.whole:
            seen = seen | (at < self.sinks)
        for keys in drawn(qkv, self.random, self.seed).T:
            seen = seen | (cols == keys[:, None])
        return seen

    @property
    def selects(self) -> bool:
        return True

    @property
    def idle(self) -> tuple[str, ...]:
        return () if self.random else ("seed",)

    def idle_on(self, causal: bool) -> tuple[str, ...]:
        """Causally a sink sees all that it may: the sinks before it, and itself."""
        return (*self.idle, "whole") if causal else self.idle

    @property
    def formulas(self) -> tuple[str, ...]:
        more = (("dilation", self.dilation > 1), ("whole", self.whole), ("random", self.random))
        return ("", *(name for name, there in more if there))

    def suited(self, n: int) -> Window:
        """Also with one sink for every 512 tokens, at least the first."""
        made = super().suited(n)
        return replace(made, sinks=min(self.sinks, max(1, n // 512)))

    def suited_to(self, qkv: QKV) -> Window:
        """On an image a window is a square: it suits the image's side."""
        grid = qkv.grid
        return self.suited(qkv.m if grid is None else max(grid.rows, grid.cols))

    def held(self, qkv: QKV) -> int:
        """Random keys."""
        return 3 * 8 * qkv.n * self.random

    def shown(self, qkv: QKV) -> int:
        return nearby_pairs(qkv, self.pairs(qkv))

    def pairs(self, qkv: QKV) -> int:
        """With dilation, global or random keys at most: some of these may be the same."""
        at = torch.arange(qkv.n) + qkv.frame.offset
        if not self.plain and qkv.grid is None:
            back = (at // self.dilation + 1).clamp(0, self.window)
            ahead = ((qkv.m - 1 - at).clamp_min(0) // self.dilation).clamp_max(self.window - 1)
            seen = back if qkv.causal else back + ahead
            visible = (at + 1).clamp(0, qkv.m) if qkv.causal else torch.full_like(at, qkv.m)
            seen = (seen + self.sinks + self.random).minimum(visible)
            if self.whole:
                seen = torch.where(at < self.sinks, visible, seen)
            return int(seen.sum())
        if qkv.grid is not None:
            return int(self.reach(qkv).sum())
        stop = (at + (1 if qkv.causal else self.window)).clamp(0, qkv.m)
        start = (at - self.window + 1).clamp_min(0).minimum(stop)
        seen = stop - start + start.clamp_max(self.sinks)
        if not qkv.causal:  # sinks may lie ahead, too
            seen += (min(self.sinks, qkv.m) - stop).clamp_min(0)
        return int(seen.sum())
