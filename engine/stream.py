"""Everything that follows from an attention's blocks, without a matrix n×n."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine import metrics
from engine.cells import Cells, pairs
from engine.composed import Composed
from engine.contract import QKV, Attention, Block, Colour, Index, Mechanism, Pool, index
from engine.metrics import RowStats
from engine.online import Progress, sweep
from engine.refusal import Refusal
from engine.threads import in_order, one_thread_each

LARGEST = 2**28
"""Weights that one exact window may hold (1 GiB in float32)."""
AREA = 2**22
"""Weights worked on at once."""
SOME = 128
"""Keys whose groups are added up together."""
T = TypeVar("T")


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


def summarise(
    att: Attention,
    *,
    rows: Index | None = None,
    output: bool = True,
    size: int = 512,
    pools: tuple[Pool, ...] = (),
    colour: Colour = "weight",
    progress: Progress | None = None,
) -> Summary:
    """Statistics of all rows or of some, and, of all rows, output and maps."""
    began = time.perf_counter()
    if rows is not None and (pools or output):
        raise Refusal("output and maps are of all rows")
    if unknown := set(pools) - {"max", "mean", "sum"}:
        raise Refusal(
            "a heatmap pools by max, mean or sum, not {unknown}",
            unknown=", ".join(sorted(unknown)),
        )
    if isinstance(att, Composed) and att.streams:
        found = sweep(
            att, rows=rows, output=output, size=size, pools=pools, colour=colour, progress=progress
        )
        if rows is None:
            att._lse = found.lse
        assert found.rows is not None
        result = Summary(found.output, found.rows, _means(found.maps, att, pools, size))
    else:
        result = _by_blocks(att, rows, output, size, pools, colour, progress)
    result.size, result.colour = size, colour
    result.seconds = time.perf_counter() - began
    return result


def _means(
    maps: dict[str, Tensor], att: Attention, pools: tuple[Pool, ...], size: int
) -> dict[Pool, Tensor]:
    """The maps asked for, the mean from the sum over visible pairs."""
    found: dict[Pool, Tensor] = {p: maps[p] for p in pools if p != "mean"}
    if "mean" in pools:
        frame = att.frame
        seen = pairs(frame, Cells(0, frame.n, size), Cells(0, frame.m, size), att.device)
        found["mean"] = maps["sum"] / seen.clamp_min(1).to(maps["sum"])
    return found


@dataclass
class Part:
    """What some blocks tell: positions (r), statistics, output, and pool -> (first row of cells,
    cells); of rows that don't follow one another: (each row's cell, rows)."""

    at: Int[Tensor, " r"]
    rows: RowStats
    output: Float[Tensor, "h r e"] | None
    maps: dict[str, list[tuple[int | Tensor, Tensor]]]


def _by_blocks(
    att: Attention,
    rows: Index | None,
    output: bool,
    size: int,
    pools: tuple[Pool, ...],
    colour: Colour,
    progress: Progress | None,
) -> Summary:
    frame, device = att.frame, att.device
    total = frame.n if rows is None else len(index(rows, frame.n))
    want = set(pools) & {"max"} | ({"sum"} if {"mean", "sum"} & set(pools) else set())
    row_cells, col_cells = Cells(0, frame.n, max(1, size)), Cells(0, frame.m, max(1, size))
    shape = frame.heads, row_cells.count, col_cells.count
    maps = {
        p: torch.full(shape, -torch.inf if p == "max" else 0.0, dtype=torch.float64, device=device)
        for p in want
    }
    # the blocks are here anyhow, and nothing finds the output faster
    own = att if output and isinstance(att, Composed) and att.rowwise else None
    out = own and own.qkv.v.new_empty(frame.heads, frame.n, own.qkv.v.shape[-1])

    def measured(block: Block) -> Part:
        at = index(block.rows, frame.n, device)
        stats = metrics.of_weights(block.weights, block.cols, at, frame, att.row_kind)
        weights = block.weights
        if want and colour != "weight":
            weights = weights * _factor(stats, colour)
        signed = att.row_kind == "signed"
        cells = {
            p: list(_cells(weights, block.cols, at, row_cells, col_cells, p, signed)) for p in want
        }
        return Part(at, stats, own and own.weigh(block), cells)

    statistics, done = metrics.Gathered(total), 0
    with one_thread_each(device) as workers:
        for parts in in_order(_jobs(att, rows, measured), workers):
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
            if progress is not None:
                progress(done / total)
    if "max" in maps:  # a cell that no block touched holds zeros only
        maps["max"] = maps["max"].masked_fill(maps["max"] == -torch.inf, 0)
    wanted = {p: x.float() for p, x in maps.items()}
    if out is not None:
        att.output = out
    elif output and _has_output(att):
        out = att.output
    return Summary(out, statistics.all(), _means(wanted, att, pools, size))


def _jobs(
    att: Attention, rows: Index | None, work: Callable[[Block], T]
) -> Iterator[Callable[[], list[T]]]:
    """Some work on every block, in pieces that may run side by side; in the blocks' order."""
    if not isinstance(att, Composed):
        for block in att.blocks(rows):
            yield lambda block=block: [work(block)]
        return
    att.beta(index(rows, att.frame.n, att.device))  # before the pieces run
    most = AREA // 4 if att.device.type == "cpu" else AREA
    for name, _ in att.row_parts(rows, most):
        yield lambda name=name: [work(block) for block in att.blocks(name)]


