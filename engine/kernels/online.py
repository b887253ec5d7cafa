"""One pass over a streaming softmax: output, all row statistics and pooled maps, tile by tile.

A tile is some rows by some keys; nothing n×n is ever held. Row sums are kept relative to the
row's running maximum and rescaled as it grows (online softmax, arXiv 1805.02867); with
t = z − max and e = exp t, a row's entropy is ln Σe − Σet/Σe. Cells are pooled along the keys
inside each tile and scaled once the row's log-sum-exp is known. Keys of a tile are laid out so
that pooling runs along memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from math import inf

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import Colour, Index, index
from engine.kernels.keytiles import COLS, SHORT, Keys, Lookup, Shared, Tile, floor_of, tile
from engine.kernels.normalisers import Softmax
from engine.kernels.rows import Rows
from engine.kernels.scoring import Features
from engine.measure import metrics
from engine.measure.cells import Cells
from engine.measure.metrics import TOP, RowStats
from engine.measure.passes import Progress
from engine.runtime.threads import in_order, workers

ROWS = 512
"""Rows of a piece; half as many where the text is short."""
KEPT, KEPT_LONG = 2**22, 2**25
"""Scores that all threads keep until their rows' largest are known: to 8,192 keys, and above."""

NOTHING = -1e30
"""Stands for −inf where that would make NaN."""
FLAT = 38.0
"""Scores below this are exponentiated as they are: e² of 2¹⁷ keys still adds up in float32."""


@dataclass
class Pass:
    """What one pass found, for the rows asked for.

    Attributes:
        rows: statistics. lse: log-sum-exp of the logits, sinks in it. maps: pool -> cells.
        sums: of one piece: what `metrics.from_sums` takes, (h r) each, by its argument's name.
    """

    output: Float[Tensor, "h r e"] | None
    rows: RowStats | None
    lse: Float[Tensor, "h r"]
    maps: dict[str, Float[Tensor, "h a b"]] = field(default_factory=dict)
    sums: dict[str, Tensor] = field(default_factory=dict)


def one_pass(
    att: Rows,
    *,
    rows: Index | None = None,
    output: bool = True,
    stats: bool = True,
    size: int = 0,
    pools: tuple[str, ...] = (),
    colour: Colour = "weight",
    progress: Progress | None = None,
) -> Pass:
    """Run the pass over all rows, or those asked for (then without maps).

    `progress` is told the share done between pieces; whatever it raises ends the pass.
    """
    assert isinstance(att.normaliser, Softmax)
    frame, device = att.frame, att.device
    at, order = index(rows, frame.n, device), None
    if rows is not None:
        at, order = at.sort()
    att.beta(at)  # worked out before the pieces, which run side by side
    row_cells = Cells(0, frame.n, size or 1) if pools else None
    col_cells = Cells(0, frame.m, size or 512)
    out = att.qkv.v.new_empty(frame.heads, len(at), att.qkv.v.shape[-1]) if output else None
    lse = torch.empty(frame.heads, len(at), dtype=att.dtype, device=device)
    want = set(pools) & {"max"} | ({"sum"} if {"mean", "sum"} & set(pools) else set())
    maps = {
        pool: torch.zeros(frame.heads, row_cells.count, col_cells.count, device=device)
        for pool in want
        if row_cells
    }
    height, heads = _shape(att, len(at), stats)
    if row_cells:
        pieces = list(row_cells.pieces(height))
    else:
        pieces = [(a, min(a + height, len(at))) for a in range(0, len(at), height)]
    shared = Shared()

    def jobs() -> Iterator[Callable[[], Pass]]:
        for part in heads:
            keys = Keys(att, part, col_cells, output, shared)
            for a, b in pieces:
                yield partial(_piece, keys, at[a:b], stats, want, row_cells, col_cells, colour)

    places = [(part, a, b) for part in heads for a, b in pieces]
    left, sums = deque(places), dict[str, Tensor]()

    def take(piece: Pass) -> float:
        part, a, b = left.popleft()
        lse[part, a:b] = piece.lse
        if out is not None and piece.output is not None:
            out[part, a:b] = piece.output.to(out)
        for name, x in piece.sums.items():  # no piece's own are kept: small, they would lie
            if name not in sums:  # scattered over memory that the next pieces need whole
                sums[name] = x.new_empty(frame.heads, len(at), *x.shape[2:])
            sums[name][part, a:b] = x
        for pool, cells in piece.maps.items():
            assert row_cells
            first, cells = row_cells.reduce(cells, a, -2, pool)
            into = maps[pool][part, first : first + cells.shape[-2], : cells.shape[-1]]
            torch.maximum(into, cells, out=into) if pool == "max" else into.add_(cells)
        return 1 - len(left) / len(places)

    size = frame.heads * len(at) * frame.m
    for share in in_order(jobs(), device, take, size):
        if progress is not None:
            progress(share)
    statistics = metrics.from_sums(**sums) if stats else None
    if order is not None:
        back = order.argsort()
        out, lse = None if out is None else out[:, back], lse[:, back]
        statistics = None if statistics is None else statistics[back]
    return Pass(out, statistics, lse, maps)


