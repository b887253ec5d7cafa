"""The Explore page on an image: every mechanism, an upload, and words that name patches."""

import json

import pytest

from engine.mechanisms import MECHANISMS
from engine.models.vision import load
from engine.sources import Image
from pages.ui.shared import contents
from tests.models.test_seeing import saved
from tests.models.test_vision import made
from tests.pages.conftest import Page
from tests.sources.test_image import Pillow, file

SMALL = {"source": "image", "s.grid": "4", "lang": "en"}


def shown(page: Page) -> list[dict]:
    """What the two pictures of the image are given: tinted, and as it is."""
    given = [json.loads(x.proto.bytes) for x in page.healthy().parts]
    return [x for x in given if "place" in x]


@pytest.mark.parametrize("key", MECHANISMS)
def test_every_mechanism_is_drawn_over_the_image(explore, key):
    page = explore(mechanism=key, query="3", **SMALL)
    tinted, plain = shown(page)
    assert (tinted["rows"], tinted["cols"], tinted["chosen"]) == (4, 4, 3)
    assert len(tinted["weights"]) == 16 and plain["weights"] is None
    assert tinted["place"][:4] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert any("patch in row 2, column 2" in words for words in page.words)
    assert any("No model reads the image" in words for words in page.words)


def test_positions_along_a_line_are_refused_in_words(explore):
    page = explore(mechanism="relative", **SMALL | {"lang": "zh", "m.kind": "rope"})
    (said,) = [words for words in page.healthy().words if words.startswith("无法展示")]
    assert said == (
        "无法展示：“RoPE：旋转”只能区分一条线上的位置，而图像的图块排成行和列：请选择“ALiBi：线性惩罚”。"
    )


def test_what_the_window_reads_is_laid_out_as_the_image(explore):
    page = explore(mechanism="window", query="0", **SMALL | {"m.window": "2", "m.sinks": "0"})
    (text,) = [x.proto.body for x in page.test.get("html") if 'class="tinted"' in x.proto.body]
    assert "repeat(4, 1fr)" in text
    cells = text.split('class="cells"')[1].split("<span ")[1:]
    assert [i for i, cell in enumerate(cells) if "tint-0" in cell] == [0, 1, 4, 5]


