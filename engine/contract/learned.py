"""What a mechanism fitted to a layer, and how faithful that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Fidelity:
    """How near a stand-in comes to full attention on the layer that it was fitted to.

    Attributes:
        measure: "r2" (held-out share of the scores' variance explained), "r2_position" (of what
            position adds to them), "captured_mass" or "output_error" (relative), the id of its
            words.
        value: (h) of the fit. random: (h) of random weights of the same shape, for contrast.
    """

    measure: str
    value: Float[Tensor, " h"]
    random: Float[Tensor, " h"]


@dataclass(frozen=True, eq=False)
class Learned:
    """Fitted weights by name, and how faithful they are."""

    weights: Mapping[str, Tensor]
    fidelity: Fidelity | None = None


def explained(
    target: Float[Tensor, "*h r c"],
    made: Float[Tensor, "*h r c"],
    seen: Bool[Tensor, "*s r c"],
) -> Float[Tensor, "*h"]:
    """R² of scores inside rows, over pairs seen; 0 where rows don't vary.

    What a row's scores share is left out on both sides, since it is nothing to a softmax.
    """
    each = seen.sum(-1, keepdim=True).clamp_min(1)

    def spread(x: Tensor) -> Tensor:
        x = x.double()
        x = (x - (x * seen).sum(-1, keepdim=True) / each) * seen
        return x.square().sum((-2, -1))

    whole = spread(target)
    return torch.where(whole > 0, 1 - spread(target - made) / whole.clamp_min(1e-300), 0.0).float()
