"""Positions that are no whole numbers: counted by what keys hold, or relative to the row's past.

What such a position adds lies on the straight line between those of its two neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import Frame

BACK = 512
"""Keys that CoPE's count goes back by."""
POINTS = 32
"""Values that FIRE's function of a distance is given by; its paper's network has 32 units."""


def between(
    values: Float[Tensor, "h r L"], place: Float[Tensor, "h r c"]
) -> Float[Tensor, "h r c"]:
    """Values at places 0 … L − 1 and on the lines between; 0 where the place is below 0."""
    low = place.clamp_min(0).long()
    more = F.pad(values, (0, 1))
    first, second = more.gather(-1, low), more.gather(-1, low + 1)
    return torch.lerp(first, second, (place - low).to(values)).masked_fill_(place < 0, 0)


@dataclass(frozen=True)
class Fire:
    """Distances as FIRE has them (arXiv 2310.04418): ln(c·distance + 1) over that of the row's
    furthest key, or of `length` where the row has fewer behind it.

    Attributes:
        curve: c, above 0: how much more the nearest distances differ than further ones.
    """

    curve: float = 0.1
    length: int = 1024

    def place(
        self,
        at: Int[Tensor, " r"],
        cols: Int[Tensor, " c"],
        last: int | None,
        dtype: torch.dtype = torch.float64,
    ) -> Float[Tensor, "r c"]:
        """Places of pairs among POINTS. `last`: the key that rows look ahead to, None causally."""
        longest = at if last is None else torch.maximum(at, last - at)
        whole = (self.curve * longest.clamp_min(self.length).double()).log1p()
        far = (at[:, None] - cols).abs()
        known = torch.arange(int(far.max()) + 1, device=far.device)
        logs = (self.curve * known.double()).log1p().to(dtype)  # fewer than there are pairs
        return logs[far].div_(whole.to(dtype)[:, None]).clamp_max_(1).mul_(POINTS - 1)


@dataclass(frozen=True, eq=False)
class Stretched:
    """FIRE's bias: a function of where a distance lies in its row's past.

    Attributes:
        values: (h POINTS) of the function, evenly from place 0 to the last.
        fire: how distances are placed. offset: position of query 0. last: as for `Fire.place`.
    """

    values: Float[Tensor, "h L"]
    fire: Fire
    offset: int
    last: int | None

    def heads(self, part: slice) -> Stretched:
        return Stretched(self.values[part], self.fire, self.offset, self.last)

    def __call__(self, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"]:
        place = self.fire.place(rows + self.offset, cols, self.last, self.values.dtype)
        low = place.long().clamp_max_(POINTS - 2)
        return torch.lerp(self.values[:, low], self.values[:, low + 1], place - low.to(place))


@dataclass(frozen=True, eq=False)
class Counted:
    """CoPE's bias (arXiv 2405.18719): a query's product with the embedding of how many keys it
    counts from itself back to a key, each as σ of its scaled score; none for keys after it.

    Attributes:
        whole: rows are best asked for with all their keys, which are counted each time.
        q: (h n d) queries, the scale in them. k: (g m d). table: (h L d) embeddings of the counts
            0 … L − 1, the last of all higher ones. frame: what rows may see; hidden keys and
            those of its mask count nothing.
    """

    whole: ClassVar[bool] = True

    q: Float[Tensor, "h n d"]
    k: Float[Tensor, "g m d"]
    table: Float[Tensor, "h L d"]
    frame: Frame

    def heads(self, part: slice) -> Counted:
        start, stop, _ = part.indices(len(self.q))
        per = len(self.q) // len(self.k)
        groups = slice(start // per, (stop - 1) // per + 1)
        return Counted(self.q[part], self.k[groups], self.table[part], self.frame)

    def place(self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]) -> Float[Tensor, "h r c"]:
        """How far each query counts to each key, at most L − 1; −1 for keys after the query.

        Counting goes back from the rows as far as one of them has not reached the most.
        """
        at, m, most = rows + self.frame.offset, self.k.shape[1], self.table.shape[1] - 1
        first, high = int(cols.min()), min(m, int(at.max()) + 1)
        q = self.q[:, rows].unflatten(0, (len(self.k), -1)).flatten(1, 2)
        found = q.new_full((len(self.q), len(rows), len(cols)), most)
        total = q.new_zeros(len(self.q), len(rows), 1)
        while high > first and bool((total < most).any()):
            low = max(first, high - BACK)
            passed = torch.arange(low, high, device=at.device)
            gates = torch.sigmoid(q @ self.k[:, low:high].mT).view(len(self.q), len(rows), -1)
            seen = passed <= at[:, None]
            if (visible := self.frame.visible(rows, passed)) is not None:
                seen = seen & visible
            count = gates.mul_(seen).flip(-1).cumsum(-1).flip(-1).add_(total)
            inside = ((cols >= low) & (cols < high)).nonzero()[:, 0]
            found[..., inside] = count[..., cols[inside] - low].clamp_max_(most)
            total, high = count[..., :1], low
        return found.masked_fill_(cols > at[:, None], -1)

    def __call__(self, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"]:
        products, place = self.q[:, rows] @ self.table.mT, self.place(rows, cols)
        near = (place < self.table.shape[1] - 1).flatten(0, 1).any(0).nonzero()[:, 0]
        out = products[..., -1:].repeat(1, 1, len(cols))  # what every further key gets
        out[..., near] = between(products, place[..., near])
        return out
