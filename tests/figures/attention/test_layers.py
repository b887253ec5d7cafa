"""All heads as one picture: each in its place, bands under groups, tints, numbers."""

import base64
import json
import struct
import zlib

import numpy as np
import pytest

from engine.figures.attention.layers import NUMBERED, layers
from engine.figures.base.theme import DARK, LIGHT, colour_at

EVIL = "<b>x"


def rgb(colour: str) -> list[int]:
    return [int(colour[k : k + 2], 16) for k in (1, 3, 5)]


def pixels(figure) -> np.ndarray:
    """The image of a figure, (rows cols 3)."""
    (image,) = figure.layout.images
    data = base64.b64decode(image.source.partition(",")[2])
    wide, high = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[start - 4 : start])
    raw = zlib.decompress(data[start + 4 : start + 4 + length])
    return np.frombuffer(raw, np.uint8).reshape(high, 1 + 3 * wide)[:, 1:].reshape(high, wide, 3)


def maps(heads: int, n: int = 6) -> np.ndarray:
    made = np.zeros((heads, n, n), np.float32)
    for h in range(heads):
        made[h, :, h % n] = 1  # a column of its own
    return made


def draw(*heads: int, **more):
    given = {
        "names": [f"{i}" for i in range(len(heads))],
        "theme": LIGHT,
        "axes": ("head", "layer"),
    }
    return layers([maps(h) for h in heads], **given | more)


def test_every_head_is_in_its_place():
    figure = draw(3, 2, facts=[[EVIL] * 3, [EVIL] * 2], chosen=(1, 0))
    (points,) = figure.data
    assert [tuple(x) for x in points.customdata] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    image = pixels(figure)
    place, full = image.shape[0] // 2, rgb(LIGHT.weight[-1])
    for i, h in points.customdata:
        own = image[i * place : (i + 1) * place, h * place : (h + 1) * place]
        dark = np.flatnonzero((own == full).all(-1).any(0))
        assert abs(dark.mean() / place - (h + 0.5) / 6) < 0.1  # the column of that head
    empty = image[place:, 2 * place :]
    assert (empty == rgb(LIGHT.paper)).all()
    (own,) = [x for x in figure.layout.shapes if x.line.color == LIGHT.accent]
    assert (own.x0 + own.x1, own.y0 + own.y1) == (0, 2)
    assert "<b>" not in json.dumps(figure.to_plotly_json(), default=str)


def test_heads_that_share_keys_are_joined_by_bands():
    figure = draw(4, 4, groups=[2, 4])
    image = pixels(figure)
    tints = [rgb(LIGHT.tints[k]) for k in (0, 1)]
    first, second = image[: len(image) // 2], image[len(image) // 2 :]
    columns = [np.flatnonzero((first == tint).all(-1).any(0)) for tint in tints]
    half = image.shape[1] / 2
    assert columns[0].max() < half <= columns[1].min()
    assert len(columns[0]) > 0.45 * image.shape[1]  # across the gap between two heads
    assert not any((second == tint).all(-1).any() for tint in tints)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_scores_are_tints_with_numbers_where_there_is_room(theme):
    shares = [[0.0, 1.0, float("nan")]]
    figure = draw(3, tints=shares, numbers=[["0%", "100%", "–"]], theme=theme)
    image = pixels(figure)
    place = image.shape[0]
    middles = [image[place // 2, h * place + place // 2].tolist() for h in range(3)]
    expected = [rgb(colour_at(theme.weight, x)) for x in (0, 1)]
    assert middles == [*expected, rgb(theme.paper)]
    assert list(figure.data[0].text) == ["0%", "100%", "–"]
    for colour, ground in zip(figure.data[0].textfont.color[:2], expected, strict=True):
        assert abs(sum(rgb(colour)) - sum(ground)) > 3 * 100
    many = [[0.5] * (NUMBERED + 1)]
    assert draw(NUMBERED + 1, tints=many, numbers=[["x"] * (NUMBERED + 1)]).data[0].text is None


def test_heads_that_are_off_are_crossed_out():
    lines = [x for x in draw(3, 3, off=[(1, 2)]).layout.shapes if x.type == "line"]
    assert len(lines) == 2
    assert all(1.5 < x.x0 < x.x1 < 2.5 and {x.y0, x.y1} == {0.55, 1.45} for x in lines)


def test_a_thousand_heads_are_one_image():
    figure = draw(*[32] * 32)
    assert len(figure.layout.images) == 1 and not figure.layout.shapes
    assert len(figure.data[0].x) == 1024 and max(pixels(figure).shape) <= 1600
