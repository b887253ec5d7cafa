"""Everything that follows from an attention's blocks, without a matrix n×n."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import Block, Colour, Frame, Index, Pool, Refusal, RowKind, index
from engine.measure import metrics
from engine.measure.cells import Cells, pairs
from engine.measure.metrics import RowStats
from engine.runtime.threads import ONE, SMALL, alone, in_order

AREA = 2**22
"""Weights worked on at once."""
T = TypeVar("T")
Progress = Callable[[float], None]


@dataclass
class Summary:
    """One pass over an attention.

    Attributes:
        output: (h n e), None if not asked for or not to be had.
        rows: statistics, (h n) each.
        maps: pool -> (h a b), of at most size×size cells in this colour.
        seconds: wall time that the pass took.
    """

    output: Float[Tensor, "h n e"] | None
    rows: RowStats
    maps: dict[Pool, Float[Tensor, "h a b"]] = field(default_factory=dict)
    size: int = 512
    colour: Colour = "weight"
    seconds: float = 0.0


@dataclass(frozen=True)
class Asked:
    """What one pass is asked for.

    Attributes:
        rows: statistics of these rows alone, then without output and maps; of all if None.
        output: the weighted values too. pools: maps, of at most size×size cells, in this colour.
        progress: told the share done between pieces; whatever it raises ends the pass.
    """

    rows: Index | None = None
    output: bool = True
    size: int = 512
    pools: tuple[Pool, ...] = ()
    colour: Colour = "weight"
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.rows is not None and (self.pools or self.output):
            raise Refusal("output and maps cover all rows; only statistics can be of some")
        if unknown := set(self.pools) - {"max", "mean", "sum"}:
            raise Refusal(
                "a heatmap pools by max, mean or sum, not {unknown}",
                unknown=", ".join(sorted(unknown)),
            )

    @property
    def gathered(self) -> set[str]:
        """Maps that a pass adds up: the mean follows from the sum."""
        return set(self.pools) & {"max"} | (
            {"sum"} if {"mean", "sum"} & set(self.pools) else set()
        )

    def means(
        self, maps: Mapping[str, Tensor], frame: Frame, device: torch.device
    ) -> dict[Pool, Float[Tensor, "h a b"]]:
        """The maps asked for, the mean from the sum over visible pairs."""
        found: dict[Pool, Tensor] = {p: maps[p] for p in self.pools if p != "mean"}
        if "mean" in self.pools:
            seen = pairs(frame, Cells(0, frame.n, self.size), Cells(0, frame.m, self.size), device)
            found["mean"] = maps["sum"] / seen.clamp_min(1).to(maps["sum"])
        return found


@runtime_checkable
class Weighted(Protocol):
    """What a pass reads of an attention; see `Attention`, which says what each is."""

    frame: Frame
    row_kind: RowKind
    known: Summary | None

    @property
    def device(self) -> torch.device: ...
    def blocks(self, rows: Index | None = None) -> Iterator[Block]: ...
    def pieces(self, rows: Index | None = None) -> Iterator[Callable[[], Iterator[Block]]]: ...
    def weigh(self, block: Block) -> Tensor: ...
    def room(self) -> Tensor | None: ...
    def window(self, rows: Tensor, cols: Tensor) -> Tensor | None: ...
    def summarised(self, asked: Asked) -> Summary: ...


def summarise(att: Weighted, asked: Asked) -> Summary:
    """One pass, timed; of no rows, there is nothing to pass over."""
    frame, device = att.frame, att.device
    count = frame.n if asked.rows is None else len(index(asked.rows, frame.n))
    if not count:
        return Summary(None, metrics.none(frame.heads, device))
    began, size = time.perf_counter(), frame.heads * count * frame.m
    if SMALL < size <= ONE:
        found = alone(lambda: att.summarised(replace(asked, progress=None)), device)
        if asked.progress is not None:
            asked.progress(1.0)
    else:
        found = att.summarised(asked)
    found.size, found.colour = asked.size, asked.colour
    found.seconds = time.perf_counter() - began
    return found


@dataclass
class Part:
    """What some blocks tell: positions (r), statistics, output, and pool -> (first row of cells,
    cells); of rows that don't follow one another: (each row's cell, rows)."""

    at: Int[Tensor, " r"]
    rows: RowStats
    output: Float[Tensor, "h r e"] | None
    maps: dict[str, list[tuple[int | Tensor, Tensor]]]


def by_blocks(att: Weighted, asked: Asked) -> Summary:
    """The pass over an attention that is known by its blocks alone."""
    frame, device, rows, size = att.frame, att.device, asked.rows, asked.size
    total = frame.n if rows is None else len(index(rows, frame.n))
    want = asked.gathered
    row_cells, col_cells = Cells(0, frame.n, max(1, size)), Cells(0, frame.m, max(1, size))
    shape = frame.heads, row_cells.count, col_cells.count
    maps = {
        p: torch.full(shape, -torch.inf if p == "max" else 0.0, dtype=torch.float64, device=device)
        for p in want
    }
    # the blocks are here anyhow, and nothing finds the output faster
    out = att.room() if asked.output else None

    def measured(block: Block) -> Part:
        at = index(block.rows, frame.n, device)
        stats = metrics.of_weights(block.weights, block.cols, at, frame, att.row_kind)
        weights = block.weights
        if want and asked.colour != "weight":
            weights = weights * factor(stats, asked.colour)
        signed = att.row_kind == "signed"
        cells = {
            p: list(_cells(weights, block.cols, at, row_cells, col_cells, p, signed)) for p in want
        }
        return Part(at, stats, None if out is None else att.weigh(block), cells)

    statistics, done = metrics.Gathered(total), 0

    def take(parts: list[Part]) -> float:
        nonlocal done
        for part in parts:
            if out is not None and part.output is not None:
                out[:, part.at] = part.output.to(out)
            for pool, cells in part.maps.items():
                for place, values in cells:
                    _add(maps[pool], values, place, pool)
            # of all rows, blocks come in any order
            ours = part.at if rows is None else slice(done, done + len(part.at))
            statistics.put(ours, part.rows)
            done += len(part.at)
        return done / total

    for share in in_order(jobs(att, rows, measured), device, take, shape[0] * total * frame.m):
        if asked.progress is not None:
            asked.progress(share)
    if "max" in maps:  # a cell that no block touched holds zeros only
        maps["max"] = maps["max"].masked_fill(maps["max"] == -torch.inf, 0)
    wanted = {p: x.float() for p, x in maps.items()}
    return Summary(out, statistics.all(), asked.means(wanted, frame, device))


def jobs(
    att: Weighted, rows: Index | None, work: Callable[[Block], T]
) -> Iterator[Callable[[], list[T]]]:
    """Some work on every block, in pieces that may run side by side; in the blocks' order."""
    for piece in att.pieces(rows):
        yield lambda piece=piece: [work(block) for block in piece()]


