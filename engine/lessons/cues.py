"""Attention cues: a scene whose objects draw the eye by themselves, or by what is looked for.

Keys are an object's features, one-hot: colour, shape, size. Values are the numbers on the objects.
Shapes: n objects, f features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engine import mechanisms
from engine.contract import QKV, Refusal, one_of
from engine.measure.attention import Attention

FEATURES = {
    "colour": ("grey", "blue", "rose"),
    "shape": ("circle", "square", "triangle"),
    "size": ("small", "large"),
}
PLACES = [(kind, value) for kind, values in FEATURES.items() for value in values]
COUNT = 8
WITHOUT = ("average", "max", "fixed")
Wish = dict[str, str | None]
"""Of each kind of feature, what is looked for; None where it does not matter."""


@dataclass(frozen=True)
class Object:
    """One thing in the scene, with the number that it carries."""

    colour: str
    shape: str
    size: str
    value: float


def scene(seed: int = 0) -> list[Object]:
    """Eight objects, most of them grey; one, of a colour and a size of its own, stands out."""
    generator = torch.Generator().manual_seed(seed)

    def pick(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    odd, other = pick(COUNT), pick(COUNT - 1)
    other = (odd + 1 + other) % COUNT  # one more that is coloured, in another way
    colours, found = FEATURES["colour"][1:], []
    first = pick(2)
    for i in range(COUNT):
        colour = colours[first] if i == odd else colours[1 - first] if i == other else "grey"
        size = "large" if i == odd else ("small", "large")[pick(4) == 0]
        found.append(Object(colour, FEATURES["shape"][pick(3)], size, float(1 + pick(9))))
    return found


def keys(objects: list[Object]) -> Float[Tensor, "n f"]:
    """What each object shows: 1 where it has the feature."""
    return torch.tensor(
        [[float(getattr(one, kind) == value) for kind, value in PLACES] for one in objects],
        dtype=torch.float64,
    )


def salience(k: Float[Tensor, "n f"]) -> Float[Tensor, " n"]:
    """How unusual each object is among the others, in nats: the sum of −ln(share of objects that
    have the feature) over its features (self-information: Bruce & Tsotsos 2009)."""
    share = k.mean(0).clamp_min(1 / len(k))
    return -(k * share.log()).sum(1)


def goal(objects: list[Object]) -> str:
    """A colour to look for that is not that of what stands out most, if there is one: of the
    objects that are not grey, the colour of the one that stands out least, the last of equals.

    Raises:
        ValueError: there is no object.
    """
    if not objects:
        raise Refusal("a scene needs at least one object")
    loud = salience(keys(objects)).tolist()
    coloured = [i for i, one in enumerate(objects) if one.colour != "grey"]
    least = min(coloured or range(len(objects)), key=lambda i: (loud[i], -i))
    return objects[least].colour


def query(wish: Wish) -> Float[Tensor, " f"]:
    """1 for every feature that is looked for."""
    return torch.tensor([float(wish.get(kind) == value) for kind, value in PLACES]).double()


@dataclass(frozen=True, eq=False)
class Glance:
    """Where attention goes.

    Attributes:
        scores: before the softmax, (n). weights: (n). output: the weighted sum of the values.
        matches: of the wished features, how many each object has, (n).
    """

    scores: Float[Tensor, " n"]
    weights: Float[Tensor, " n"]
    output: float
    matches: Float[Tensor, " n"]


def attend(qkv: QKV, loud: Float[Tensor, " n"] | None) -> Attention:
    """Softmax over the keys, with salience added to each score where there is one."""
    if loud is None:
        return mechanisms.attend(qkv, "softmax")
    qkv = qkv.replace(bias=lambda rows, cols: loud[cols].expand(1, len(rows), -1))
    return mechanisms.attend(qkv, "softmax")


def look(
    objects: list[Object],
    wish: Wish | None,
    *,
    without: str = "fixed",
    strength: float = 3.0,
    pull: float = 0.0,
) -> Glance:
    """Look at a scene.

    Args:
        wish: the query; None is to look without one.
        without: what decides then: "average" (every object alike), "max" (the most salient alone)
            or "fixed" (a layer that knows no query: softmax of salience).
        strength: what a feature that is met adds to the score. pull: what a nat of salience adds.

    Raises:
        ValueError: there is no object, or no such way.
    """
    if not objects:
        raise Refusal("a scene needs at least one object")
    one_of("without", without, WITHOUT)
    k = keys(objects)
    v = torch.tensor([[[one.value] for one in objects]], dtype=torch.float64)
    q, loud = query(wish or {}), salience(k)
    if wish is not None:
        bias = pull * loud if pull else None
    else:
        sharp = {"average": 0.0, "fixed": 1.0, "max": 1e4}[without]
        bias = sharp * loud if sharp else None
    att = attend(QKV(q[None, None], k[None], v, scale=strength), bias)
    scores = strength * (k @ q) + (0 if bias is None else bias)
    if wish is None and without == "max":
        scores = loud
    return Glance(scores, att.weights()[0, 0], float(att.output), k @ q)


def standing_out(glance: Glance, most: float = 16.0) -> tuple[int, float]:
    """How many objects have the largest weight, and by how much their score lies above that of
    the others, taken together, `most` at most; none where all are alike."""
    best = glance.weights >= glance.weights.max() - 1e-9
    count, others = int(best.sum()), int((~best).sum())
    if not others:
        return 0, 0.0
    mass = float(glance.weights[best].sum())
    gap = math.log(max(mass / count, 1e-30) / max((1 - mass) / others, 1e-30))
    return count, round(min(gap, most), 4)
