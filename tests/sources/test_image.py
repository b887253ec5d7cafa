"""Patches of an image as tokens: what is measured on them, their order, and distances of two."""

from __future__ import annotations

import io
from math import pi

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

import engine
from engine.contract.views import Bias
from engine.mechanisms import MECHANISMS
from engine.sources import images
from engine.sources.images import HEADS, Image, features, queries, squares, z_order
from engine.text.tree import Tree
from tests import oracle
from tests.refusals import refused

RED, GREEN, WHITE, BLACK = (1.0, 0, 0), (0, 1.0, 0), (1.0, 1, 1), (0, 0, 0)
SIDES = st.integers(1, 12)


def file(image: Pillow.Image, kind: str = "PNG", **more) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **more)
    return data.getvalue()


# -- features --------------------------------------------------------------------------------


def test_features_of_four_pixels_by_hand():
    """Red and green above white and black, a pixel a patch; beyond an edge it goes on alike."""
    found = features(np.array([[RED, GREEN], [WHITE, BLACK]]), 2, 2)
    assert found[:, :5].tolist() == [
        [1, 0, 0, 0, 0], [0, 1, 0, 0, 1], [1, 1, 1, 1, 0], [0, 0, 0, 1, 1],
    ]  # fmt: skip
    light = {"red": 0.2126, "green": 0.7152, "white": 1, "black": 0}
    right = {"above": (light["green"] - light["red"]) / 2, "below": -1 / 2}
    down = {"left": (light["white"] - light["red"]) / 2, "right": -light["green"] / 2}
    for i, (x, y) in enumerate(
        [(right["above"], down["left"]), (right["above"], down["right"]),
         (right["below"], down["left"]), (right["below"], down["right"])]
    ):  # fmt: skip
        size = x * x + y * y
        expected = [size**0.5, (x * x - y * y) / (size + 1e-4), 2 * x * y / (size + 1e-4)]
        torch.testing.assert_close(found[i, 5:], torch.tensor(expected).double())


def test_edges_tell_upright_from_level_and_from_none():
    step = np.zeros((8, 8, 3))
    step[:, 4:] = 1
    for pixels, straight in ((step, 1), (step.transpose(1, 0, 2), -1), (0 * step, 0)):
        found = features(pixels, 1, 1)[0, 5:]
        torch.testing.assert_close(
            found[1], torch.tensor(float(straight)).double(), atol=2e-3, rtol=0
        )
        assert found[2] == 0 and bool(found[0] > 0) == bool(straight)


