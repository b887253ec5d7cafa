"""What a temperature does to a row of softmax."""

from __future__ import annotations

import numpy as np

from engine.contract import params_of
from engine.runtime.devices import array
from engine.structure.shown import Shown


def row(shown: Shown) -> tuple[np.ndarray, float] | None:
    """The chosen row's logits at a temperature of 1, up to a constant, and the temperature that
    was chosen; None of a mechanism without one, or of a row that sees nothing."""
    mechanism = shown.mechanism
    if mechanism is None or "temperature" not in params_of(type(mechanism)):
        return None
    w = array(shown.full().weights(shown.here())[0, 0]).astype(float)
    w = w[w > 0]
    return (np.log(w), float(vars(mechanism)["temperature"])) if len(w) else None


def at(logits: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(logits / temperature), (m)."""
    e = np.exp((logits - logits.max()) / temperature)
    return e / e.sum()


def effective(w: np.ndarray) -> float:
    """e to the entropy."""
    return float(np.exp(-(w * np.log(np.maximum(w, 1e-300))).sum()))