def _shape(att: Rows, n: int, stats: bool) -> tuple[int, list[slice]]:
    """Rows of a piece, and the heads that go together: whole groups, or one head."""
    frame, cpu = att.frame, att.device.type == "cpu"
    rows = ROWS if cpu else 4 * ROWS
    width, area = att.width(rows), ROWS * COLS
    if cpu and width <= SHORT:
        rows, area = rows // 2, 2 * area
    kept = (KEPT if width <= 8192 else KEPT_LONG) // workers(att.device)
    if stats:
        rows = max(16, min(rows, kept // width))
    rows = min(rows, n)
    per = frame.heads // att.qkv.groups
    fit = max(1, min(area // (rows * min(width, tile(att))), kept // (rows * width)))
    if fit < per:
        step = 1
    else:  # as many in each part
        parts = -(-att.qkv.groups // (fit // per))
        step = -(-att.qkv.groups // parts) * per
    return rows, [slice(a, min(a + step, frame.heads)) for a in range(0, frame.heads, step)]


def _piece(
    keys: Keys,
    rows: Int[Tensor, " r"],
    stats: bool,
    want: set[str],
    row_cells: Cells | None,
    col_cells: Cells,
    colour: Colour,
) -> Pass:
    """Some rows of some heads.

    Shapes: b key heads; R the rows of all query heads that read one; c a tile's keys; w its cells.
    """
    att, heads = keys.att, keys.heads
    r = len(rows)
    causal, position = att.frame.causal, rows + att.frame.offset
    low, high, at = int(position[0]), int(position[-1]), position.to(att.dtype)
    assert isinstance(att.normaliser, Softmax) and isinstance(att.scoring, Features)
    tau = att.normaliser.temperature
    plain = att.plain
    b = len(keys.k)
    q = att.queries(heads, rows)
    q = q.view(b, -1, q.shape[-1])  # (b R f)
    count = q.shape[1]
    floor = floor_of(att.dtype)
    # no score is larger than the product of the longest vectors
    most = float(q.square().sum(-1).max().sqrt()) * keys.longest if plain else inf
    flat = most < FLAT and stats

    bias = att.bias(heads, rows)
    tiles = keys.over(att.spans(rows))
    area = [b * count * (t.stop - t.start) for t in tiles]
    kept = keys.buffer("scores", sum(area) if stats else max(area))
    spare = keys.buffer("spare", max(area))
    spare2 = keys.buffer("spare2", max(area)) if stats and not causal else spare
    cells = sum(t.cells for t in tiles)
    peaks = q.new_empty(b, count, cells)  # of all tiles' cells
    masses = q.new_empty(b, count, cells) if "sum" in want else None
    acc = q.new_zeros(b, count, keys.v.shape[-1]) if keys.v is not None else None

    top = q.new_full((b, count), NOTHING)
    tops, parts, offset, cell = [], [], 0, 0
    for t, size in zip(tiles, area, strict=True):
        s = kept[offset : offset + size].view(b, count, -1)  # (b R c)
        offset += size if stats else 0
        torch.bmm(q, keys.k[..., t.start : t.stop], out=s)
        if not plain:
            key = keys.key[t.start : t.stop]
            att.finish(s.view(-1, r, s.shape[-1]), heads, rows, key, bias)
            s.div_(tau)
        hidden = keys.hide(s.view(b, -1, r, s.shape[-1]), rows, t)
        # (b R w)
        peak = t.pool(s, "max", peaks[..., cell : cell + t.cells])
        new = top
        if not flat:
            new = torch.maximum(top, peak.amax(-1))
            s.sub_(new[..., None])
        if hidden or 2 * most > -floor:
            s.clamp_min_(floor)
        e = torch.exp(s, out=spare[:size].view(s.shape))
        # where hidden, e is now the least normal number: nothing beside any other
        e_sum = e.sum(-1)
        if masses is not None:
            mass = t.pool(e, "sum", masses[..., cell : cell + t.cells])
            if hidden:
                mass.masked_fill_(peak == -torch.inf, 0)
        sums = [e_sum]
        if stats:
            norm = torch.linalg.vector_norm(e, dim=-1)
            straddles = not causal and t.start <= high and low < t.stop
            sums += [norm, _distance(e, e_sum, rows, at, keys, t, spare2 if straddles else None)]
        if acc is not None and keys.v is not None:
            if parts and not flat:
                acc.mul_((top - new).exp_()[..., None])
            acc.baddbmm_(e, keys.v[:, t.start : t.stop])
        if stats:
            sums.append(e.mul_(s).sum(-1))
        top = new
        tops.append(new)
        parts.append(sums)
        cell += t.cells

    total = {
        name: torch.stack(x, -1)  # (b R tiles)
        for name, x in zip(("e", "norm", "far", "et"), zip(*parts, strict=True), strict=False)
    }
    fade = None
    if flat:
        top, reference, behind = peaks.amax(-1), torch.zeros_like(top), None
        total["norm"] = total["norm"].square_()
    else:
        reference = top
        behind = torch.stack(tops, -1) - top[..., None]  # how far each tile's maximum lay
        fade = behind.clamp_min(floor).exp_()
        if stats:
            total["norm"] = (total["norm"] * fade).square_()
            total["et"] += behind.clamp_min(floor) * total["e"]
            total["et"] *= fade
            total["far"] *= fade
        total["e"] = total["e"] * fade
    sums = {name: x.sum(-1) for name, x in total.items()}

    some = top > NOTHING / 2
    own = torch.where(some, reference + sums["e"].log(), -torch.inf)
    sinks = att.sinks(rows)
    joined = None if sinks is None else sinks[heads]
    lse = att.normaliser.with_sinks(own.view(-1, r), joined)
    if att.share is not None:  # as if so much more were in the row
        lse = lse - att.share(rows)[heads].to(lse).log()
    lse = lse.view_as(own)
    found = Pass(None, None, lse.view(-1, r))
    scale = torch.where(some, (reference - lse).exp(), 0)  # from e to weights
    if acc is not None:
        found.output = acc.mul_(scale[..., None]).view(-1, r, acc.shape[-1])
    visible, first = att.frame.seen(rows)
    if stats:
        look = Lookup(kept, tiles, behind, (b, count), keys.shared)
        found.sums = _statistics(look, peaks, att, first) | {
            "total": sums["e"].where(some, 0).view(-1, r),
            "log": sums["et"].view(-1, r),
            "square": sums["norm"].view(-1, r),
            "distance": sums["far"].view(-1, r),
            "kept": (own - lse).exp().where(some, 0).view(-1, r),
            "visible": visible.expand(b * count // r, -1),
        }
    if want and row_cells is not None:
        if colour == "uniform":
            scale = scale * visible.to(own).repeat(count // r)
        elif colour == "row":
            scale = torch.where(some, (reference - top).exp(), 0)
        for pool in want:
            if pool == "max":
                x = peaks.sub_(reference.clamp_min(NOTHING)[..., None]).exp_()
            else:
                assert masses is not None
                x = masses
                if fade is not None:
                    repeats = torch.tensor([t.cells for t in tiles], device=q.device)
                    x.mul_(fade.repeat_interleave(repeats, -1))
            x = _columns(x, tiles, col_cells, pool).mul_(scale[..., None])  # (b R columns)
            found.maps[pool] = x.view(-1, r, x.shape[-1])
    return found


def _distance(
    e: Float[Tensor, "b R c"],
    e_sum: Float[Tensor, "b R"],
    rows: Int[Tensor, " r"],
    at: Float[Tensor, " r"],
    keys: Keys,
    t: Tile,
    spare: Tensor | None,
) -> Float[Tensor, "b R"]:
    """Σ e |i − j|; `spare` is given where some keys lie before and some after a row."""
    b, count, _ = e.shape
    key = keys.place[t.start : t.stop]
    if spare is not None:
        far = keys.once("far", rows, t, lambda: torch.sub(at[:, None], key).abs_())
        by_head = (b, count // len(at), len(at), len(key))  # (b heads r c)
        product = torch.mul(e.view(by_head), far, out=spare[: e.numel()].view(by_head))
        return product.sum(-1).flatten(1)
    # relative to the tile's start, so that float32 loses nothing in a long text
    inside = (e.view(b * count, -1) @ (key - t.start)).view(b, count)
    whole = e_sum.view(b, -1, len(at)) * (at - t.start)
    return whole.view(b, count).sub_(inside).abs_()


def _columns(
    x: Float[Tensor, "b R w"], tiles: list[Tile], cells: Cells, pool: str
) -> Float[Tensor, "b R columns"]:
    """Cells of all tiles on the map's first columns; later ones hold nothing."""
    begins = [(t.start - cells.start) // cells.width for t in tiles]
    ends = [a + t.cells for a, t in zip(begins, tiles, strict=True)]
    if begins == [0, *ends[:-1]]:
        return x
    out = x.new_zeros(*x.shape[:2], cells.count)
    parts = x.split([t.cells for t in tiles], -1)
    for part, a, b in zip(parts, begins, ends, strict=True):
        into = out[..., a:b]
        torch.maximum(into, part, out=into) if pool == "max" else into.add_(part)
    return out


def _statistics(
    look: Lookup, peaks: Float[Tensor, "b R w"], att: Rows, first: Int[Tensor, " r"]
) -> dict[str, Tensor]:
    """What single scores tell of each row, as `metrics.from_sums` takes it, (h r) each."""
    r = len(first)
    b, count, _ = peaks.shape
    top, argmax = look.largest(peaks)
    special = first.repeat(count // r).expand(b, -1)[..., None]
    if att.frame.needles is not None:
        needles = att.frame.needles.to(first).expand(b, count, -1)
        special = torch.cat([special, needles], -1)
    e = look.keys(special)
    return {
        "top": F.pad(top, (0, TOP - top.shape[-1])).view(-1, r, TOP),
        "argmax": argmax.view(-1, r),
        "sink": e[..., 0].view(-1, r),
        "needle": e[..., 1:].sum(-1).view(-1, r),
    }
