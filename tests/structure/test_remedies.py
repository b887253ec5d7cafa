"""Numbers of one row under softmax's remedies."""

import numpy as np

from engine.structure.remedies import halves


def test_halves_hold_half():
    assert halves(np.array([0.1, 0.5, 0.4])) == 1
    assert halves(np.full(10, 0.1)) == 5
    assert halves(np.zeros(3)) == 0
