"""What a mechanism did on one row, in numbers: by its views, else by how the row's weights moved
away from where full attention has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import RowKind
from engine.contract.views import (
    Bias,
    Erasure,
    Factors,
    Levels,
    Memory,
    Octaves,
    Returns,
    Routing,
    Stick,
)
from engine.structure import beside
from engine.structure.shown import Shown

SAME = 0.0005
"""Of a row's weight: what is moved is nothing to speak of."""
FIRM = 0.03
"""By how much a row's sum, or its largest weight, differs from full attention's to be told."""
SPENT = 0.01
"""Of a stick: less than this is nothing to speak of."""


@dataclass(frozen=True)
class Deed:
    """One thing that was done.

    Attributes:
        kind: what: its words are `sentence.<kind>`. shares: of a whole. keys: positions of keys.
        numbers: counts and sizes. routes: ids or numbers of routes, and their shares.
    """

    kind: str
    shares: dict[str, float] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    routes: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Step:
    """One step down to a key: the unit start:stop, and its share of what the one above has."""

    level: str
    start: int
    stop: int
    share: float


def path(weights: Float[Tensor, " m"], view: Levels) -> tuple[Step, ...]:
    """The way down to the row's heaviest key; the shares' product is its part of the row."""
    weights = weights.double().cpu()
    key, above, steps = int(weights.argmax()), float(weights.sum()), []
    for level, spans in view.units.items():
        unit = int(torch.searchsorted(spans[:, 1].cpu().contiguous(), key, right=True))
        start, stop = spans[unit].tolist()
        mass = float(weights[start:stop].sum())
        steps.append(Step(level, start, stop, mass / above if above else 0.0))
        above = mass
    return tuple(steps)


def deed(shown: Shown, weights: Float[Tensor, " m"], full: Float[Tensor, " m"] | None) -> Deed:
    """What was done on the chosen row.

    Args:
        weights: the row's. full: full attention's, None where nothing can be set against it.
    """
    for view in shown.att.views:
        if (found := did(view, shown, weights, full)) is not None:
            return found
    if full is None:
        return Deed("")
    return moved(weights, full, shown.att.row_kind)


def moved(weights: Float[Tensor, " m"], full: Float[Tensor, " m"], kind: RowKind) -> Deed:
    """How a row differs from full attention's."""
    change = weights - full
    to, away, top = int(change.argmax()), int(change.argmin()), int(full.argmax())
    shares = {
        "lost": float((-change).clamp_min(0).sum()), "sum": float(weights.sum()),
        "more": float(change[to]), "less": float(-change[away]), "before": float(full[top]),
        "after": float(weights[top]), "rest": 1 - float(weights.sum()),
        "negative": float(-weights[weights < 0].sum()),
    }  # fmt: skip
    keys = {"to": to, "away": away, "key": top}
    numbers = {
        "zeros": int(((weights == 0) & (full > 0)).sum()), "visible": int((full > 0).sum()),
        "below": int((weights < 0).sum()),
    }  # fmt: skip
    shares["zeroed"] = float(full[weights == 0].sum())
    if kind == "signed":
        name = "subtracted"
    elif shares["lost"] < SAME and abs(shares["rest"]) < SAME:
        name = "same"
    elif kind == "substochastic" and shares["rest"] > SAME:
        name = "unspent"
    elif kind == "positive":
        name = "overspent" if shares["rest"] < -FIRM else "unspent"
    elif numbers["zeros"]:
        name = "zeroed"
    elif int(weights.argmax()) == top and abs(shares["after"] - shares["before"]) > FIRM:
        name = "sharper" if shares["after"] > shares["before"] else "flatter"
    else:
        name = "moves"
    return Deed(name, shares, keys, numbers)


@singledispatch
def did(
    view: Any, shown: Shown, weights: Float[Tensor, " m"], full: Float[Tensor, " m"] | None
) -> Deed | None:
    """What one view says was done; None where that is better said of the weights."""
    return None


