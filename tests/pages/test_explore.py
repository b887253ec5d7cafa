"""The Explore page: opens drawn, keeps what was chosen, and answers bad input with a sentence."""

import io
import json
import re

import numpy as np
import pytest
import torch

import engine
from engine.mechanisms import MECHANISMS
from engine.sources import SOURCES
from engine.spec.fields import LANGUAGES
from engine.spec.picture import LONGEST_TEXT
from pages.ui.server.desk import DESK
from pages.ui.shared import contents


def components(page):
    return [element.proto for element in page.parts]


@pytest.mark.parametrize("language", LANGUAGES)
def test_opens_drawn(explore, language):
    page = explore(lang=language).healthy()
    assert len(components(page)) == 2  # the picture and the text
    assert len(page.figures) == 6  # all heads, temperature (two), steps, groups, rows
    assert any("small" in words for words in page.words)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_mechanism_is_drawn_from_its_declaration(explore, mechanism):
    page = explore(mechanism=mechanism).healthy()
    assert page.spec.mechanism == mechanism
    keys = {
        w.key for kind in ("slider", "select_slider", "toggle") for w in getattr(page.test, kind)
    }
    keys |= {w.key for w in page.test.get("button_group")} | {w.key for w in page.test.selectbox}
    drawn = {key.removesuffix(".en") for key in keys if key}
    idle = engine.make(mechanism, **page.spec.arguments()).idle_on(causal=True)
    for name in page.spec.arguments():
        assert (f"params.{mechanism}.{name}" in drawn) == (name not in idle)


@pytest.mark.parametrize("more, there", [
    ({}, False), ({"sight": "both"}, True), ({"source": "image", "s.grid": "4"}, True),
])  # fmt: skip
def test_sinks_that_see_all_are_offered_where_they_change_something(explore, more, there):
    page = explore(mechanism="window", **more).healthy()
    assert ("params.window.whole" in {one.key for one in page.test.toggle}) == there


