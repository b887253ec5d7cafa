"""What a row gives to each bucket of its past, whose sizes are powers of two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from engine.contract.views import Octaves
from engine.runtime.devices import array
from engine.structure.shown import Shown


@dataclass(frozen=True, eq=False)
class Buckets:
    """Of the chosen row, by bucket, the nearest first; (b) each.

    Attributes:
        first, last: positions of the nearest and furthest key. mass: weights' sum here. full:
            under full attention. factor: what its level counts.
    """

    first: np.ndarray
    last: np.ndarray
    mass: np.ndarray
    full: np.ndarray
    factor: np.ndarray


def buckets(view: Octaves, shown: Shown) -> Buckets:
    """Those that hold a key."""
    here = shown.here()
    level = view.level(here)[0]
    factor = view.factor[shown.head, shown.row]
    some = torch.unique(level[level >= 0])
    mine = level == some[:, None]  # (b m)
    w = shown.weights(here)[0].double()
    full = shown.full().weights(here)[0, 0].double()
    at = torch.arange(len(level), device=level.device)
    return Buckets(
        first=array(torch.where(mine, at, -1).amax(1)),
        last=array(torch.where(mine, at, len(level)).amin(1)), mass=array((mine * w).sum(1)),
        full=array((mine * full).sum(1)), factor=array(factor[some.clamp_max(len(factor) - 1)]),
    )  # fmt: skip
