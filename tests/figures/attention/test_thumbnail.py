"""One head's map as a small picture: what is dark, what is veiled, what is paper."""

import io

import numpy as np
import pytest
from PIL import Image

from engine.figures.attention.thumbnail import thumbnail
from engine.figures.base.theme import DARK, LIGHT, colour_at


def rgb(colour: str) -> list[int]:
    return [int(colour[k : k + 2], 16) for k in (1, 3, 5)]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("selects", [True, False])
def test_cells_are_what_they_say(theme, selects: bool) -> None:
    weights = np.array([[1.0, 0.0], [0.0, 0.25]], dtype=np.float32)
    seen = np.array([[True, False], [True, True]])
    png = thumbnail(weights, seen, theme, selects=selects)
    drawn = np.array(Image.open(io.BytesIO(png))).tolist()
    assert drawn[0] == [rgb(colour_at(theme.weight, 1)), rgb(theme.paper)]
    none = theme.grid if selects else colour_at(theme.weight, 0)
    half = colour_at(theme.weight, 127 / 255)  # the square root of a quarter
    assert drawn[1] == [rgb(none), rgb(half)]


def test_signs_have_colours_of_their_own() -> None:
    weights = np.array([[1.0, -1.0]], dtype=np.float32)
    png = thumbnail(weights, np.ones((1, 2), dtype=bool), LIGHT, signed=True)
    (drawn,) = np.array(Image.open(io.BytesIO(png))).tolist()
    assert drawn == [rgb(colour_at(LIGHT.signed, 1)), rgb(colour_at(LIGHT.signed, 0))]