def sample(
    att: Attention, rows: Int[Tensor, " r"], v: Float[Tensor, "g m e"]
) -> tuple[RowStats, Float[Tensor, "h r e"]]:
    """Statistics and output of some rows only, exact for each, in their order."""
    if isinstance(att, Composed) and att.streams:
        found = sweep(att, rows=rows)
        assert found.rows is not None and found.output is not None
        return found.rows, found.output

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
    with one_thread_each(att.device) as workers:
        for parts in in_order(_jobs(att, rows, measured), workers):
            for part, values in parts:
                if output is None:
                    output = values.new_empty(len(values), len(rows), values.shape[-1])
                ours = slice(done, done + values.shape[1])
                stats.put(ours, part)
                output[:, ours] = values
                done = ours.stop
    assert output is not None
    return stats.all(), output


def _has_output(att: Attention) -> bool:
    from engine.stored import Hidden, Stored

    return not (isinstance(att, Hidden) or (isinstance(att, Stored) and att.v is None))


def _factor(stats: RowStats, colour: Colour) -> Float[Tensor, "h r 1"]:
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


def window(att: Attention, rows: Index | None, cols: Index | None) -> Float[Tensor, "h r c"]:
    """Exact weights of a window; see Attention.weights."""
    frame = att.frame
    at, keys = index(rows, frame.n, att.device), index(cols, frame.m, att.device)
    if frame.heads * len(at) * len(keys) > LARGEST:
        raise Refusal(
            "{heads} heads × {rows:,} rows × {columns:,} columns are too many weights for "
            "one window; take a smaller one, a heatmap, or blocks",
            heads=frame.heads,
            rows=len(at),
            columns=len(keys),
        )
    if not len(at) or not len(keys):
        return torch.zeros(frame.heads, len(at), len(keys), device=att.device)
    found = att.window(at, keys)
    return found if found is not None else _window_by_blocks(att, at, keys)


def _window_by_blocks(
    att: Attention, at: Int[Tensor, " r"], keys: Int[Tensor, " c"]
) -> Float[Tensor, "h r c"]:
    frame = att.frame
    where = torch.full((frame.m + 1,), -1, device=att.device)
    where[keys] = torch.arange(len(keys), device=att.device)
    out: Tensor | None = None
    done = 0
    for block in att.blocks(at):
        w, c = block.weights, block.cols
        if out is None:
            out = w.new_zeros(frame.heads, len(at), len(keys) + 1)
        part = out[:, done : done + w.shape[1]]
        if isinstance(c, slice):
            c = torch.arange(c.start, c.stop, device=att.device)
        # what the window leaves out, and padding, goes to one column more
        place = where[c]
        place = torch.where(place < 0, len(keys), place).expand(w.shape)
        part.scatter_add_(2, place, w)
        done += w.shape[1]
    assert out is not None
    return out[..., :-1]


