"""Two attentions over the same queries and keys, row by row: what one keeps of the other.

Definitions: field notes §4.2. Shares are of a row's total, as in `engine.metrics`, so that rows
which give some of their mass away compare as distributions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import Colour, Frame, Index, Pool, Refusal, index
from engine.measure.attention import Attention
from engine.measure.cells import Cells
from engine.measure.metrics import TOP

WHOLE = 2048
"""Rows up to which all are compared."""
SAMPLE = 512
"""Rows compared of more."""
AREA = 2**21
"""Weights of each attention held at once, in float64."""

Progress = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Comparison:
    """How an attention differs from a reference, (h r) each but `rows`.

    w and w' are a row of the attention and of the reference, p and p' their shares w/Σw. A row in
    which the reference weighs nothing has nothing to compare, and is NaN throughout.

    Attributes:
        rows: query positions compared, (r).
        captured_mass: Σ p' over the keys with w ≠ 0: which keys are reached, not how well they
            are weighed. 1 for every mechanism that leaves no key out.
        total_variation: ½ Σ|p − p'|, 0 … 1; 1 where the attention weighs nothing. Where either is
            signed there are no shares: ½ Σ|w − w'| of the weights as they are.
        kl: KL(p' ‖ p), nats; ∞ where the attention gives 0 to a key that the reference weighs
            (0 in its own arithmetic), NaN where either is signed.
        output_error: ‖o − o'‖ / ‖o'‖; NaN if either has no output.
        top_recall: share of the reference's 8 largest keys (fewer where it weighs fewer) that are
            among the attention's 8 largest; weights of 0 and below are among none, ties are in.
            NaN where the reference has none above 0.
    """

    rows: Int[Tensor, " r"]
    captured_mass: Float[Tensor, "h r"]
    total_variation: Float[Tensor, "h r"]
    kl: Float[Tensor, "h r"]
    output_error: Float[Tensor, "h r"]
    top_recall: Float[Tensor, "h r"]

    def means(self) -> dict[str, Float[Tensor, " h"]]:
        """Each averaged over the rows that have something to compare."""
        return {name: x.nanmean(1) for name, x in vars(self).items() if name != "rows"}


def evenly(n: int, most: int = SAMPLE) -> Int[Tensor, " r"]:
    """At most `most` positions out of n, the middles of equal stretches."""
    if n <= most:
        return torch.arange(n)
    return (2 * torch.arange(most) + 1) * n // (2 * most)


def _rows(rows: Index | None, n: int) -> Int[Tensor, " r"]:
    """The positions asked for if they are few enough, else an even sample of them."""
    at = index(rows, n)
    return at if len(at) <= WHOLE else at[evenly(len(at))]


def compare(
    att: Attention,
    reference: Attention,
    rows: Index | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """How `att` differs from `reference`; see Comparison.

    Works by blocks of rows and holds no matrix n×n. Both outputs are worked out at their own cost.

    Args:
        rows: those to compare, whatever their number; by default all up to 2,048, and 512 evenly
            spaced ones of more.
        progress: told the share done.

    Raises:
        ValueError: the two are not over the same heads, queries and keys, or their outputs differ
            in width.
    """
    frame = _same(att, reference)
    at = _rows(None, frame.n) if rows is None else index(rows, frame.n)
    own, other = _output(att), _output(reference)
    if own is not None and other is not None and own.shape != other.shape:
        raise Refusal("the outputs differ in width")
    parts = []
    signed = "signed" in (att.row_kind, reference.row_kind)
    for part, w, given in _pieces(att, reference, at, progress):
        found = _of_weights(w, given, signed)
        found["output_error"] = _error(own, other, part, found["captured_mass"])
        parts.append(Comparison(part, **found))
    names = [f.name for f in dataclasses.fields(Comparison)][1:]
    joined = {name: torch.cat([getattr(p, name) for p in parts], 1) for name in names}
    return Comparison(at, **joined)


def _same(att: Attention, reference: Attention) -> Frame:
    own, other = att.frame, reference.frame
    shapes = [(f.heads, f.n, f.m) for f in (own, other)]
    if shapes[0] != shapes[1]:
        raise Refusal(
            "only attentions over the same heads, queries and keys can be compared, not {one} "
            "and {other}",
            one=" × ".join(map(str, shapes[0])),
            other=" × ".join(map(str, shapes[1])),
        )
    return own


def _pieces(
    att: Attention, reference: Attention, at: Tensor, progress: Progress | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows in pieces with both weights, (h r m) in float64 on the CPU."""
    frame, done = att.frame, 0
    for part in at.split(max(1, AREA // (frame.heads * frame.m))):
        w, other = (x.weights(part.to(x.device)).cpu().double() for x in (att, reference))
        yield part, w, other
        done += len(part)
        if progress is not None:
            progress(done / len(at))


def _output(att: Attention) -> Tensor | None:
    try:
        return att.output
    except ValueError:  # weights without values, or with keys hidden
        return None


def _error(
    own: Tensor | None, other: Tensor | None, rows: Tensor, like: Tensor
) -> Float[Tensor, "h r"]:
    if own is None or other is None:
        return torch.full_like(like, torch.nan)
    own, other = (x[:, rows.to(x.device)].cpu().double() for x in (own, other))
    apart, size = (own - other).norm(dim=-1), other.norm(dim=-1)
    error = torch.where(apart > 0, apart / size, 0.0)
    return torch.where(like.isnan(), torch.nan, error)


def _of_weights(
    w: Float[Tensor, "h r m"], other: Float[Tensor, "h r m"], signed: bool
) -> dict[str, Tensor]:
    """All that follows from two blocks of weights."""
    size = other.abs()
    total = size.sum(-1)
    captured = (size * (w != 0)).sum(-1) / total  # 0/0: nothing to compare
    nothing = captured.isnan()
    if signed:
        apart = (w - other).abs().sum(-1) / 2
        kl = torch.full_like(captured, torch.nan)
    else:
        mass = w.sum(-1)
        p, q = w / mass.clamp_min(torch.finfo(w.dtype).tiny)[..., None], size / total[..., None]
        apart = torch.where(mass > 0, (p - q).abs().sum(-1) / 2, 1.0)
        kl = (torch.special.xlogy(q, q) - torch.special.xlogy(q, p)).sum(-1).clamp_min(0)
    k = min(TOP, w.shape[-1])
    best = other.topk(k)
    here, least = w.gather(-1, best.indices), w.topk(k).values[..., -1:]
    counted = best.values > 0
    hits = counted & (here >= least) & (here > 0)
    found = {
        "captured_mass": captured,
        "total_variation": apart,
        "kl": kl,
        "top_recall": hits.sum(-1) / counted.sum(-1),
    }
    return {name: x.double().masked_fill(nothing, torch.nan) for name, x in found.items()}


def shared(att: Attention, head: int, reference: Attention, other: int) -> float:
    """How much of their weight two heads put on the same keys: the mean over rows of Σ min(p, p′),
    where p and p′ are a row's shares w/Σw; 1 is all of it. NaN where weights are signed or no row
    has any in both.

    Args:
        head, other: of the attention and of the reference. Of more than 2,048 rows, 512 are read.
    """
    frame = _same(att, reference)
    if "signed" in (att.row_kind, reference.row_kind):
        return float("nan")
    found = []
    for _, w, reference_w in _pieces(att, reference, _rows(None, frame.n), None):
        p, q = (x / x.sum(-1, keepdim=True) for x in (w[head], reference_w[other]))
        found.append(torch.minimum(p, q).sum(-1))
    return float(torch.cat(found).nanmean())


@dataclass(frozen=True, eq=False)
class Difference:
    """A window of w − w' of one head, pooled.

    Attributes:
        cells: (a b). rows: the query positions looked at, (r). span: rows r0:r1 and columns c0:c1.
        cell: rows and columns of a cell; a sampled row is a cell's height by itself.
    """

    cells: Float[Tensor, "a b"]
    rows: Int[Tensor, " r"]
    span: tuple[int, int, int, int]
    cell: tuple[int, int]

    @property
    def sampled(self) -> bool:
        """True if only some of the window's rows were looked at."""
        return len(self.rows) < self.span[1] - self.span[0]


def difference(
    att: Attention,
    reference: Attention,
    head: int,
    *,
    other: int | None = None,
    rows: slice = slice(None),
    cols: slice = slice(None),
    size: int = 512,
    pool: Pool = "max",
    colour: Colour = "weight",
    progress: Progress | None = None,
) -> Difference:
    """Where an attention gives more than the reference, and where less.

    Args:
        head: the one that is looked at. other: of the reference; the same if None.
        rows, cols: the window; of more than 2,048 rows, 512 evenly spaced ones are looked at.
        size: cells a side, at most.
        pool: what stands for a cell: "max" the difference furthest from 0, "mean" over its
            visible pairs, "sum" over its rows (those looked at) and columns.
        colour: "uniform" scales each row by its visible keys, "row" by the reference's largest.
    """
    frame = _same(att, reference)
    r0, r1, _ = rows.indices(frame.n)
    c0, c1, _ = cols.indices(frame.m)
    across = Cells(c0, c1, size)
    at = _rows(slice(r0, r1), frame.n)
    high, low = [], []
    for part, w, reference_w in _pieces(att, reference, at, progress):
        own, given = w[head], reference_w[head if other is None else other]
        apart = own - given
        if colour == "uniform":
            apart *= frame.seen(part)[0].double()[:, None]
        elif colour == "row":
            top = given.amax(-1, keepdim=True)
            apart = torch.where(top > 0, apart / top, 0)
        how = "max" if pool == "max" else "sum"
        high.append(across.reduce(apart[:, c0:c1], c0, -1, how)[1])
        low.append(across.reduce(-apart[:, c0:c1], c0, -1, how)[1])
    down = Cells(0, len(at), size)

    def tall(x: Tensor, how: str) -> Tensor:
        return down.reduce(x, 0, -2, how)[1]

    if pool == "max":
        up, under = tall(torch.cat(high), "max"), tall(torch.cat(low), "max")
        cells = torch.where(up >= under, up, -under)
    else:
        cells = tall(torch.cat(high), "sum")
        if pool == "mean":
            seen = tall(frame.cell_counts(at, across.edges()).double(), "sum")
            cells = cells / seen.clamp_min(1)
    return Difference(cells.float(), at, (r0, r1, c0, c1), (down.width, across.width))
