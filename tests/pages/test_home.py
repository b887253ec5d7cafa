"""The Home page: drawn without a question asked, with doors that open what they show."""

import base64
import json
import re
from html import unescape
from urllib.parse import parse_qsl

import numpy as np
import pytest

from engine.contract import Refusal
from engine.mechanisms import MECHANISMS
from engine.mechanisms.entmax import Entmax
from engine.models import embedded
from engine.sources import samples
from engine.spec.links import read
from pages.ui.server.desk import DESK, Store
from pages.ui.shared import contents


@pytest.fixture
def home(page, small):
    """home(lang) opens Home with the small model in the embedded one's place."""
    return lambda language: page("home", lang=language)


def data(opened) -> dict:
    """What the picture was given."""
    return json.loads(opened.parts[0].proto.bytes)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_it_is_drawn_at_once(home, language) -> None:
    shown = data(home(language).healthy())
    entry = samples.listing()[samples.first(language)]
    assert shown["name"] == entry["name"]
    assert list(shown["rows"]) == ["softmax"]  # the others come when the picture asks for them
    offered = [key for family in shown["families"].values() for key in family]
    assert offered == list(MECHANISMS) and set(shown["offered"]) <= set(offered)
    lengths = [reading["n"] for reading in shown["readings"]]
    assert lengths == sorted(set(lengths)) and len(lengths) > 1
    text = "".join(token or "" for token in shown["tokens"])
    assert text.endswith(samples.text(entry["id"]))
    assert shown["readings"][-1]["beyond"]  # the small model was trained on 64 tokens


def test_what_is_asked_for_comes(home) -> None:
    opened = home("en")
    opened.test.session_state["home-wanted"] = ["window", "segmented"]
    shown = data(opened.run().healthy())
    assert list(shown["rows"]) == ["softmax", "window", "segmented"]
    assert all(len(rows) == len(shown["readings"]) for rows in shown["rows"].values())


def test_the_doors_open_what_is_shown(home) -> None:
    opened = home("en")
    opened.test.session_state["home-wanted"] = ["window"]
    shown = data(opened.run().healthy())
    assert set(shown["doors"]) == {"softmax", "window"}
    for mechanism, links in shown["doors"].items():
        for link, one in zip(links, shown["readings"], strict=True):
            page, _, query = link.partition("?")
            spec, problems = read(dict(parse_qsl(query)))
            assert page == "explore" and not problems
            assert spec.mechanism == mechanism and spec.query == one["query"]
            assert spec.hide == (0,) and isinstance(spec.head, int)
            if spec.source == "file":
                kept = contents.get(spec.content)
                assert kept is not None and kept[0].endswith(samples.text("lamp"))
            else:
                assert (spec.source, spec.content) == ("sample", "lamp")


def test_a_mechanism_that_refuses_is_a_sentence_of_its_own(home, monkeypatch) -> None:
    def refuse(self, qkv):
        raise Refusal("head {h} is not one of 0 … {last}", h=9, last=3)

    monkeypatch.setattr(Entmax, "attend", refuse)
    opened = home("zh")
    monkeypatch.setattr(DESK, "kept", Store(2**20))  # what was made before is asked again
    opened.test.session_state["home-wanted"] = ["entmax", "window"]
    shown = data(opened.run().healthy())
    assert list(shown["rows"]) == ["softmax", "window"]
    assert shown["troubles"] == {"entmax": "无法展示：头 9 不在 0 … 3 之中。"}
    assert "mechanism=entmax" in shown["doors"]["entmax"][0]


def test_signed_weights_have_no_effective_tokens(home) -> None:
    opened = home("en")
    opened.test.session_state["home-wanted"] = ["differential"]
    shown = data(opened.run().healthy())
    assert [row["effective"] for row in shown["rows"]["differential"]] == [None] * len(
        shown["readings"]
    )
    assert all(row["signed"] for row in shown["rows"]["differential"])
    assert not any(row["signed"] for row in shown["rows"]["softmax"])


def _without_none(fields: dict) -> dict:
    return {name: value for name, value in fields.items() if value is not None}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_that_is_not_finite_reaches_the_browser(home, language) -> None:
    def refuse(word: str):
        raise AssertionError(f"{word} is no JSON")

    opened = home(language)
    opened.test.session_state["home-wanted"] = data(opened)["offered"]
    sent = opened.run().healthy().parts[0].proto.bytes
    shown = json.loads(sent, parse_constant=refuse)
    assert not shown["troubles"] and list(shown["rows"]) == shown["offered"]
    for key, rows in shown["rows"].items():
        for one, row in zip(shown["readings"], rows, strict=True):
            weights = np.frombuffer(base64.b64decode(row["weights"]), "<f4")
            assert len(weights) == one["n"] - 1 and np.isfinite(weights).all(), key
            assert row["effective"] is not None or row["signed"], key
            # a picture holds numbers and no gaps; a map may lack what it has no use for
            glance = row["glance"] | {"overlay": _without_none(row["glance"].get("overlay") or {})}
            assert "null" not in json.dumps(glance), key
            said = [row["did"], row["glance"]["title"], *row["glance"]["labels"]]
            assert all(said) and not re.search(r"nan|inf\b|None|\{", " ".join(said)), key


def test_explore_says_the_same_number_of_the_same_row(home, page) -> None:
    """Of a row's weights without the first token, which the door leaves out on Explore, too."""
    opened = home("en")
    opened.test.session_state["home-wanted"] = data(opened)["offered"]
    shown = data(opened.run().healthy())
    for key, links in shown["doors"].items():
        row = shown["rows"][key][0]
        explore = page("explore", **dict(parse_qsl(links[0].partition("?")[2]))).healthy()
        words = " ".join(explore.words)
        if row["signed"]:
            best = max(np.frombuffer(base64.b64decode(row["weights"]), "<f4"), key=abs)
            assert f"{best:.3g}" in words, key
        elif row["effective"]:
            assert f"Effective tokens: {row['effective']:,.1f} of the" in words, key
            if key != "softmax":
                assert row["did"] in words, key  # and what the mechanism did is said alike
        else:  # the row is given nothing
            assert "Effective tokens" not in words, key


def test_a_model_that_can_not_be_opened_is_a_sentence(page, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(embedded, "TINY", tmp_path / "nothing")
    DESK.kept.clear()
    opened = page("home", lang="en").healthy()
    assert opened.words and not opened.parts


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_mechanism_stands_below_with_a_door(home, language) -> None:
    opened = home(language).healthy()
    (grid,) = (x.proto.body for x in opened.test.get("html") if "class='grid'" in x.proto.body)
    links = re.findall(r"<a href='explore\?([^']+)'>", grid)
    specs = [read(dict(parse_qsl(unescape(link))))[0] for link in links]
    assert sorted(spec.mechanism for spec in specs) == sorted(MECHANISMS)
    assert {spec.language for spec in specs} == {language}
    assert grid.count("<img src='api/thumbnail?") == len(MECHANISMS)


def test_what_the_machine_offers_is_said(home) -> None:
    assert any("models come with it" in words for words in home("en").healthy().words)