def sample(
    att: Weighted, rows: Int[Tensor, " r"], v: Float[Tensor, "g m e"]
) -> tuple[RowStats, Float[Tensor, "h r e"]]:
    """Statistics and output of some rows only, exact for each, in their order."""

    def measured(block: Block) -> tuple[RowStats, Tensor]:
        at, w, cols = index(block.rows, att.frame.n, att.device), block.weights, block.cols
        stats = metrics.of_weights(w, cols, at, att.frame, att.row_kind)
        if not isinstance(cols, Tensor) or cols.ndim < 3:
            return stats, block.weigh(v)
        # a row over all keys is small beside the values of each row's own keys
        high = max(1, AREA // (len(w) * att.frame.m))
        outputs = []
        for part, own in zip(w.split(high, 1), cols.split(high, 1), strict=True):
            whole = w.new_zeros(*part.shape[:2], att.frame.m)
            whole.scatter_add_(2, own.clamp_min(0), part)  # padding weighs nothing
            outputs.append(Block(block.rows, slice(None), whole).weigh(v))
        return stats, torch.cat(outputs, 1)

    stats, output, done = metrics.Gathered(len(rows)), None, 0

    def take(parts: list[tuple[RowStats, Tensor]]) -> None:
        nonlocal output, done
        for part, values in parts:
            if output is None:
                output = values.new_empty(len(values), len(rows), values.shape[-1])
            ours = slice(done, done + values.shape[1])
            stats.put(ours, part)
            output[:, ours] = values
            done = ours.stop

    size = att.frame.heads * len(rows) * att.frame.m
    for _ in in_order(jobs(att, rows, measured), att.device, take, size):
        pass
    assert output is not None
    return stats.all(), output


def factor(stats: RowStats, colour: Colour) -> Float[Tensor, "h r 1"]:
    """What a colour multiplies each row's weights by."""
    if colour == "weight":
        return torch.ones_like(stats.max_weight)[..., None]
    if colour == "uniform":
        return stats.visible.double()[..., None]
    top = (stats.max_weight * stats.kept_mass)[..., None]
    return torch.where(top > 0, 1 / top, 0)


def _cells(
    weights: Float[Tensor, "h r c"],
    cols: Index,
    at: Int[Tensor, " r"],
    row_cells: Cells,
    col_cells: Cells,
    pool: str,
    signed: bool,
) -> Iterator[tuple[int | Tensor, Tensor]]:
    """A block's weights on the map, as in `Part`. Rows go first, along memory, where they can."""

    def columns(x: Tensor, cols: Index) -> Tensor:
        return _columns(x, cols, col_cells, pool, signed)

    if not bool((at.diff() == 1).all()):
        yield at // row_cells.width, columns(weights, cols)
        return
    start, width, total = int(at[0]), row_cells.width, len(at)
    first = min(total, -start % width)
    last = first + (total - first) // width * width
    for a, b in ((0, first), (first, last), (last, total)):
        if a == b:
            continue
        x, place = weights[:, a:b], start + a
        if isinstance(cols, Tensor) and cols.ndim == 3:
            yield row_cells.reduce(columns(x, cols[:, a:b]), place, -2, pool)
        else:
            where, x = row_cells.reduce(x, place, -2, pool)
            yield where, columns(x, cols)


def _columns(
    weights: Float[Tensor, "h r c"], cols: Index, cells: Cells, pool: str, signed: bool
) -> Float[Tensor, "h r b"]:
    """A block's weights on the map's columns. Keys that it leaves out weigh nothing."""
    if isinstance(cols, slice):
        cols = torch.arange(cols.start, cols.stop, device=weights.device)
    cell = (cols // cells.width).clamp_min(0)
    # padding weighs nothing, so that any cell may take it
    cell = cell.expand(weights.shape).to(weights.device)
    out = weights.new_zeros(*weights.shape[:2], cells.count)
    if pool == "sum":
        return out.scatter_add_(2, cell, weights)
    if signed:  # nothing is more than a negative weight
        full = torch.zeros_like(out).scatter_add_(2, cell, torch.ones_like(weights))
        wide = torch.full_like(out, cells.width)
        wide[..., -1] = cells.stop - cells.start - (cells.count - 1) * cells.width
        # a cell with a key outside the block has a weight of 0 in it
        out.masked_fill_(full >= wide, -torch.inf)
    return out.scatter_reduce_(2, cell, weights, "amax")


def _add(into: Tensor, part: Tensor, place: int | Tensor, pool: str) -> None:
    part = part.to(into)
    if isinstance(place, int):
        into = into[:, place : place + part.shape[1]]
        torch.maximum(into, part, out=into) if pool == "max" else into.add_(part)
    elif pool == "sum":
        into.index_add_(1, place, part)
    else:
        into.scatter_reduce_(1, place[:, None].expand(part.shape), part, "amax")
