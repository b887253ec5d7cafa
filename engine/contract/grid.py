"""Positions that stand on a plane: the patches of an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from engine.contract.refusal import Refusal


@dataclass(frozen=True, eq=False)
class Grid:
    """Where each position stands, so that "near" means near on the image.

    Attributes:
        rows, cols: how many rows and columns of patches there are.
        place: (n 2) row and column of each position, from 0; −1 and −1 for one that stands on no
            patch, such as a class or register token: it is at distance 0 from every other.

    Raises:
        ValueError: a place lies outside, or two positions share one.
    """

    rows: int
    cols: int
    place: Int[Tensor, "n 2"]

    def __post_init__(self) -> None:
        on = self.place[(self.place != -1).any(1)]
        end = torch.tensor([self.rows, self.cols], device=on.device)
        inside = bool(((on >= 0) & (on < end)).all())
        if not inside or len(on.unique(dim=0)) < len(on):
            raise Refusal(
                "each position must have a patch of its own among {rows} × {cols}",
                rows=self.rows, cols=self.cols,
            )  # fmt: skip

    def apart(self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]) -> Int[Tensor, "r c 2"]:
        """Rows and columns between positions; 0 for one that stands on no patch."""
        place = self.place.to(rows.device)
        a, b = place[rows][:, None], place[cols]
        far = (a - b).abs()
        return far.masked_fill_((a < 0) | (b < 0), 0)

    def reach(self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]) -> Int[Tensor, "r c"]:
        """Chebyshev distance, max(|Δrow|, |Δcolumn|): what lies within one is a square."""
        return self.apart(rows, cols).amax(-1)

    def walk(self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]) -> Int[Tensor, "r c"]:
        """Manhattan distance, |Δrow| + |Δcolumn|."""
        return self.apart(rows, cols).sum(-1)


def z_order(rows: int, cols: int) -> Int[Tensor, "n 2"]:
    """Row and column of each patch along the Z-order curve: their bits taken in turn."""
    place = torch.cartesian_prod(torch.arange(rows), torch.arange(cols))
    code = torch.zeros(len(place), dtype=torch.long)
    for bit in range(max(rows, cols).bit_length()):
        row, col = ((place >> bit) & 1).unbind(1)
        code |= (col << (2 * bit)) | (row << (2 * bit + 1))
    return place[code.argsort()]


def squares(place: Int[Tensor, "n 2"]) -> dict[str, Int[Tensor, "u 2"]]:
    """Spans of the squares of 2, 4, 8 … patches a side that positions in Z-order fall into."""
    levels, side = {}, 2
    while side <= int(place.max()):
        of = place // side
        changes = (of[1:] != of[:-1]).any(1).nonzero()[:, 0] + 1
        edges = torch.cat([torch.tensor([0]), changes, torch.tensor([len(place)])])
        levels[f"{side}x{side}"] = torch.stack([edges[:-1], edges[1:]], 1)
        side *= 2
    return levels
