"""Windows of an attention's weights: exact, pooled to a map, and added up by groups of keys."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import Block, Colour, Index, Pool, Refusal, index
from engine.measure import passes
from engine.measure.cells import Cells, pairs
from engine.measure.passes import Asked, Weighted, factor, jobs, summarise
from engine.runtime.threads import in_order

LARGEST = 2**28
"""Weights that one exact window may hold (1 GiB in float32)."""
SOME = 128
"""Keys whose groups are added up together."""


def window(att: Weighted, rows: Index | None, cols: Index | None) -> Float[Tensor, "h r c"]:
    """Exact weights of a window; see Attention.weights."""
    frame = att.frame
    at, keys = index(rows, frame.n, att.device), index(cols, frame.m, att.device)
    if frame.heads * len(at) * len(keys) > LARGEST:
        raise Refusal(
            "a window of {heads} × {rows:,} × {columns:,} (heads × rows × columns) holds too "
            "many weights; take a smaller one, a heatmap, or blocks",
            heads=frame.heads,
            rows=len(at),
            columns=len(keys),
        )
    if not len(at) or not len(keys):
        return torch.zeros(frame.heads, len(at), len(keys), device=att.device)
    found = att.window(at, keys)
    return found if found is not None else _window_by_blocks(att, at, keys)


def _window_by_blocks(
    att: Weighted, at: Int[Tensor, " r"], keys: Int[Tensor, " c"]
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
    att: Weighted,
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
    if isinstance(rows, Tensor) or isinstance(cols, Tensor):
        raise Refusal("a heatmap covers consecutive rows and columns: give slices")
    a, b, down = (rows or slice(None)).indices(frame.n)
    c, d, across = (cols or slice(None)).indices(frame.m)
    for step in (down, across):
        if step != 1:
            raise Refusal(
                "a heatmap covers consecutive rows and columns: a step of {step} is not possible",
                step=step,
            )
    row_cells, col_cells = Cells(a, b, size), Cells(c, d, size)
    if (a, b, c, d) == (0, frame.n, 0, frame.m):
        known = att.known
        fits = known is not None and (known.size, known.colour) == (size, colour)
        if known is not None and fits and pool in known.maps:
            return known.maps[pool]
        if frame.n * frame.m > passes.AREA:
            asked = Asked(output=False, size=size, pools=(pool,), colour=colour)
            return summarise(att, asked).maps[pool]
    how = "max" if pool == "max" else "sum"
    out = torch.zeros(frame.heads, row_cells.count, col_cells.count, device=att.device)
    if pool == "max":
        out.fill_(-torch.inf)
    keys = torch.arange(c, d, device=att.device)
    for start, stop in row_cells.pieces(max(1, passes.AREA // (frame.heads * (d - c)))):
        at = torch.arange(start, stop, device=att.device)
        weights = window(att, at, keys)
        if colour != "weight":
            scale = factor(summarise(att, Asked(rows=at, output=False)).rows, colour)
            weights = weights * scale.to(weights)
        _, wide = col_cells.reduce(weights, c, -1, how)
        first, cells = row_cells.reduce(wide, start, -2, how)
        into = out[:, first : first + cells.shape[1]]
        torch.maximum(into, cells.to(out), out=into) if how == "max" else into.add_(cells.to(out))
    if pool == "mean":
        out /= pairs(frame, row_cells, col_cells, att.device).clamp_min(1).to(out)
    return out


def group(
    att: Weighted, labels: Int[Tensor, " m"], rows: Index | None = None
) -> Float[Tensor, "h r groups"]:
    """Mass that each row gives to each group; see Attention.group."""
    frame = att.frame
    if labels.shape != (frame.m,) or labels.is_floating_point() or int(labels.min()) < -1:
        raise Refusal(
            "labels must be {keys, plural, one {# whole number} other {# whole numbers}} from −1 "
            "up, one per key",
            keys=frame.m,
        )
    labels = labels.to(att.device).long()
    count = int(labels.max()) + 1
    if count < 1:
        raise Refusal("none of the keys is in a group")
    at = index(rows, frame.n, att.device)
    if frame.heads * len(at) * count > LARGEST:
        raise Refusal(
            "{count:,} × {rows:,} cells (groups × rows) are too many; take larger groups",
            count=count,
            rows=len(at),
        )
    out = torch.zeros(frame.heads, len(at), count, device=att.device)
    place = torch.zeros(frame.n, dtype=torch.long, device=att.device)
    place[at] = torch.arange(len(at), device=att.device)

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
        out[:, place[block.rows]] = found[..., 1:]

    size = frame.heads * len(at) * frame.m
    for _ in in_order(jobs(att, rows, add), att.device, size=size):
        pass
    return out
