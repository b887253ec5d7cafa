"""What is measured on a row of attention: each definition once.

A row is w over the keys; its total is Σw. Shares are of that total, so that rows which give some
of their mass away (a sink logit, softmax1) compare as distributions; `kept_mass` is the total.
Entropies are in nats. Visible keys are those that causality and masks let the row see, whatever
the mechanism's own pattern leaves out. A row that may see nothing has 0 everywhere, argmax −1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import Frame, Index, RowKind, index

TOP = 8
"""How many of the largest weights `top_mass` adds up."""
FAR = 1e100
"""Rows whose largest weight is beyond this, or below 1 over it, are measured up to a factor: the
squares of their weights are no numbers."""
NEAR = 2**18
"""Weights worked on at once: they stay in a processor's cache."""


@dataclass(frozen=True, eq=False)
class RowStats:
    """Statistics of rows, (h r) each.

    Attributes:
        entropy: −Σ p ln p, nats, for the shares p = w/Σw.
        normalised_entropy: entropy / ln(visible keys); 0 for one visible key.
        effective_tokens: exp(entropy). participation: 1/Σp².
        max_weight, argmax: largest share and the key that has it. top_mass: the 8 largest.
        sink_mass: share of the first visible key. needle_mass: share of the needles (0 if none).
        distance: Σ p |i − j|, tokens. kept_mass: Σw.
        visible: keys that the row may see.
        l1_mass, negative_mass: Σ|w| and Σ max(−w, 0); entropies are NaN where weights are signed,
            and the other statistics are then of the raw weights.
    """

    entropy: Float[Tensor, "h r"]
    normalised_entropy: Float[Tensor, "h r"]
    effective_tokens: Float[Tensor, "h r"]
    participation: Float[Tensor, "h r"]
    max_weight: Float[Tensor, "h r"]
    argmax: Int[Tensor, "h r"]
    top_mass: Float[Tensor, "h r"]
    sink_mass: Float[Tensor, "h r"]
    distance: Float[Tensor, "h r"]
    kept_mass: Float[Tensor, "h r"]
    needle_mass: Float[Tensor, "h r"]
    visible: Int[Tensor, "h r"]
    l1_mass: Float[Tensor, "h r"]
    negative_mass: Float[Tensor, "h r"]

    def __getitem__(self, rows: Index) -> RowStats:
        """Some of the rows, in their order here."""
        return RowStats(**{k: v[:, rows] for k, v in vars(self).items()})

    def means(self) -> dict[str, Float[Tensor, " h"]]:
        """Each statistic averaged over the rows that see something (argmax left out)."""
        some = (self.visible > 0).double()
        total = some.sum(1).clamp_min(1)
        return {
            k: (v.double() * some).sum(1) / total for k, v in vars(self).items() if k != "argmax"
        }


def cat(parts: Sequence[RowStats], dim: int = 1) -> RowStats:
    """Statistics of consecutive rows (dim 1) or heads (dim 0) as one."""
    names = [f.name for f in dataclasses.fields(RowStats)]
    return RowStats(**{k: torch.cat([getattr(p, k) for p in parts], dim) for k in names})


def none(heads: int, device: torch.device) -> RowStats:
    """Statistics of no rows, (heads 0) each."""
    whole = {"argmax", "visible"}
    return RowStats(**{
        f.name: torch.zeros(
            heads, 0, dtype=torch.long if f.name in whole else torch.float64, device=device
        )
        for f in dataclasses.fields(RowStats)
    })  # fmt: skip


class Gathered:
    """Statistics of rows put in one place as they are found.

    Many small tensors that stay, among large ones that come and go, leave holes in memory that
    the next large one doesn't fit into: gigabytes, over a long text.
    """

    def __init__(self, rows: int) -> None:
        self.rows, self.found = rows, None

    def put(self, at: slice | Int[Tensor, " r"], part: RowStats) -> None:
        """Statistics of the rows at these places."""
        if self.found is None:
            self.found = RowStats(
                **{k: v.new_empty(len(v), self.rows) for k, v in vars(part).items()}
            )
        for name, values in vars(part).items():
            getattr(self.found, name)[:, at] = values

    def all(self) -> RowStats:
        """Of all rows, once each was put."""
        assert self.found is not None
        return self.found


def from_sums(
    *,
    total: Float[Tensor, "h r"],
    log: Float[Tensor, "h r"],
    square: Float[Tensor, "h r"],
    top: Float[Tensor, "h r k"],
    argmax: Int[Tensor, "h r"],
    sink: Float[Tensor, "h r"],
    needle: Float[Tensor, "h r"],
    distance: Float[Tensor, "h r"],
    kept: Float[Tensor, "h r"],
    visible: Int[Tensor, "h r"],
) -> RowStats:
    """Statistics from sums over e, weights up to a factor per row.

    total = Σe, log = Σ e ln e, square = Σe², top = the largest e (falling), sink, needle and
    distance likewise sums of e; kept = Σw, the row's true total.
    """
    some = total > 0
    z = torch.where(some, total, 1)

    def share(x: Tensor) -> Tensor:
        return torch.where(some, x / z, 0)

    entropy = torch.where(some, z.log() - log / z, 0).clamp_min(0)
    ln_n = visible.to(z.dtype).log()
    biggest = share(top[..., 0]).clamp_max(1)
    return RowStats(
        entropy=entropy,
        normalised_entropy=torch.where(visible > 1, entropy / ln_n, 0),
        effective_tokens=torch.where(some, entropy.exp(), 0),
        participation=torch.where(some, z * z / torch.where(some, square, 1), 0),
        max_weight=biggest,
        argmax=torch.where(some, argmax, -1),
        top_mass=share(top[..., :TOP].sum(-1)).clamp_max(1),
        sink_mass=share(sink),
        distance=share(distance),
        kept_mass=torch.where(some, kept, 0),
        needle_mass=share(needle),
        visible=visible,
        l1_mass=torch.where(some, kept, 0),
        negative_mass=torch.zeros_like(kept),
    )