def test_what_was_fitted_is_kept_for_the_next_start(explore, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTENTION_EXPLORER_CACHE", str(tmp_path))
    where = {"mechanism": "routing", "text": "A text that no other test reads, for its fit."}
    first = explore(**where).healthy()
    assert len(list((tmp_path / "fits").iterdir())) == 1
    DESK.kept.clear()  # as after a restart

    def never(*_):
        raise AssertionError("fitted again")

    monkeypatch.setattr(MECHANISMS["routing"], "fit", never)
    again = explore(**where).healthy()
    assert _untimed(again) == _untimed(first)


def _untimed(page) -> list[str]:
    """What the page says, but for how long it took."""
    return [words for words in page.words if " ms for the output" not in words]


@pytest.mark.parametrize("source", SOURCES)
def test_made_sources_are_drawn(explore, source):
    explore(source=source, **{"s.n": "64"}).healthy()


def test_keys_without_names_are_tinted_cells_with_the_chosen_one_marked(explore):
    where = {"source": "planted", "s.n": "70", "mechanism": "lsh", "query": "40"}
    page = explore(**where).healthy()
    (text,) = [
        html.proto.body for html in page.test.get("html") if 'class="tinted"' in html.proto.body
    ]
    assert text.count('class="cells"') == 1 and text.count("<i>") == 3  # lines of 32
    assert text.count("title=") == 70 + 1  # and the legend's chosen query
    assert text.count(" chosen") == 2 and 'chosen" title="40 bucket' in text


def test_equal_keys_are_said_to_be_read_evenly(explore):
    page = explore(source="identical", query="255").healthy()
    words = "Token 255 attends evenly to all 256 tokens that it may see, 0.39% each."
    assert words in page.words
    assert any("256 tokens · 1 head" in words for words in page.words)


@pytest.mark.parametrize("where", [{}, {"source": "planted", "s.n": "300", "s.noise": "1"}])
def test_chinese_sentences_are_spaced(explore, where):
    page = explore(lang="zh", query="9", **where).healthy()
    said = [words for words in page.words if "有效词元数为" in words]
    assert len(said) == 1 and ("词元 9：" if where else "位置 9 的“") in said[0]
    for words in page.words:
        assert not re.search("[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9%][\u4e00-\u9fff]", words)


@pytest.mark.parametrize("head", ["all", "2"])
@pytest.mark.parametrize("colour", ["weight", "log", "uniform", "row"])
def test_views_are_drawn(explore, head, colour):
    page = explore(head=head, colour=colour, hide="0", group="blocks", block="8").healthy()
    assert any("renormalised" in words for words in page.words)


@pytest.mark.parametrize("mechanism", ["softmax", "hierarchical"])
def test_mass_by_unit_as_an_icicle(explore, mechanism):
    page = explore(mechanism=mechanism, grouping="icicle", lang="zh").healthy()
    assert any(trace["type"] == "icicle" for chart in page.figures for trace in chart["data"])
    assert any("单元逐层嵌套" in words for words in page.words)


@pytest.mark.parametrize("kind", ["buckets", "clusters"])
def test_groups_of_one_mechanism_are_seen_in_another(explore, kind):
    page = explore(group=kind, text="the lamp and the bell and the lamp " * 4).healthy()
    assert any("numbered" in words for words in page.words)


def test_reading_character_by_character(explore):
    page = explore(text="灯塔 lamp 𓂀").healthy()
    assert page.spec.by == "tokens"
    page.test.button_group(key="choose-by").set_value("characters").run()
    page.healthy()
    assert page.said["by"] == "characters"
    assert any("Read character by character" in words for words in page.words)


def test_a_change_is_written_to_the_url(explore):
    page = explore(colour="log").healthy()
    page.test.selectbox(key="choose-mechanism.en").set_value("window").run()
    page.healthy()
    assert page.said["mechanism"] == "window" and page.said["colour"] == "log"
    page.test.select_slider(key="params.window.window").set_value(8).run()
    assert page.said["m.window"] == "8"
    page.test.selectbox(key="choose-mechanism.en").set_value("softmax").run()
    assert "m.window" not in page.said
    page.test.selectbox(key="choose-mechanism.en").set_value("window").run()
    assert page.said["m.window"] == "8"  # what was chosen for it is not lost


def test_own_text(explore):
    page = explore()
    page.test.selectbox(key="choose-source.en").set_value("text").run()
    page.test.text_area(key="own-text").set_value("a b c a b c").run()
    page.healthy()
    assert page.said["text"] == "a b c a b c"


def test_a_long_own_text_is_named_by_its_digest(explore):
    page = explore(text="short")
    text = "one two three " * 200
    assert len(text) > LONGEST_TEXT
    page.test.text_area(key="own-text").set_value(text).run()
    page.healthy()
    assert "text" not in page.said and len(page.said["file"]) == 16
    assert page.test.text_area(key="own-text").value == text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "query, about",
    [
        ({"text": ""}, ("empty", "为空")),
        ({"text": " \n "}, ("empty", "为空")),
        ({"file": "0" * 16}, ("no longer", "不在")),
        ({"arrays": "0" * 16}, ("no longer", "不在")),
        ({"model": "/nowhere/at/all"}, ("/nowhere/at/all", "/nowhere/at/all")),
        ({"mechanism": "telepathy"}, ("telepathy", "telepathy")),
        ({"mechanism": "window", "m.window": "-3"}, ("m.window", "m.window")),
        ({"query": "99999"}, ("small", "small")),
        ({"layer": "77"}, ("small", "small")),
        ({"head": "77", "zoom": "5000,6000,0,9", "hide": "70000"}, ("small", "small")),
        ({"group": "stanzas"}, ("small", "small")),
    ],
)
def test_bad_input_gets_a_sentence(explore, language, query, about):
    page = explore(lang=language, **query).healthy()
    assert any(about[LANGUAGES.index(language)] in words for words in page.words), page.words


def test_one_token_and_a_text_beyond_the_context(explore):
    explore(text="a").healthy()
    page = explore(sample="harbour").healthy()
    assert any("context" in words and "512" in words for words in page.words)
    assert any("beyond the 64" in words for words in page.words)


def test_tokens_are_data(explore):
    text = "<b>x</b> $a$ :red[y] %{z} **c** <script>alert(1)</script> \u202eabc"
    page = explore(text=text).healthy()
    for chart in page.figures:
        text = json.dumps(chart)
        assert "<script" not in text and "<b>" not in text
    assert not page.test.markdown or all("script" not in m.value for m in page.test.markdown)


def packed(**arrays):
    """The bytes of an .npz."""
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def qkv(heads=2, n=12, width=4, **changes):
    shape = (heads, n, width)
    return {name: np.ones(shape, np.float32) for name in "qkv"} | changes


