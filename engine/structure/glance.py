"""What a mechanism did to one row, as one small picture: a closed union, each from a view."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce, singledispatch
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract.views import (
    Bias,
    Buckets,
    Factors,
    Index,
    Levels,
    Memory,
    Routing,
    Segments,
)
from engine.measure.cells import Cells
from engine.mechanisms.delta import Delta
from engine.mechanisms.routing import Mixture
from engine.structure import memory
from engine.structure.overlay import Overlay, overlay
from engine.structure.shown import Shown

BARS = 6
"""Largest weights that have a bar of their own."""
LANE = 96
"""Cells along a path, and points of a curve."""
SIDE, THIN = 32, 16
"""Cells along the long side of a factor and along its short one."""


@dataclass(frozen=True)
class Bars:
    """The row's largest weights, beside full attention's.

    Attributes:
        keys: their positions, by the larger of the two weights, falling. before, after: under
            full attention and here; before is () where this is full attention.
        rest: what all other keys have together, before and after. others: how many there are.
    """

    keys: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    rest: tuple[float, float]
    others: int


@dataclass(frozen=True)
class Map:
    """The head's map, with borders and boxes.

    Attributes:
        kind: "segments", "memory", "blocks", or "window" where there is nothing but what is seen.
    """

    kind: str
    overlay: Overlay


@dataclass(frozen=True)
class Piles:
    """Keys sorted into groups.

    Attributes:
        kind: "buckets", "clusters" or "slots". count: groups there are.
        groups: each key's, −1 for none. own: the row's, −1 where it has none or reads all.
        round, rounds: of hashing: the one that is shown, in which the row's own bucket has most
            of its weight, from 0, and how many there are.
    """

    kind: str
    count: int
    groups: tuple[int, ...]
    own: int
    round: int = 0
    rounds: int = 1


@dataclass(frozen=True)
class Tree:
    """How the row is shared out, level by level, the coarsest first.

    Attributes:
        names: ids of the levels. spans: of each level, its units' keys, half-open. mass: of each
            level, what the row gives to each unit.
    """

    names: tuple[str, ...]
    spans: tuple[tuple[tuple[int, int], ...], ...]
    mass: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Lanes:
    """Several ways to look, mixed.

    Attributes:
        names: ids. shares: what each takes in the row's mixture. cells: each way's own weights
            along the row's keys, in at most LANE cells of equal width, added up.
    """

    names: tuple[str, ...]
    shares: tuple[float, ...]
    cells: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Votes:
    """Heads and the capsules that they agree on.

    Attributes:
        head: the chosen one. coupling: of each head, its shares of the capsules. length: of the
            capsules, 0 … 1. kept: what is left of the row.
    """

    head: int
    coupling: tuple[tuple[float, ...], ...]
    length: tuple[float, ...]
    kept: float


@dataclass(frozen=True)
class Fade:
    """What distance leaves of a key.

    Attributes:
        kind: "bias", a factor on the weight before the row is normalised, or "decay", on what was
            written. back: distances from the query, tokens, rising. left: 0 … 1.
    """

    kind: str
    back: tuple[int, ...]
    left: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Thin:
    """A map of low rank between its two factors, each cell the sum of what it stands for.

    Attributes:
        rank: of the map. left: (a r), over the largest of its row, and right: (r b), −1 … 1.
    """

    rank: int
    left: Float[Tensor, "a r"]
    right: Float[Tensor, "r b"]


Glance = Bars | Map | Piles | Tree | Lanes | Votes | Fade | Thin


def glance(shown: Shown) -> Glance:
    """The picture that tells most of what was done to the chosen row."""
    for view in shown.att.views:
        if (found := of(view, shown)) is not None:
            return found
    if isinstance(shown.mechanism, Delta):
        return _written(shown.mechanism, shown)
    mechanism = shown.mechanism
    if mechanism is not None and mechanism.selects and mechanism.sizes:
        return Map("window", Overlay("window"))
    return bars(shown)


def bars(shown: Shown) -> Bars:
    """The largest weights of the row."""
    here = shown.here()
    before, after = shown.full().weights(here)[0, 0].cpu(), shown.weights(here)[0].cpu()
    seen = shown.seen(here)[0].cpu()
    size = torch.maximum(before, after.abs())
    most = min(BARS, int(seen.sum()))
    keys = size.masked_fill(~seen, -1).topk(most).indices
    first = bool(shown.mechanism and shown.mechanism.key == "softmax")
    return Bars(
        keys=tuple(keys.tolist()),
        before=() if first else tuple(before[keys].tolist()),
        after=tuple(after[keys].tolist()),
        rest=(
            max(0.0, float(before.sum() - before[keys].sum())),
            float(after.sum() - after[keys].sum()),
        ),
        others=int(seen.sum()) - most,
    )


@singledispatch
def of(view: Any, shown: Shown) -> Glance | None:
    """What one view is of the chosen row; None if something else tells more."""
    return None


def _mapped(shown: Shown) -> Map | None:
    found = overlay(shown.att, shown.head)
    return None if found is None else Map(found.kind, replace(found, bands=()))


@of.register
def _(view: Segments, shown: Shown) -> Map | None:
    return _mapped(shown)


@of.register
def _(view: Buckets, shown: Shown) -> Piles:
    groups, own = view.ids[shown.head], view.queries[shown.head, :, shown.row]
    inside = (groups == own[:, None]).to(torch.float32) @ shown.weights(shown.here())[0].float()
    best = int(inside.argmax())
    found = tuple(groups[best].tolist())
    return Piles("buckets", view.count, found, int(own[best]), best, view.rounds)


@of.register
def _(view: Memory, shown: Shown) -> Glance | None:
    if view.slots is None or shown.qkv is None:
        return _mapped(shown)
    held = memory.Scene(view, shown, shown.qkv).held(view.slots)
    count = view.slots.held.shape[-1]
    return Piles("slots", count, tuple(held.tolist()), -1)


@of.register
def _(view: Routing, shown: Shown) -> Glance | None:
    if view.kind == "blocks" or view.probabilities is None:
        return _mapped(shown)
    share = view.probabilities[shown.head, shown.row]
    if view.kind == "clusters" and view.labels is not None:
        own = int(share.argmax()) if float(share.max()) > 0 else -1
        return Piles("clusters", len(share), tuple(view.labels[shown.head].tolist()), own)
    whole = shown.att.whole
    if isinstance(whole, Mixture):
        rows = [shown.alike(way).weights(shown.here())[shown.head, 0] for way in whole.ways]
        upto = shown.row + shown.att.frame.offset + 1
        cells = tuple(tuple(pooled(w[:upto], LANE).tolist()) for w in rows)
        return Lanes(view.names, tuple(share.tolist()), cells)
    if view.presence is not None:
        coupling = tuple(tuple(x) for x in view.probabilities[:, shown.row].tolist())
        length = view.presence[shown.row]
        return Votes(shown.head, coupling, tuple(length.tolist()), float((share * length).sum()))
    return None


@of.register
def _(view: Index, shown: Shown) -> Bars:
    return bars(shown)


@of.register
def _(view: Levels, shown: Shown) -> Tree:
    w = shown.weights(shown.here())[0].double().cpu()
    until = torch.cat([w.new_zeros(1), w.cumsum(0)])
    names, spans, mass = [], [], []
    for name, units in view.units.items():
        units = units.cpu()
        names.append(name)
        spans.append(tuple((a, b) for a, b in units.tolist()))
        mass.append(tuple((until[units[:, 1]] - until[units[:, 0]]).clamp_min(0).tolist()))
    return Tree(tuple(names), tuple(spans), tuple(mass))


@of.register
def _(view: Bias, shown: Shown) -> Fade | None:
    past = (view.distance >= 0) & (view.distance <= shown.row + shown.att.frame.offset)
    back, value = view.distance[past].cpu(), view.value[shown.head, past].double().cpu()
    known = value.isfinite()
    if not known.any():
        return None
    back, value = back[known], value[known]
    return _fade("bias", back, (value - value.max()).exp())


def _written(mechanism: Delta, shown: Shown) -> Glance:
    """How much of what each token wrote is there still, for all that was written since."""
    if shown.qkv is None:
        return bars(shown)
    decay = mechanism.gates(shown.qkv)[0][shown.head].cpu()
    at = min(max(shown.row + shown.att.frame.offset, 0), len(decay) - 1)
    until = decay[: at + 1].cumsum(0)
    left = (until[at] - until).exp().flip(0)
    return _fade("decay", torch.arange(at + 1), left)


def _fade(kind: str, back: Int[Tensor, " k"], left: Float[Tensor, " k"]) -> Fade:
    at = torch.linspace(0, len(back) - 1, min(LANE, len(back))).long()
    return Fade(kind, tuple(back[at].tolist()), tuple(left[at].tolist()))


@of.register
def _(view: Factors, shown: Shown) -> Thin:
    first, *others = (x.float().cpu() for x in view.factors(shown.head).values())
    right = reduce(torch.matmul, others)
    left = pooled(pooled(first, THIN).mT, SIDE).mT
    right = pooled(pooled(right, SIDE).mT, THIN).mT
    sizes = left.abs().amax(1, keepdim=True), right.abs().max()
    left, right = (x / size.clamp_min(1e-30) for x, size in zip((left, right), sizes, strict=True))
    return Thin(view.rank, left, right)


def pooled(x: Tensor, most: int) -> Tensor:
    """The last axis added up in at most so many cells of equal width, the last one ragged."""
    return Cells(0, x.shape[-1], most).reduce(x, 0, -1, "sum")[1]
