"""Which keys a row may see: the first of a mechanism's three choices.

Positions are on the keys' axis. A pattern only narrows; causality and masks are the QKV's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Bool, Int
from torch import Tensor

Span = tuple[int, int]


@runtime_checkable
class Pattern(Protocol):
    """Keys by spans, and exactly by pairs.

    Attributes:
        per_head: `allows` is of all heads, (h r c), since each head has a pattern of its own.
    """

    per_head: ClassVar[bool] = False

    def head(self, h: int) -> Pattern:
        """The pattern of one head, as `allows` of a single head's QKV wants it."""
        return self

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        """Disjoint, rising spans that hold every key that rows low … high (inclusive) may see."""
        ...

    def allows(
        self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]
    ) -> Bool[Tensor, "r c"] | Bool[Tensor, "h r c"] | None:
        """Which pairs belong to the pattern; None where all do."""
        ...

    def span(self, height: int) -> int:
        """About how many keys `height` consecutive rows may see; 0 for all. Sizes the tiles."""
        ...


@dataclass(frozen=True)
class Everything(Pattern):
    """Every key."""

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        return [(0, m)]

    def allows(self, rows: Tensor, cols: Tensor) -> None:
        return None

    def span(self, height: int) -> int:
        return 0


@dataclass(frozen=True)
class Window(Pattern):
    """|i − j| < window, and the first `sinks` keys (arXiv 2004.05150, 2309.17453)."""

    window: int
    sinks: int = 0

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        start, stop = max(0, low - self.window + 1), min(m, high + self.window)
        if self.sinks >= start:
            return [(0, min(m, max(stop, self.sinks)))]
        return [(0, self.sinks), (start, stop)] if self.sinks else [(start, stop)]

    def allows(self, rows: Tensor, cols: Tensor) -> Tensor:
        near = (rows[:, None] - cols).abs() < self.window
        return near | (cols < self.sinks) if self.sinks else near

    def span(self, height: int) -> int:
        return height + 2 * self.window + self.sinks


@dataclass(frozen=True)
class Segments(Pattern):
    """Keys of the row's own segment (blockwise attention, arXiv 1911.02972)."""

    segment: int

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        s = self.segment
        return [(min(m, low // s * s), min(m, (high // s + 1) * s))]

    def allows(self, rows: Tensor, cols: Tensor) -> Tensor:
        return (rows // self.segment)[:, None] == cols // self.segment

    def span(self, height: int) -> int:
        return height + self.segment
