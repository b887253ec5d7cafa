"""Every head of a model at once: a small map of each, and what each does in numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from engine.measure.patterns import PATTERNS
from engine.models import finder
from engine.models.finder import Head
from engine.models.trace import Trace

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
    trace: Trace, cells: int = CELLS, on_layer: Callable[[int], None] | None = None
) -> list[Layer]:
    """All layers of a trace that kept them all.

    Args:
        cells: a side of one map, at most. on_layer: told how many are done; what it raises ends
            it.
    """
    found = []
    for i in range(trace.layers):
        att = trace.attention(i)
        made = att.summary(cells, ("max",))
        signed = att.row_kind == "signed"
        heads = att.frame.heads
        if signed:
            scores = {name: [float("nan")] * heads for name in PATTERNS}
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


def heads_of(layers: Sequence[Layer]) -> list[Head]:
    """Every head with its scores, in the model's order; those without scores left out."""
    return [
        Head(i, one.name, one.part, h, {name: one.scores[name][h] for name in PATTERNS})
        for i, one in enumerate(layers)
        if not one.signed
        for h in range(one.heads)
    ]
