"""Numbers in cells can be read on every colour of every scale."""

import numpy as np
import pytest

from engine.figures.base.theme import DARK, LIGHT, colour_at
from engine.figures.lessons.grid import luminance, numbers


def contrast(one: str, other: str) -> float:
    """Of WCAG 2: 1 … 21; from 4.5 on type of any size can be read."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("signed", [False, True])
def test_numbers_stand_out(theme, signed) -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    values = np.linspace(-2.0 if signed else 0.0, 2.0, 41)[None]
    shown = np.abs(values) > 0.01
    found = numbers(values, ".1f", 2.0, theme=theme, signed=signed, shown=shown, left=3, above=1)
    assert found.x[-1] == 43 and set(found.y) == {1} and found.text[-1] == "2.0"
    assert found.text[0] == ("−2.0" if signed else "0.1") and len(found.text) == 40
    stops = theme.signed if signed else theme.weight
    for x, ink in zip(found.x, found.textfont.color, strict=True):
        value = values[0, x - 3]
        cell = colour_at(stops, (value / 2 + 1) / 2 if signed else value / 2)
        assert contrast(ink, cell) > 4.5
