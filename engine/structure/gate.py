"""What a gate lets through of each row, and of its first key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.contract.views import Gate
from engine.runtime.devices import array
from engine.structure.remedies import sample
from engine.structure.shown import Shown


@dataclass(frozen=True, eq=False)
class Sink:
    """Rows of one head, (r) each: positions, how far the gate is open, and the weight on the
    first key that the row sees, before the gate and after it."""

    rows: np.ndarray
    open: np.ndarray
    before: np.ndarray
    after: np.ndarray


def sink(view: Gate, shown: Shown) -> Sink:
    """Of all rows, or an even sample of a longer text, the chosen one among them."""
    at = sample(shown.att.frame.n, shown.row, shown.att.device)
    stats = shown.att.whole.rows(at)
    opened = view.open[shown.head, at]
    before = stats.sink_mass[shown.head]
    return Sink(array(at), array(opened), array(before), array(before * opened.to(before)))