def _of_key(
    w: Float[Tensor, "h r c"], cols: Index, keys: Int[Tensor, "*s c"], key: Int[Tensor, " r"]
) -> Float[Tensor, "h r"]:
    """Weight of one key a row; 0 where the row's columns don't hold it."""
    if not isinstance(cols, slice) or cols.step not in (None, 1):
        return inner(w, (keys == key[:, None]).to(w))
    place = key - keys[0]
    inside = (place >= 0) & (place < len(keys))
    found = w.gather(-1, torch.where(inside, place, 0).expand(len(w), -1)[..., None])[..., 0]
    return found.where(inside, 0)


def inner(w: Float[Tensor, "h r c"], x: Float[Tensor, "*s c"]) -> Float[Tensor, "h r"]:
    """Σ w x over columns; what heads share is not laid out for each."""
    if x.ndim == 1:
        return w @ x
    if x.ndim == 2:
        return (w.transpose(0, 1) @ x[..., None])[..., 0].T
    return (w * x).sum(-1)


def of_weights(
    weights: Float[Tensor, "h r c"], cols: Index, rows: Index, frame: Frame, kind: RowKind
) -> RowStats:
    """Statistics of explicit weights: all the non-zero weights of these rows.

    cols are key positions: a slice, (c), or (h r c) with −1 as padding.
    """
    at = index(rows, frame.n, weights.device)
    near = NEAR if weights.device.type == "cpu" else 2**6 * NEAR
    high = max(1, near // (len(weights) * weights.shape[-1]))
    if len(at) > high:
        parts = []
        for start in range(0, len(at), high):
            part = slice(start, start + high)
            own = cols[:, part] if isinstance(cols, Tensor) and cols.ndim == 3 else cols
            parts.append(of_weights(weights[:, part], own, at[part], frame, kind))
        return cat(parts)
    w = weights.double()
    keys = cols if isinstance(cols, Tensor) and cols.ndim == 3 else index(cols, frame.m, w.device)
    count, first = frame.seen(at)
    size, unit = weights.abs() if kind == "signed" else weights, None
    top, place = size.topk(min(TOP, w.shape[-1]), dim=-1)
    largest = top[..., :1].to(w)
    extreme = (largest > FAR) | ((largest > 0) & (largest < 1 / FAR))
    if kind != "signed" and bool(extreme.any()):
        unit = torch.where(extreme, largest, 1)
        w, top = w / unit, top / unit
        size = w
    here, kept = at + frame.offset, w.sum(-1)
    if frame.causal:  # no later key has a weight
        distance = kept * here - inner(w, keys.to(w))
        distance = distance if kind == "signed" else distance.clamp_min(0)
    else:
        distance = inner(w, (keys - here[:, None]).abs().to(w))
    needle = torch.zeros_like(w[..., 0])
    if frame.needles is not None:
        needle = inner(w, torch.isin(keys, frame.needles.to(w.device)).to(w))
    total = size.sum(-1, dtype=w.dtype) if kind == "signed" else kept
    argmax = place[..., 0]
    argmax = keys.gather(-1, argmax[..., None])[..., 0] if keys.ndim == 3 else keys[argmax]
    sums = {
        "total": total,
        "top": top.to(w),
        "argmax": argmax,
        "sink": _of_key(w, cols, keys, first),
        "needle": needle,
        "distance": distance,
        "kept": kept if unit is None else kept * unit[..., 0],
        "visible": count.expand(w.shape[:2]),
    }
    if kind != "signed":
        # half the time of xlogy: w ln w is 0 at 0 whatever finite logarithm stands there
        log = (w.clamp_min(torch.finfo(w.dtype).tiny).log_() * w).sum(-1)
        return from_sums(**sums, log=log, square=torch.linalg.vector_norm(w, dim=-1).square())
    nan = torch.full_like(needle, torch.nan)
    return RowStats(
        entropy=nan, normalised_entropy=nan, effective_tokens=nan, participation=nan,
        max_weight=w.amax(-1), argmax=argmax.where(total > 0, -1),
        top_mass=sums["top"].sum(-1), sink_mass=sums["sink"],
        distance=sums["distance"], kept_mass=sums["kept"], needle_mass=needle,
        visible=sums["visible"], l1_mass=total, negative_mass=(total - kept).clamp_min(0) / 2,
    )  # fmt: skip
