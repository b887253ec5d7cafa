"""Tiles of keys for `engine.kernels.online`: laid out so that pooling runs along memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from math import log

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from engine.kernels.patterns import Everything, Span
from engine.kernels.rows import Rows
from engine.kernels.scoring import Features
from engine.measure.cells import Cells
from engine.measure.metrics import TOP

COLS = 1024
"""Keys of a tile, at most."""
NOTHING = -(2.0**1000)
"""Stands for −inf where that would make NaN."""
SHORT = 2048
"""Up to so many keys, many heads go together, and tiles are small: fewer pairs are hidden."""
ACROSS = 32
"""Cells that a tile must hold to be pooled across memory rather than along it."""


@dataclass(frozen=True)
class Tile:
    """Keys start … stop in cells of `width`; laid out (width, cells) if `permuted`."""

    start: int
    stop: int
    width: int
    permuted: bool

    @property
    def cells(self) -> int:
        return -(-(self.stop - self.start) // self.width)

    def pool(
        self, x: Float[Tensor, "b R c"], how: str, out: Float[Tensor, "b R w"]
    ) -> Float[Tensor, "b R w"]:
        """The tile's keys pooled into its cells, written to `out`."""
        if self.width == 1:
            return out.copy_(x)
        if self.permuted:
            x, dim = x.unflatten(-1, (self.width, self.cells)), -2  # (b R width w)
        else:
            x, dim = x.unflatten(-1, (self.cells, self.width)), -1  # (b R w width)
        return torch.sum(x, dim, out=out) if how == "sum" else torch.amax(x, dim, out=out)

    def place(self, key: Int[Tensor, "*k"]) -> Int[Tensor, "*k"]:
        """Where in the tile's layout a key stands."""
        at = key - self.start
        return at % self.width * self.cells + at // self.width if self.permuted else at


