"""An index beside what it stands in for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.contract.views import Index
from engine.measure.cells import Cells
from engine.runtime.devices import array
from engine.structure.shown import ROWS, Shown

CELLS = 256
"""Stretches of blocks that a picture tells apart."""


@dataclass(frozen=True, eq=False)
class Beside:
    """Rows of one head, by block or stretch of blocks.

    Attributes:
        rows: (r) queries. wide: blocks in a cell. full: (r c) full attention's weight.
        index: (r c) softmax of what the index says. found, lost: (r) as in the view.
    """

    rows: np.ndarray
    wide: int
    full: np.ndarray
    index: np.ndarray
    found: np.ndarray
    lost: np.ndarray


def beside(view: Index, shown: Shown) -> Beside:
    """The chosen head's index beside full attention."""
    count = -(-shown.att.frame.m // view.size)
    cells, attention = Cells(0, count, CELLS), shown.full()
    full, index = [], []
    for part in view.rows.split(ROWS):
        weights = attention.weights(part)[0].double()
        weights = torch.nn.functional.pad(weights, (0, -weights.shape[-1] % view.size))
        full.append(_pooled(weights.unflatten(-1, (-1, view.size)).sum(-1), cells))
        said = view.score(part)[shown.head].softmax(-1).nan_to_num(0)
        index.append(_pooled(said, cells))
    return Beside(
        array(view.rows), cells.width, np.concatenate(full), np.concatenate(index),
        array(view.found[shown.head]), array(view.lost[shown.head]),
    )  # fmt: skip


def _pooled(x: Tensor, cells: Cells) -> np.ndarray:
    return array(cells.reduce(x, 0, -1, "sum")[1])
