"""Every page under every mechanism: nothing is raised, and no number is lost on the way."""

import base64
import json
import math
import re
from itertools import pairwise, product

import numpy as np
import pytest

from engine.contract import Refusal
from engine.mechanisms import MECHANISMS
from engine.models import embedded
from engine.text.locale import locale
from pages.ui.dilution import PARTS
from pages.ui.explore import structure
from pages.ui.server.desk import DESK, Store
from pages.ui.shared.encoded import encoded
from tests.pages.conftest import Page

SOURCES = {
    "planted": {"source": "planted", "s.n": "12", "s.heads": "2", "s.dim": "8"},
    "identical": {"source": "identical", "s.n": "12", "s.dim": "8"},
    "text": {"text": "the cat saw a cat"},
}
PAIRS = {("planted", "own", ""), ("planted", "both", "0"), ("identical", "own", "0"),
         ("identical", "both", ""), ("text", "own", "0"), ("text", "both", "")}  # fmt: skip
"""Each two of source, sight and key set aside stand together once; all else in the sweep."""
CASES = [
    pytest.param(
        key, source, sight, hide,
        id=f"{key}-{source}-{sight}{'-first-aside' if hide else ''}",
        marks=[] if (source, sight, hide) in PAIRS else pytest.mark.sweep,
    )
    for source, sight, hide in product(SOURCES, ("own", "both"), ("", "0"))
    for key in MECHANISMS
]  # fmt: skip
NO_NUMBER = re.compile(r"\b(nan|inf|NaN|Infinity|None)\b")


@pytest.fixture(scope="module")
def opened(folder):
    """opened(page, **query): that page saying just this, in one session for each page."""
    pages: dict[str, Page] = {}

    def ask(name: str, **query: str) -> Page:
        said = {"lang": "en", "model": folder} | query
        if name not in pages:
            pages[name] = Page(name, said)
            return pages[name]
        url = pages[name].test.query_params
        for key in set(url) - set(said):
            del url[key]
        for key, value in said.items():
            url[key] = value
        return pages[name].run()

    return ask


def strict(text: str | bytes):
    """JSON as a browser reads it."""

    def refuse(word: str):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def sound(page: Page) -> Page:
    """Nothing was raised, a browser can read what it is given, and no words hold no number."""
    page.healthy()
    for element in page.test.get("bidi_component"):
        figure = strict(element.proto.bytes).get("figure")
        if isinstance(figure, str):
            strict(figure)
    told = page.words + [element.proto.body for element in page.test.get("html")]
    assert not [words for words in told if NO_NUMBER.search(words)]
    return page


def drawn(page: Page) -> int:
    """How many maps there are."""
    given = (strict(element.proto.bytes) for element in page.parts)
    return sum("tile" in one for one in given)


def refusals(page: Page) -> list[str]:
    start = locale("en")["error.refused"].partition("{")[0]
    return [words for words in page.words if words.startswith(start)]


@pytest.mark.parametrize("key, source, sight, hide", CASES)
def test_explore(opened, key, source, sight, hide):
    query = SOURCES[source] | {"mechanism": key, "sight": sight}
    query |= {"s.causal": "true"} if source != "text" else {}
    page = sound(opened("explore", **query, **({"hide": hide} if hide else {})))
    assert (page.spec.mechanism, page.spec.sight) == (key, sight)
    assert page.spec.hide == ((0,) if hide else ())
    assert drawn(page) == 1 and not refusals(page)


@pytest.mark.parametrize("key", MECHANISMS)
def test_explore_a_single_key(opened, key):
    sound(opened("explore", source="identical", mechanism=key, **{"s.n": "1", "s.dim": "8"}))


@pytest.mark.parametrize(
    "key, other", [*pairwise(MECHANISMS), (list(MECHANISMS)[-1], next(iter(MECHANISMS)))]
)
def test_compare_with_the_next(opened, key, other):
    """The first token aside; both ways where one of them can't look back only."""
    query = SOURCES["planted"] | {"s.causal": "true", "hide": "0", "sight": "own"}
    page = sound(opened("compare", mechanism=key, **query, **{"with": other}))
    assert drawn(page) == 2 and not refusals(page)