@did.register
def _(view: Bias, shown: Shown, weights: Tensor, full: Tensor | None) -> Deed | None:
    half = None if shown.att.frame.grid else beside.halved(view, shown.head)
    if half is None or full is None:
        return None
    away = (shown.row + shown.att.frame.offset - torch.arange(len(weights))).abs()
    near = away < half
    shares = {"near": float(weights[near].sum()), "near_full": float(full[near].sum())}
    return Deed("gates" if view.kind == "forgetting" else "bias", shares, numbers={"half": half})


@did.register
def _(view: Factors, shown: Shown, weights: Tensor, full: Tensor | None) -> Deed | None:
    lost = 0.0 if full is None else float((full - weights).clamp_min(0).sum())
    if full is None or shown.att.row_kind == "signed":  # which may be anywhere, and is no share
        return Deed("factors", numbers={"rank": view.rank})
    return Deed("factors_lost", {"lost": lost}, numbers={"rank": view.rank})


@did.register
def _(view: Memory, shown: Shown, weights: Tensor, full: Tensor | None) -> Deed | None:
    at = shown.row + shown.att.frame.offset
    begin = max(0, at // view.segment * view.segment)
    if view.slots is None or full is None:
        return None
    if not begin:
        return Deed("slots_none")
    held = beside.holding(view, shown.att.frame, shown.head, at // view.segment)
    used = held[held >= 0]
    shares = {"far": float(weights[:begin].sum()), "far_full": float(full[:begin].sum())}
    return Deed("slots", shares, numbers={"slots": len(used.unique()), "held": len(used)})


@did.register
def _(view: Returns, shown: Shown, weights: Tensor, full: Tensor | None) -> Deed | None:
    memory = shown.att.view(Memory)
    begin = max(0, shown.row + shown.att.frame.offset) // memory.segment * memory.segment
    if full is None:
        return None
    if not begin:
        return Deed("returned_none")
    return Deed(
        "returned",
        {"far": float(weights[:begin].sum()), "far_full": float(full[:begin].sum())},
    )


@did.register
def _(view: Octaves, shown: Shown, weights: Tensor, full: Tensor | None) -> Deed:
    level = view.level(shown.here())[0].cpu()
    names = torch.unique(level[level >= 0])
    if not len(names):
        return Deed("")
    mass = torch.stack([weights[level == name].double().sum() for name in names])
    most = int(mass.abs().argmax())
    return Deed(
        "octaves", {"most": float(mass[most])},
        numbers={"buckets": len(names), "keys": int((level == names[most]).sum())},
    )  # fmt: skip


@did.register
def _(view: Levels, shown: Shown, weights: Tensor, full: Tensor | None) -> Deed | None:
    steps = path(weights, view)
    if not float(weights.sum()):
        return None
    whole = 1.0
    for step in steps:
        whole *= step.share
    return Deed(
        "levels", {"whole": whole}, {"key": steps[-1].start},
        routes=tuple((step.level, step.share) for step in steps),
    )  # fmt: skip


@did.register
def _(view: Routing, shown: Shown, weights: Tensor, full: Tensor | None) -> Deed | None:
    if view.probabilities is None or view.kind not in ("paths", "capsules"):
        return None
    shares = view.probabilities[shown.head, shown.row].tolist()
    routes = tuple(zip(view.names or map(str, range(1, len(shares) + 1)), shares, strict=True))
    kept = {"sum": float(weights.sum())}
    rounds = 0 if view.iterations is None else len(view.iterations)
    return Deed(view.kind, kept, numbers={"rounds": rounds}, routes=routes)


@did.register
def _(view: Erasure, shown: Shown, weights: Tensor, full: Tensor | None) -> Deed | None:
    found = beside.mark(view, shown.att.frame, shown.head, shown.row)
    if found is None:
        return Deed("erased_none")
    key = {"key": found.key}
    return Deed("erased", {"erased": found.share, "kept": float(weights[found.key])}, key)


@did.register
def _(view: Stick, shown: Shown, weights: Tensor, full: Tensor | None) -> Deed | None:
    left = view.left(shown.here())[shown.head, 0].cpu()
    spent = (left <= SPENT).nonzero()[:, 0]
    at = shown.row + shown.att.frame.offset
    rest = 1 - float(weights.double().sum())
    if not len(spent):
        return Deed("stick_rest", {"rest": max(0.0, rest)})
    return Deed("stick", numbers={"keys": max(1, at - int(spent.max()) - 1)})