def test_an_upload_is_named_by_its_digest_and_a_drawing_takes_its_place(explore):
    data = file(Pillow.new("RGB", (40, 20), (10, 200, 30)))
    key = contents.keep(data, "mine.png")
    page = explore(**SMALL, **{"s.upload": key}).healthy()
    (tinted, _) = shown(page)
    assert (tinted["rows"], tinted["cols"]) == (2, 4)
    assert tinted["image"].startswith("data:image/jpeg;base64,")
    box = page.test.selectbox(key="source_params.image.sample.en")
    assert box.value == "upload"
    box.set_value("chequers").run()
    assert page.said == SMALL | {"s.sample": "chequers", "model": page.said["model"]}
    assert shown(page)[0]["image"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("data", [b"no image", None])
def test_an_upload_that_cannot_be_read_or_is_gone(explore, data):
    key = "0" * 16 if data is None else contents.keep(data, "mine.png")
    page = explore(**SMALL | {"lang": "zh"}, **{"s.upload": key}).healthy()
    about = "无法将该文件读作 PNG 或 JPEG 图像" if data else "已不在本服务器上"
    assert any(about in words for words in page.words), page.words


def test_heads_are_named_by_what_they_compare(explore):
    page = explore(**SMALL, head="0").healthy()
    (heads,) = [g for g in page.test.get("button_group") if g.key == "choose-head"]
    assert [o.content for o in heads.proto.options][1:] == [
        "0 colour", "1 position", "2 edges", "3 all three",
    ]  # fmt: skip
    assert page.spec.source_arguments()["grid"] == 4 and Image(grid=4).make().heads == 4


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A small random image encoder with a class token and registers, as a folder."""
    folder = tmp_path_factory.mktemp("seer")
    made("registers", folder)
    return str(folder)


@pytest.mark.parametrize("key", MECHANISMS)
def test_every_mechanism_is_drawn_over_what_an_encoder_reads(explore, encoder, key):
    page = explore(source="image", lang="en", mechanism=key, **{"s.encoder": encoder})
    tinted, plain = shown(page)
    assert (tinted["rows"], tinted["cols"]) == (4, 4) and plain["weights"] is None
    assert tinted["place"][:6] == [[-1, -1]] * 5 + [[0, 0]]
    assert tinted["names"] == ["[CLS]", "[REG1]", "[REG2]", "[REG3]", "[REG4]"]
    assert tinted["image"].startswith("data:image/png;base64,")
    assert any("scaled and cut to its size" in words for words in page.words)


def test_an_encoders_layers_are_chosen_and_its_own_weights_shown(explore, encoder):
    page = explore(
        source="image", lang="en", layer="1", head="2", query="7", **{"s.encoder": encoder}
    ).healthy()
    view = load(encoder, "cpu").view(Image().pixels)
    expected = view.attention(1).weights()[2, 7]
    assert shown(page)[0]["weights"] == pytest.approx(expected.tolist(), rel=1e-3)
    layers, heads = (
        [o.content for group in page.test.get("button_group") if group.key == f"choose-{name}"
         for o in group.proto.options]
        for name in ("layer", "head")
    )  # fmt: skip
    assert layers == ["0", "1"] and heads[1:] == ["0", "1", "2"]
    assert any("patch in row 2, column 1" in words for words in page.words)


def test_what_is_no_encoder_is_refused_in_words(explore):
    page = explore(source="image", lang="zh", **{"s.encoder": "tiny"}).healthy()
    assert any("不读取图像" in words for words in page.words), page.words


def test_all_heads_of_an_encoder_are_seen_at_once_and_open_in_explore(page, encoder):
    opened = page("models", source="image", lang="en", **{"s.encoder": encoder}).healthy()
    (chart,) = opened.figures
    assert len(chart["data"][0]["customdata"]) == 6  # three heads in each of two layers
    assert any(words.startswith("6 heads in 2 layers") for words in opened.words)
    box = opened.test.selectbox(key="models-shows.en")
    groups = [group.key for group in opened.test.get("button_group")]
    assert len(box.options) == 5 and "models-part" not in groups
    box.select("distance").run()
    assert opened.healthy().said["models-shows"] == "distance"
    opened.test.button(key="open-sink").click().run()
    spec = opened.held("picture")
    assert spec.source == "image" and spec.encoder == encoder
    assert spec.layer in (0, 1) and isinstance(spec.head, int)


@pytest.mark.parametrize(("given", "said"), [
    ({"source": "image"}, "还没有模型读取这张图像"),
    ({"source": "planted"}, "模型读取文本或图像"),
])  # fmt: skip
def test_the_models_page_says_what_it_needs(page, given, said):
    opened = page("models", lang="zh", **given).healthy()
    assert any(words.startswith(said) for words in opened.words), opened.words


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A small random model of text and image, as a folder."""
    folder = tmp_path_factory.mktemp("reader")
    saved("llava", folder)
    return str(folder)


def test_an_image_is_read_beside_a_text_where_the_model_takes_one(explore, reader):
    given = {"text": "the quick fox", "model": reader, "lang": "en"}
    page = explore(**given).healthy()
    box = page.test.selectbox(key="choose-picture.en")
    assert box.value == "" and len(box.options) == 4
    box.set_value("house").run()
    assert page.healthy().said["picture"] == "house"
    assert any(b"[IMG16]" in x.proto.bytes for x in page.parts)
    assert page.test.get("image")
    data = file(Pillow.new("RGB", (40, 20), (10, 200, 30)))
    other = explore(**given, picture=contents.keep(data, "mine.png")).healthy()
    assert any(b"[IMG16]" in x.proto.bytes for x in other.parts)
    assert other.test.selectbox(key="choose-picture.en").value == "upload"


def test_an_image_for_a_model_of_texts_is_refused_in_words(explore):
    page = explore(text="the quick fox", picture="house", lang="zh").healthy()
    assert any("无法与图像一同读取" in words for words in page.words), page.words


def test_heads_are_seen_with_the_image_in_place(page, reader):
    given = {"text": "the quick fox", "model": reader, "picture": "chequers", "lang": "en"}
    opened = page("models", **given)
    assert any(words.startswith("8 heads in 2 layers") for words in opened.healthy().words)
    off = page("models", **given, **{"models-part": "off"}).healthy()
    assert any(b"[IMG1]" in x.proto.bytes for x in off.parts)