class Shared:
    """What pieces of one pass use again: each thread's buffers, and masks along the diagonal."""

    def __init__(self) -> None:
        self.buffers = threading.local()
        self.made: dict[tuple[object, ...], Tensor] = {}

    def once(self, name: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
        """A tensor that is made once by this name."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]


class Keys:
    """Keys and values of some heads, tiled and laid out for pooling.

    Where every key is seen as it is, more keys fill the last cell: they are zeros, and hidden.

    Attributes:
        k: features of keys, (b f m). v: values, (b m e), if wanted. key: the position of each key
            in the tiles' layout, (m). longest: the largest length of a key's features.
    """

    def __init__(
        self,
        att: Rows,
        heads: slice,
        cells: Cells,
        want_values: bool,
        shared: Shared,
    ) -> None:
        self.att, self.heads = att, heads
        qkv, per = att.qkv, att.qkv.heads // att.qkv.groups
        groups = slice(heads.start // per, (heads.stop - 1) // per + 1)
        target = tile(att)
        frame = att.frame
        hides = frame.key_mask is not None or frame.mask is not None
        self.clear = not hides and isinstance(att.pattern, Everything)
        fill = -frame.m % cells.width if self.clear and att.plain and cells.width <= target else 0
        self.tiles: list[Tile] = []
        for a, b in Cells(0, frame.m + fill, cells.size).pieces(target):
            width = cells.width if cells.width <= target else b - a
            even = (b - a) // width * width
            permuted = width > 1 and (b - a) // width >= ACROSS
            if even:
                self.tiles.append(Tile(a, a + even, width, permuted))
            if a + even < b:
                self.tiles.append(Tile(a + even, b, b - a - even, False))
        self.key = torch.arange(frame.m + fill, device=att.device)
        if any(t.permuted for t in self.tiles):
            self.key = torch.cat([self._layout(t) for t in self.tiles])
        k, v = qkv.k[groups], qkv.v[groups]
        if fill:
            k, v = F.pad(k, (0, 0, 0, fill)), F.pad(v, (0, 0, 0, fill)) if want_values else v
        if any(t.permuted for t in self.tiles):
            k = k.index_select(1, self.key)  # many times faster than k[:, key]
            v = v.index_select(1, self.key) if want_values else v
        assert isinstance(att.scoring, Features)
        self.k = att.scoring.keys(qkv, k.to(att.dtype)).mT
        self.longest = float(self.k.square().sum(1).max().sqrt())
        self.place = self.key.to(att.dtype)
        self.v = v.to(att.dtype) if want_values else None
        self.shared = shared

    def _layout(self, t: Tile) -> Tensor:
        keys = self.key[t.start : t.stop]
        return keys.view(t.cells, t.width).T.flatten() if t.permuted else keys

    def hide(self, scores: Float[Tensor, "b h r c"], rows: Int[Tensor, " r"], t: Tile) -> bool:
        """Set the scores of pairs that carry no weight to −inf; whether there may be some."""
        causal, low = self.att.frame.causal, int(rows[0]) + self.att.frame.offset
        if not self.clear:
            allowed = self.att.allowed(rows, self.key[t.start : t.stop])
            if allowed is not None:
                scores.masked_fill_(~allowed, -torch.inf)
            return allowed is not None
        last = self.att.frame.m - 1
        if t.stop <= (min(low, last) if causal else last) + 1:
            return False

        def limit() -> Tensor:
            """Largest score by pair; several times faster than filling by a mask."""
            position = (rows + self.att.frame.offset).clamp_max(last) if causal else last
            hidden = self.key[t.start : t.stop] > torch.as_tensor(position)[..., None]
            return (
                torch.where(hidden, -torch.inf, torch.inf).to(scores.dtype).expand_as(scores[0, 0])
            )

        torch.minimum(scores, self.once("limit", rows, t, limit), out=scores)
        return True

    def once(
        self, what: str, rows: Int[Tensor, " r"], t: Tile, make: Callable[[], Tensor]
    ) -> Tensor:
        """A tensor (r c) that depends only on how far the rows lie from the tile.

        Along the diagonal of consecutive rows the same few come again and again.
        """
        if int(rows[-1]) - int(rows[0]) != len(rows) - 1:
            return make()
        ahead = int(rows[0]) + self.att.frame.offset - t.start
        name = (what, ahead, len(rows), t.stop - t.start, t.width, t.permuted)
        return self.shared.once(name, make)

    def over(self, spans: list[Span]) -> list[Tile]:
        """The tiles that touch these spans."""
        return [t for t in self.tiles if any(t.start < b and a < t.stop for a, b in spans)]

    def buffer(self, name: str, count: int) -> Tensor:
        """Memory of this thread's own, kept from piece to piece."""
        found = getattr(self.shared.buffers, name, None)
        if found is None or found.numel() < count:
            found = torch.empty(count, dtype=self.att.dtype, device=self.att.device)
            setattr(self.shared.buffers, name, found)
        return found[:count]


def tile(att: Rows) -> int:
    """Keys of a tile: fewer where later ones are hidden, as then whole tiles are."""
    m, cpu = att.frame.m, att.device.type == "cpu"
    keys = COLS // 2 if cpu and m <= SHORT else COLS
    if att.frame.causal and m <= 8192:
        keys //= 2
    return keys if cpu else 8 * keys


class Lookup:
    """Single scores out of those that a piece kept, relative to each row's reference.

    Args:
        kept: scores of all tiles, one after the other, each (b R c). shape: b and R.
        behind: (b R tiles), how far each tile's running maximum lay below the row's; None if all
            scores are relative to 0.
        shared: what pieces of the pass use again.
    """

    def __init__(
        self,
        kept: Tensor,
        tiles: list[Tile],
        behind: Tensor | None,
        shape: tuple[int, int],
        shared: Shared,
    ) -> None:
        device = kept.device
        self.kept, self.tiles, self.behind, self.shared = kept, tiles, behind, shared
        b, count = shape
        widths = [t.stop - t.start for t in tiles]
        self.base = torch.tensor(list(accumulate([0, *widths[:-1]])), device=device) * (b * count)
        self.width = torch.tensor(widths, device=device)
        self.row = torch.arange(b * count, device=device).view(b, count, 1)
        self.floor = floor_of(kept.dtype) + 0.5

    def read(
        self, place: Int[Tensor, "b R k *w"], tile: Int[Tensor, "b R k"]
    ) -> Float[Tensor, "b R k *w"]:
        """Scores at places of `kept`, which lie in these tiles."""
        found = self.kept.index_select(0, place.flatten()).view(place.shape)
        if self.behind is not None:
            ahead = self.behind.gather(-1, tile)
            found += ahead if ahead.ndim == found.ndim else ahead[..., None]
        return found

    def exp(self, score: Tensor) -> Tensor:
        """e of scores that were read, in place; 0 where masked."""
        hidden = score <= self.floor
        return score.exp_().masked_fill_(hidden, 0)

    def keys(self, key: Int[Tensor, "b R k"]) -> Float[Tensor, "b R k"]:
        """e of keys; 0 where a key is not in any tile."""
        out = torch.zeros(key.shape, dtype=self.kept.dtype, device=key.device)
        for i, t in enumerate(self.tiles):
            inside = (key >= t.start) & (key < t.stop)
            if bool(inside.any()):
                place = t.place(torch.where(inside, key, t.start))
                place = self.base[i] + self.row * self.width[i] + place
                found = self.exp(self.read(place, torch.full_like(key, i)))
                out = torch.where(inside, found, out)
        return out

    def largest(
        self, peaks: Float[Tensor, "b R w"]
    ) -> tuple[Float[Tensor, "b R k"], Int[Tensor, "b R"]]:
        """The largest e of each row, falling, and the key of the first.

        They lie in the cells with the largest maxima.
        """
        tile, width, step, first, begin, held = self.shared.once(
            ("cells", *self.tiles, self.row.numel()), self._cells
        )
        cell = largest_at(peaks, min(TOP, len(tile)))

        def of(table: Tensor) -> Tensor:
            return table.index_select(0, cell.flatten()).view_as(cell)

        start = of(first) + self.row * of(held)
        widest = max(t.width for t in self.tiles)
        inside = torch.arange(widest, device=self.kept.device)
        at = start[..., None] + inside * of(step)[..., None]
        outside = None
        if any(t.width != widest for t in self.tiles):
            outside = inside >= of(width)[..., None]
            at = at.masked_fill_(outside, 0)
        found = self.read(at, of(tile))
        if outside is not None:
            found = found.masked_fill_(outside, -torch.inf)
        best, which = largest(found.flatten(-2), min(TOP, found.shape[-1] * found.shape[-2]))
        argmax = begin[cell.gather(-1, which // widest)] + which % widest
        return self.exp(best), argmax[..., 0]

    def _cells(self) -> Int[Tensor, "6 cells"]:
        """Of each cell: its tile; its keys, how far apart in `kept` they stand, where the first of
        the first row does, and its position; keys of its tile."""
        tables = []
        for i, t in enumerate(self.tiles):
            c = torch.arange(t.cells, device=self.kept.device)
            first = self.base[i] + (c if t.permuted else c * t.width)
            same = (i, t.width, t.cells if t.permuted else 1)
            tables.append(torch.stack([
                *(torch.full_like(c, x) for x in same), first, t.start + c * t.width,
                torch.full_like(c, t.stop - t.start),
            ]))  # fmt: skip
        return torch.cat(tables, 1)


def largest(
    x: Float[Tensor, "*rows c"], k: int
) -> tuple[Float[Tensor, "*rows k"], Int[Tensor, "*rows 1"]]:
    """The k largest, falling, and where the first stands. numpy sorts short rows many at once."""
    if x.device.type != "cpu":
        found = x.topk(k)
        return found.values, found.indices[..., :1]
    rising, first = np.sort(x.numpy(), axis=-1), np.argmax(x.numpy(), -1, keepdims=True)
    return torch.from_numpy(rising)[..., -k:].flip(-1), torch.from_numpy(first)


def largest_at(x: Float[Tensor, "*rows c"], k: int) -> Int[Tensor, "*rows k"]:
    """Where the k largest stand, in no order."""
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return x.topk(k, sorted=False).indices
    # a place fits into those bits by which float64 is finer, and parts go with their places
    key = x.double().clamp_min_(NOTHING).view(torch.int64)
    key |= torch.arange(x.shape[-1])
    found = np.partition(key.view(torch.float64).numpy(), -k, axis=-1)[..., -k:]
    return torch.from_numpy(found).view(torch.int64) & 2**29 - 1


def floor_of(dtype: torch.dtype) -> float:
    """Least exponent whose exponential is a normal number; exp is many times slower below."""
    return log(torch.finfo(dtype).tiny) + 1
