"""What each branch of a gated sum brings to a row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from engine.contract.views import Parts
from engine.runtime.devices import array
from engine.structure.remedies import sample
from engine.structure.shown import Shown


@dataclass(frozen=True, eq=False)
class Branch:
    """Of the chosen row: how far its gate is open, the weights that it brings, the gate in them,
    (m), and their sum."""

    share: float
    weights: Float[Tensor, " m"]
    mass: float


def row(view: Parts, shown: Shown) -> dict[str, Branch]:
    """By the ids of their names."""
    assert view.shares is not None
    shares = view.shares[shown.head, shown.row].tolist()
    found = {}
    for (name, weights), share in zip(view.maps.items(), shares, strict=True):
        one = weights(shown.here())[shown.head, 0].float().cpu()
        if shown.att.hidden_keys is not None:
            one[shown.att.hidden_keys.cpu()] = 0
        found[name] = Branch(share, one, float(one.sum()))
    return found


def along(view: Parts, shown: Shown) -> tuple[np.ndarray, np.ndarray]:
    """Gates of the chosen head, (p r), of all rows, or an even sample of a longer text."""
    assert view.shares is not None
    at = sample(shown.att.frame.n, shown.row, shown.att.device)
    return array(at), array(view.shares[shown.head, at].mT)