@pytest.mark.parametrize(
    "data",
    [
        b"not an archive",
        b"\x80\x04]\x94.",
        packed(q=np.ones((2, 3), np.float32)),
        packed(**qkv(k=np.ones((2, 5, 7), np.float32))),
        packed(**qkv(v=np.full((2, 12, 4), np.nan, np.float32))),
        packed(**qkv(q=np.array([{}], dtype=object))),
        packed(weights=np.full((1, 4, 4), np.inf, np.float32)),
    ],
    ids=["bytes", "pickle", "alone", "shapes", "nan", "object", "infinite"],
)
def test_a_broken_upload_gets_a_sentence_and_the_choices_stay(explore, data):
    page = uploaded(explore(colour="row"), data).healthy()
    assert page.spec.source == "arrays" and page.spec.colour == "row"
    assert not components(page) and page.words
    page.test.selectbox(key="choose-source.en").set_value("sample:lamp").run()
    page.healthy()
    assert components(page) and page.spec.colour == "row"


def uploaded(page, data):
    """The page after an upload, by its digest in the URL."""
    key = contents.keep(data, "given.npz")
    for name, value in {
        "arrays": key,
        "colour": page.spec.colour,
        "model": page.spec.model,
    }.items():
        page.test.query_params[name] = value
    return page.run()


def test_uploads_are_drawn(explore):
    page = uploaded(explore(), packed(**qkv())).healthy()
    assert any("given.npz" in words for words in page.words) and components(page)
    page = uploaded(explore(), packed(weights=np.eye(9, dtype=np.float32)[None])).healthy()
    assert any("To apply a mechanism" in words for words in page.words) and components(page)


def test_stop_says_so_and_goes_on(explore):
    DESK.kept.clear()
    page = explore()
    (key,) = _kept("attend:")
    DESK.kept.pop(key)
    page.test.session_state["stopped"] = key
    page.run().healthy()
    assert any("Stopped" in words for words in page.words)
    page.test.button[0].click().run()
    page.healthy()
    assert page.figures


def _kept(prefix):
    return [key for key in DESK.kept.names() if isinstance(key, str) and key.startswith(prefix)]


def test_what_mixes_positions_first_looks_both_ways_and_says_so(explore) -> None:
    page = explore(mechanism="linformer").healthy()
    assert page.spec.sight == "own" and "sight" not in page.said
    assert any("blends all positions" in words for words in page.words)
    assert page.parts


def saved(found) -> bytes:
    out = io.BytesIO()
    torch.save(found, out)
    return out.getvalue()


def test_attentions_of_a_batch_ask_which_layer_and_text(explore):
    draw = torch.Generator().manual_seed(0)
    layers = [torch.rand(2, 4, 6, 6, generator=draw).mul(3).softmax(-1) for _ in range(3)]
    for layer in layers:
        layer[1, :, :, 4:] = 0
        layer[1] /= layer[1].sum(-1, keepdim=True)
    key = contents.keep(saved(tuple(layers)), "attentions.pt")
    opened = explore(arrays=key, lang="en").healthy()
    groups = {x.label: x for x in opened.test.button_group}
    assert "Text of the batch" in groups
    groups["Layer"].set_value(2).run()
    assert opened.healthy().said["layer"] == "2" and "item" not in opened.said
    groups = {x.label: x for x in opened.test.button_group}
    groups["Text of the batch"].set_value(1).run()
    assert opened.healthy().said["item"] == "1"
    assert any("2 positions are padding" in x for x in opened.words)
    chinese = explore(arrays=key, lang="zh", layer="2", item="1").healthy()
    assert any("2 个位置是填充" in x for x in chinese.words)


def test_keys_without_a_token_are_cropped_when_a_person_says_which(explore):
    w = torch.ones(1, 8, 8) / 8
    key = contents.keep(saved({"weights": w, "tokens": list("abcd")}), "flash.pt")
    opened = explore(arrays=key, lang="en")
    assert any("8 keys for 4 tokens: choose which" in x for x in opened.words)
    (crop,) = [x for x in opened.test.button_group if x.label == "4 tokens, but 8 keys: keep"]
    crop.set_value("first").run()
    assert opened.healthy().said["crop"] == "first"
    assert any("4 keys are cut off, with 50.0% of the weight" in x for x in opened.words)