def test_logits_are_the_mean_cosine_of_angles():
    raw = torch.randn(6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    raw[:, 4] = 3.0  # one column of patches: nothing to tell apart
    q = queries(raw, 10.0)
    z = ((raw - raw.mean(0)) / raw.std(0, correction=0)).nan_to_num(0).clamp(-2.5, 2.5)
    z[:, 4] = 0
    far = (z[:, None] - z) * pi / 5
    for head, part in enumerate(HEADS):
        expected = 10 * far[..., part].cos().mean(-1)
        torch.testing.assert_close(q[head] @ q[head].T / 4, expected)


@pytest.mark.parametrize("sample", images.DRAWINGS)
def test_rows_are_neither_flat_nor_single(sample):
    rows = engine.attend(engine.sources.image(sample=sample), "softmax").rows()
    assert rows.normalised_entropy.max() < 0.97 and rows.max_weight.max() < 0.8


def test_values_are_mean_colours_and_positions_are_named_by_row_and_column():
    source = Image(sample="chequers", grid=8)  # a patch a chequer
    qkv = source.make()
    grid = qkv.grid
    assert (qkv.heads, qkv.n, qkv.causal, grid.rows, grid.cols) == (4, 64, False, 8, 8)
    i = qkv.tokens.index("(8,2)")
    assert grid.place[i].tolist() == [7, 1]
    light, dark = torch.tensor([0xD9, 0xD9, 0xD4]) / 255, torch.tensor([0x8F, 0x94, 0x99]) / 255
    torch.testing.assert_close(qkv.v[:, i], light.expand(4, -1))
    torch.testing.assert_close(qkv.v[:, qkv.tokens.index("(1,2)")], dark.expand(4, -1))
    assert torch.equal(qkv.q, Image(sample="chequers", grid=8).make().q)


# -- an upload -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_upload_keeps_its_shape(kind):
    pixels = np.zeros((50, 100, 3), np.uint8)
    pixels[:, 50:] = (200, 40, 40)
    source = Image(grid=8, upload="0" * 16, data=file(Pillow.fromarray(pixels), kind))
    qkv = source.make()
    assert source.pixels.shape == (256, 512, 3)
    assert (qkv.grid.rows, qkv.grid.cols, qkv.n) == (4, 8, 32)
    colour = torch.tensor([200, 40, 40]) / 255
    torch.testing.assert_close(qkv.v[0, qkv.tokens.index("(2,7)")], colour, atol=0.02, rtol=0)


def test_clear_is_white_turned_is_upright_and_deep_greys_stay_apart():
    clear = Pillow.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (Image(grid=2, data=file(clear)).pixels == 1).all()
    turned = Pillow.new("RGB", (40, 20))
    exif = turned.getexif()
    exif[0x0112] = 6  # the camera stood on its side
    assert Image(grid=4, data=file(turned, "JPEG", exif=exif)).pixels.shape == (512, 256, 3)
    grey = Pillow.fromarray(np.array([[0, 0x4000], [0x8000, 0xFFFF]], np.uint16))
    seen = Image(grid=2, data=file(grey)).make().v[0, :, 0] * 255
    assert seen.round().tolist() == [0, 0x40, 0x80, 0xFF]


def test_what_is_no_image_or_too_large_is_refused(monkeypatch):
    good = file(Pillow.effect_noise((30, 20), 50))
    for data in (b"", b"text", good[:300], file(Pillow.new("RGB", (3, 3)), "GIF")):
        with refused("can't be read as a PNG or JPEG"):
            Image(data=data).make()
    with refused("uploaded image isn't here"):
        Image(upload="0" * 16).make()
    monkeypatch.setattr(images, "MOST_PIXELS", 599)
    with refused("30 × 20 pixels; at most 599"):
        Image(data=good).make()
    monkeypatch.setattr(images, "LARGEST", 2**20)
    with refused("larger than 1 MiB"):
        Image(data=bytes(2**20 + 1)).make()


# -- order, and what is near -----------------------------------------------------------------


@given(SIDES, SIDES)
def test_units_in_z_order_are_the_squares_of_a_quadtree(rows, cols):
    place = z_order(rows, cols)
    assert sorted(map(tuple, place.tolist())) == [(r, c) for r in range(rows) for c in range(cols)]
    levels = squares(place)
    for name, spans in levels.items():
        side = int(name.split("x")[0])
        inside = [place[a:b] // side for a, b in spans.tolist()]
        assert all((of == of[0]).all() for of in inside), "a unit is one square"
        assert len({tuple(of[0].tolist()) for of in inside}) == len(spans), "and all of it"
        assert len(spans) == -(-rows // side) * -(-cols // side)
    if levels:
        qkv = engine.QKV(*torch.zeros(3, 1, len(place), 1), units=levels)
        assert Tree.of(qkv.frame).names[:-1] == tuple(levels)[::-1]  # each of whole ones


def apart(qkv) -> torch.Tensor:
    """Rows and columns between patches, (n n 2), from their names."""
    at = np.array([eval(name) for name in qkv.tokens])
    return torch.from_numpy(np.abs(at[:, None] - at))


@pytest.mark.parametrize(("window", "sinks"), [(1, 0), (2, 0), (3, 5), (40, 0)])
def test_a_window_is_a_square(window, sinks):
    qkv = engine.sources.image(grid=7)
    seen = (apart(qkv).amax(-1) < window) | (torch.arange(49) < sinks)
    expected = oracle.softmax(qkv, pattern=seen)
    att = engine.attend(qkv, "window", window=window, sinks=sinks)
    torch.testing.assert_close(att.weights().double(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        att.output.double(), oracle.output(expected, qkv), atol=1e-5, rtol=1e-5
    )
    mixed = engine.attend(
        qkv, "combined", pattern="window", size=window, bias="none", scale="none"
    )  # fmt: skip
    band = oracle.softmax(qkv, pattern=apart(qkv).amax(-1) < window)
    torch.testing.assert_close(mixed.weights().double(), band, atol=1e-6, rtol=1e-5)


def test_alibi_counts_rows_and_columns():
    qkv = engine.sources.image(grid=6)
    far = apart(qkv).sum(-1)
    slope = torch.tensor([2.0 ** (-2 * h) for h in range(1, 5)]).double()
    z = oracle.logits(qkv) - slope[:, None, None] * far
    att = engine.attend(qkv, "relative")
    torch.testing.assert_close(att.weights().double(), z.softmax(-1), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        att.output.double(), oracle.output(z.softmax(-1), qkv), atol=1e-5, rtol=1e-5
    )
    view = att.view(Bias)
    assert view.distance.tolist() == list(range(11))
    torch.testing.assert_close(view.value.double(), -slope[:, None] * view.distance)
    assert view.pairs.tolist() == far.flatten().bincount().tolist()
    mean = torch.stack([z[:, far == k].mean(-1) for k in range(11)], 1)
    torch.testing.assert_close(view.logit.double(), mean, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("key", MECHANISMS)
def test_every_mechanism_equals_its_reference(key):
    qkv = engine.sources.image(grid=6)
    noise = torch.randn(qkv.q.shape, generator=torch.Generator().manual_seed(0))
    qkv = qkv.replace(q=qkv.q + noise / 4)  # patches on two sides of another would tie
    made = engine.make(key).suited(qkv.n).fit(qkv)
    torch.testing.assert_close(
        made.attend(qkv).weights().double(), made.reference(qkv), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("kind", ["rope", "t5", "shaw", "music"])
def test_positions_along_a_line_are_refused(kind):
    qkv = engine.sources.image(grid=2)
    for key, more in (("relative", {"kind": kind}), ("combined", {"bias": kind})):
        with refused(f"“{kind}” tells positions along one line"):
            engine.attend(qkv, key, **more)
