"""Closed forms of rows with a needle, at any length."""

import numpy as np
import pytest

from engine.dilution import theory
from engine.dilution.closed_forms import Setting, closed_form, sharpness
from tests.refusals import refused


def test_closed_forms_are_the_theorys() -> None:
    n = np.array([64.0, 1024.0])
    setting = Setting(gap=5.0, noise=0.4, start=64)
    plain = closed_form("softmax", "needle_mass", n, setting)
    assert plain == pytest.approx(theory.needle_mass(n, 5.0, 0.4).tolist())
    scaled = closed_form("ssmax", "needle_mass", n, setting)
    assert scaled[0] == pytest.approx(plain[0]) and (scaled[1] or 0) > (plain[1] or 1)
    frozen = closed_form("softmax", "entropy", np.array([16.0]), Setting(noise=3.0))
    assert frozen == [None]
    with refused(match="closed form"):
        sharpness("window", n, setting)