def heatmap(
    att: Attention,
    size: int,
    pool: Pool,
    rows: Index | None,
    cols: Index | None,
    colour: Colour,
) -> Float[Tensor, "h a b"]:
    """A pooled window; see Attention.heatmap."""
    frame = att.frame
    if pool not in ("max", "mean", "sum"):
        raise Refusal("a heatmap pools by max, mean or sum, not {pool!r}", pool=pool)
    if size < 1:
        raise Refusal("a heatmap needs at least one cell a side")
    a, b, _ = (rows if isinstance(rows, slice) else slice(None)).indices(frame.n)
    c, d, _ = (cols if isinstance(cols, slice) else slice(None)).indices(frame.m)
    if isinstance(rows, Tensor) or isinstance(cols, Tensor):
        raise Refusal("a heatmap is of consecutive rows and columns: give slices")
    row_cells, col_cells = Cells(a, b, size), Cells(c, d, size)
    if (a, b, c, d) == (0, frame.n, 0, frame.m):
        known = att.known
        fits = known is not None and (known.size, known.colour) == (size, colour)
        if known is not None and fits and pool in known.maps:
            return known.maps[pool]
        if frame.n * frame.m > AREA:
            found = summarise(att, output=False, size=size, pools=(pool,), colour=colour)
            return found.maps[pool]
    how = "max" if pool == "max" else "sum"
    out = torch.zeros(frame.heads, row_cells.count, col_cells.count, device=att.device)
    if pool == "max":
        out.fill_(-torch.inf)
    keys = torch.arange(c, d, device=att.device)
    for start, stop in row_cells.pieces(max(1, AREA // (frame.heads * (d - c)))):
        at = torch.arange(start, stop, device=att.device)
        weights = window(att, at, keys)
        if colour != "weight":
            scale = _factor(summarise(att, rows=at, output=False).rows, colour)
            weights = weights * scale.to(weights)
        _, wide = col_cells.reduce(weights, c, -1, how)
        first, cells = row_cells.reduce(wide, start, -2, how)
        into = out[:, first : first + cells.shape[1]]
        torch.maximum(into, cells.to(out), out=into) if how == "max" else into.add_(cells.to(out))
    if pool == "mean":
        out /= pairs(frame, row_cells, col_cells, att.device).clamp_min(1).to(out)
    return out


def group(att: Attention, labels: Int[Tensor, " m"]) -> Float[Tensor, "h n groups"]:
    """Mass that each row gives to each group; see Attention.group."""
    frame = att.frame
    if labels.shape != (frame.m,) or labels.is_floating_point() or int(labels.min()) < -1:
        raise Refusal("labels must be {keys} whole numbers from −1 up, one a key", keys=frame.m)
    labels = labels.to(att.device).long()
    count = int(labels.max()) + 1
    if count < 1:
        raise Refusal("every key is in no group")
    if frame.heads * frame.n * count > LARGEST:
        raise Refusal(
            "{count:,} groups of {rows:,} rows are too many; take larger groups",
            count=count,
            rows=frame.n,
        )
    out = torch.zeros(frame.heads, frame.n, count, device=att.device)

    def add(block: Block) -> None:
        w, c = block.weights, block.cols
        found = out.new_zeros(*w.shape[:2], count + 1)
        if isinstance(c, slice) or c.ndim == 1:
            # a few keys share few groups, as a rule
            for part, name in zip(w.split(SOME, -1), (labels[c] + 1).split(SOME), strict=True):
                low, high = int(name.min()), int(name.max()) + 1
                one = torch.nn.functional.one_hot(name - low, high - low).to(w)
                found[..., low:high] += part @ one
        else:
            found.scatter_add_(2, torch.where(c < 0, -1, labels[c]) + 1, w.to(out))
        out[:, block.rows] = found[..., 1:]

    with one_thread_each(att.device) as workers:
        for _ in in_order(_jobs(att, None, add), workers):
            pass
    return out


@dataclass(frozen=True)
class Estimate:
    """What a summary will cost: bytes at most above inputs, and operations of the output."""

    bytes: int
    flops: int


def estimate(mechanism: Mechanism, qkv: QKV, size: int = 512) -> Estimate:
    """What attending and summarising would cost, before anything is computed."""
    h, n = qkv.heads, qkv.n
    output = h * n * qkv.v.shape[-1] * qkv.v.element_size()
    rows = h * n * 14 * 8
    maps = 3 * h * min(n, size) * min(qkv.m, size) * 4
    keys = 2 * qkv.m * (qkv.k.shape[-1] + qkv.v.shape[-1]) * 4
    return Estimate(output + rows + maps + keys + 2**26, mechanism.flops(qkv))