@pytest.mark.parametrize("key", MECHANISMS)
def test_compare_with_softmax(opened, key):
    query = SOURCES["text"] | {"sight": "both", "with": "softmax"}
    assert drawn(sound(opened("compare", mechanism=key, **query))) == 2


@pytest.fixture(scope="module")
def home(folder):
    """home(key): what the picture on Home is given of one mechanism."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "TINY", folder)
        patch.setattr(DESK, "kept", Store(2**28))  # nothing of the embedded model itself
        page = Page("home", {"lang": "en"})

        def ask(key: str) -> dict:
            page.test.session_state["home-wanted"] = [key]
            return strict(sound(page.run()).parts[0].proto.bytes)

        yield ask


@pytest.mark.parametrize("key", [key for key, cls in MECHANISMS.items() if cls.causal_ok])
def test_home_at_every_length(home, key):
    given = home(key)
    assert len(given["readings"]) == len(given["rows"][key]) > 2
    for one, row in zip(given["readings"], given["rows"][key], strict=True):
        weights = np.frombuffer(base64.b64decode(row["weights"]), "<f4")
        assert len(weights) == one["n"] - 1 and np.isfinite(weights).all()
        assert row["signed"] or weights.min() >= 0
        # weights that may be negative are no shares, and have no entropy
        assert row["effective"] is None if row["signed"] else row["effective"] >= 0
        assert all(isinstance(row[name], float) for name in ("first", "target"))


@pytest.mark.parametrize("name, language", [("explore", "zh"), ("compare", "en")])
@pytest.mark.parametrize(
    "asked",
    [
        {"s.n": "16", "s.needles": "16"},
        {"s.n": "1"},
        {"s.layout": "paired", "s.needles": "0"},
        {"s.layout": "topics", "s.gap": "16.0"},
    ],
    ids=["as-many-needles-as-keys", "one-key", "no-needles", "too-little-noise"],
)
def test_needles_that_can_not_be_planted_are_a_sentence(page, name, language, asked):
    shown = sound(page(name, source="planted", lang=language, **asked))
    start = locale(language)["error.refused"].partition("{")[0]
    assert len([words for words in shown.words if words.startswith(start)]) == 1
    assert asked.items() <= shown.said.items()
    assert shown.test.selectbox(key=f"choose-source.{language}").value == "planted"
    assert drawn(shown) == 0


def refuse(*args):
    raise Refusal("head {h} is not one of 0 … {last}", h=9, last=3)


def test_a_part_that_is_refused_leaves_the_rest(opened, monkeypatch):
    monkeypatch.setattr(structure, "pictures", refuse)
    query = {"source": "planted", "s.n": "13", "mechanism": "window"}
    page = sound(opened("explore", **query))
    assert len(refusals(page)) == 1 and "head 9 is not one" in refusals(page)[0]
    assert drawn(page) == 1
    assert any("<table" in element.proto.body for element in page.test.get("html"))


def test_a_page_that_is_refused_is_a_sentence(page, monkeypatch):
    monkeypatch.setitem(PARTS, "theory", refuse)
    shown = sound(page("dilution", lab="theory", lang="zh"))
    assert shown.words == ["无法展示：头 9 不在 0 … 3 之中。"]


def test_numbers_that_are_not_finite_are_gaps():
    nan, infinite = float("nan"), float("inf")
    given = {"a": [1.5, nan, {"b": (-infinite, "nan", 3)}], "c": None, "d": True}
    expected = {"a": [1.5, None, {"b": [None, "nan", 3]}], "c": None, "d": True}
    assert strict(encoded(given)) == expected


def test_half_a_character_is_sent_as_json_can():
    given = {0: "\ud83c", "x": [math.inf, 2.5, ("茶",)]}
    assert strict(encoded(given)) == {"0": "\ud83c", "x": [None, 2.5, ["茶"]]}
