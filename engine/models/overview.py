"""Every head of a model at once: a small map of each, and what each does in numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engine.measure.attention import Attention
from engine.measure.patterns import PATTERNS
from engine.models import finder
from engine.models.finder import Head
from engine.models.trace import Trace
from engine.models.view import View

CELLS = 96  # a side of one head's map


@dataclass(frozen=True, eq=False)
class Layer:
    """The heads of one layer.

    Attributes:
        name, part: of the layer, as the model calls it.
        maps: of every head, max-pooled, (h a b). groups: of heads that share their keys.
        signed: weights may be below 0, and heads have no scores then.
        scores: by name (measure.patterns) and "effective", effective tokens; a number a head.
    """

    name: str
    part: str
    maps: Float[Tensor, "h a b"]
    groups: int
    signed: bool
    scores: dict[str, list[float]]

    @property
    def heads(self) -> int:
        """How many there are."""
        return len(self.maps)


def overview(
    trace: Trace | View, cells: int = CELLS, on_layer: Callable[[int], None] | None = None
) -> list[Layer]:
    """All layers of what a model made of a text or an image, if it kept them all.

    Args:
        cells: a side of one map, at most. on_layer: told how many are done; what it raises ends
            it.
    """
    found = []
    for i in range(trace.layers):
        att = trace.attention(i)
        made = att.summary(cells, ("max",), output=False)
        signed = att.row_kind == "signed"
        heads = att.frame.heads
        if signed:
            scores = blank(heads)
        elif isinstance(trace, View):
            scores = blank(heads) | of_patches(trace, att)
        else:
            each = finder.of_layer(trace, i, att)
            scores = {name: [head.scores[name] for head in each] for name in PATTERNS}
        scores["effective"] = made.rows.means()["effective_tokens"].tolist()
        groups = heads if trace.weights_only is not None else trace.layer(i).groups
        found.append(
            Layer(trace.names[i], trace.parts[i], made.maps["max"].cpu(), groups, signed, scores)
        )
        if on_layer is not None:
            on_layer(i + 1)
    return found


def blank(heads: int) -> dict[str, list[float]]:
    """No head has a score."""
    return {name: [float("nan")] * heads for name in PATTERNS}


def of_patches(view: View, att: Attention) -> dict[str, list[float]]:
    """What is told of each head over an image, means over the patches' rows.

    sink: weight on the first position, if that is no patch (the class token). Of the weight that
    patches get, brought back to 1: entropy, over the logarithm of their number, and distance, in
    patches, |Δrow| + |Δcolumn|.
    """
    lead = len(view.model.leading)
    patches = torch.arange(lead, att.frame.n)
    sums = torch.zeros(3, att.frame.heads, dtype=torch.float64)
    for rows in patches.split(max(1, finder.ROWS * 1024 // (att.frame.heads * att.frame.m))):
        w = att.weights(rows.to(att.device)).double().cpu()
        v = w[..., lead:] / w[..., lead:].sum(-1, keepdim=True).clamp_min(1e-300)
        sums[0] += w[..., 0].sum(1)
        sums[1] += torch.special.entr(v).sum((1, 2)) / torch.tensor(max(2, len(patches))).log()
        sums[2] += (v * view.grid.walk(rows, patches)).sum((1, 2))
    sink, entropy, distance = (sums / len(patches)).tolist()
    return ({"sink": sink} if lead else {}) | {"entropy": entropy, "distance": distance}


def heads_of(layers: Sequence[Layer]) -> list[Head]:
    """Every head with its scores, in the model's order; those without scores left out."""
    return [
        Head(i, one.name, one.part, h, {name: one.scores[name][h] for name in PATTERNS})
        for i, one in enumerate(layers)
        if not one.signed
        for h in range(one.heads)
    ]
