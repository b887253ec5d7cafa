"""Pooling a matrix into at most size×size cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import Frame, Refusal


@dataclass(frozen=True)
class Cells:
    """Positions start … stop in cells of equal width, the last one ragged."""

    start: int
    stop: int
    size: int

    def __post_init__(self) -> None:
        if self.size < 1 or self.stop <= self.start:
            raise Refusal("a heatmap needs at least one cell, one row and one column")

    @property
    def width(self) -> int:
        return -(-(self.stop - self.start) // self.size)

    @property
    def count(self) -> int:
        return -(-(self.stop - self.start) // self.width)

    def edges(self) -> Int[Tensor, " cells1"]:
        """Where cells begin, and where the last ends."""
        edges = self.start + torch.arange(self.count + 1) * self.width
        edges[-1] = self.stop
        return edges

    def pieces(self, target: int) -> Iterator[tuple[int, int]]:
        """Consecutive pieces of about `target` positions: whole cells, or parts of one cell."""
        whole = -(-target // self.width) * self.width
        for a in range(self.start, self.stop, whole):
            b = min(a + whole, self.stop)
            step = b - a if self.width <= target else -(-(b - a) // -(-(b - a) // target))
            for c in range(a, b, step):
                yield c, min(c + step, b)

    def reduce(self, x: Tensor, at: int, dim: int, pool: str) -> tuple[int, Tensor]:
        """x along dim (negative), starting at position `at`, pooled; with its first cell.

        `at` is a cell's beginning, or all of x lies in one cell.
        """
        first, length, width = (at - self.start) // self.width, x.shape[dim], self.width
        if width == 1:
            return first, x
        into = min(width, length)
        if ragged := -length % into:
            fill = 0 if pool == "sum" else -torch.inf
            x = F.pad(x, [0, 0] * (-dim - 1) + [0, ragged], value=fill)
        x = x.unflatten(dim, (-1, into))
        return first, x.sum(dim) if pool == "sum" else x.amax(dim)


def pairs(frame: Frame, rows: Cells, cols: Cells, device: torch.device) -> Float[Tensor, "a b"]:
    """Visible pairs in each cell."""
    high, wide = (c.edges().to(device, torch.float64) for c in (rows, cols))
    if frame.key_mask is None and frame.mask is None:
        if not frame.causal:
            return high.diff()[:, None] * wide.diff()
        # keys that row i sees of a cell rise from 0 to its width as i passes it: sum that ramp
        width, begin = wide.diff(), wide[:-1]

        def ramp(last: Tensor) -> Tensor:
            x = (last[:, None] - begin).clamp_min_(0)
            over = (x - width).clamp_min_(0)
            return (x * (x + 1) - over * (over + 1)).div_(2)

        return ramp(high[1:] + frame.offset) - ramp(high[:-1] + frame.offset)
    edges = cols.edges().to(device)
    total = torch.zeros(rows.count, cols.count, dtype=torch.float64, device=device)
    for a, b in rows.pieces(max(1, 2**18 // cols.count)):
        counts = frame.cell_counts(torch.arange(a, b, device=device), edges)
        first, part = rows.reduce(counts.double(), a, -2, "sum")
        total[first : first + len(part)] += part
    return total
