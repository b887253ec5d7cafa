"""Positions that are no whole numbers: counted by what keys hold, or relative to the row's past.

What such a position adds lies on the straight line between those of its two neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        q: (h n d) queries, the scale in them. k: (g m d). table: (h L d) embeddings of the counts
            0 … L − 1, the last of all higher ones. frame: what rows may see; hidden keys and
            those of its mask count nothing.
    """

    q: Float[Tensor, "h n d"]
    k: Float[Tensor, "g m d"]
    table: Float[Tensor, "h L d"]
    frame: Frame

    def heads(self, part: slice) -> Counted:
        start, stop, _ = part.indices(len(self.q))
        per = len(self.q) // len(self.k)
        groups = slice(start // per, (stop - 1) // per + 1)
        return Counted(self.q[part], self.k[groups], self.table[part], self.frame)

    def last(self, rows: Int[Tensor, " r"]) -> int:
        """The key after the last that one of these rows counts."""
        return min(self.k.shape[1], int(rows.max()) + self.frame.offset + 1)

    def counts(self, rows: Int[Tensor, " r"], least: int = 0) -> Float[Tensor, "h r w"]:
        """How far each query counts to the keys up to the last that a row sees, at most L − 1.

        Counting goes back from the rows to the key `least`, or as far as one of them has not
        reached the most: to all keys before those it has.
        """
        at, most = rows + self.frame.offset, self.table.shape[1] - 1
        high = self.last(rows)
        q = self.q[:, rows].unflatten(0, (len(self.k), -1)).flatten(1, 2)
        total = q.new_zeros(len(self.q), len(rows), 1)
        found = []
        while high > least and bool((total < most).any()):
            low = max(least, high - BACK)
            passed = torch.arange(low, high, device=at.device)
            gates = torch.sigmoid(q @ self.k[:, low:high].mT).view(len(self.q), len(rows), -1)
            seen = passed <= at[:, None]
            if (visible := self.frame.visible(rows, passed)) is not None:
                seen = seen & visible
            count = gates.mul_(seen).flip(-1).cumsum(-1).flip(-1).add_(total)
            total, high = count[..., :1], low
            found.insert(0, count)
        return torch.cat(found, -1).clamp_max_(most) if found else total[..., :0]

    def over(self, rows: Int[Tensor, " r"], least: int = 0) -> Counting:
        """The bias of some rows, at keys from `least` on."""
        at = rows + self.frame.offset
        products, counts = self.q[:, rows] @ self.table.mT, self.counts(rows, least)
        stop = self.last(rows)
        start = stop - counts.shape[-1]
        after = torch.arange(start, stop, device=at.device) > at[:, None]
        return Counting(
            start, between(products, counts).masked_fill_(after, 0), products[..., -1:]
        )

    def place(self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]) -> Float[Tensor, "h r c"]:
        """How far each query counts to each key, at most L − 1; −1 for keys after the query."""
        counts = self.counts(rows, int(cols.min()))
        most = counts.new_full((*counts.shape[:2], 1), self.table.shape[1] - 1)
        found = Counting(self.last(rows) - counts.shape[-1], counts, most)(cols)
        return found.masked_fill(cols > (rows + self.frame.offset)[:, None], -1)

    def __call__(self, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"]:
        return self.over(rows, int(cols.min()))(cols)


@dataclass(frozen=True, eq=False)
class Counting:
    """Numbers of some rows by their keys: one each for keys from `start` on, 0 after the last of
    these, and one for all keys before."""

    start: int
    near: Float[Tensor, "h r w"]
    far: Float[Tensor, "h r 1"]

    def __call__(self, cols: Int[Tensor, " c"]) -> Float[Tensor, "h r c"]:
        at = cols - self.start
        if int(at.max()) < 0:
            return self.far.expand(*self.near.shape[:2], len(cols))
        if int(at.min()) >= 0 and int(at.max()) < self.near.shape[-1]:
            return self.near[..., at]
        out = torch.where(at < 0, self.far, 0).expand(*self.near.shape[:2], len(cols)).clone()
        inside = (at >= 0) & (at < self.near.shape[-1])
        out[..., inside] = self.near[..., at[inside]]
        return out
