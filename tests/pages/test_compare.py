"""The Compare page: columns that stay together, refusals in their own column, and numbers."""

import json

import pytest

from engine.contract import Refusal, params_of
from engine.mechanisms import MECHANISMS
from engine.mechanisms.window import Window
from engine.spec.fields import LANGUAGES
from engine.spec.picture import DEFAULT
from pages.ui.compare import sidebyside


@pytest.fixture
def compare(page, folder):
    """compare(**query) opens the Compare page with the small model."""
    return lambda **query: page("compare", **({"model": folder} | query))


def maps(page):
    return [json.loads(element.proto.bytes) for element in page.parts]


def table(page):
    """The table's cells, a list a line."""
    (found,) = [e.proto.body for e in page.test.get("html") if "<table" in e.proto.body]
    lines = found.split("<tbody>")[1].split("<tr>")[1:]
    return [
        [cell.split("<")[0] for cell in line.replace("<td>", "<th>").split("<th>")[1:]]
        for line in lines
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_opens_drawn(compare, language):
    page = compare(lang=language).healthy()
    shown = maps(page)
    assert len(shown) == len(DEFAULT.columns)
    assert len(page.figures) == 2  # the difference and the chosen row
    assert len(table(page)) == len(DEFAULT.columns)
    for key in ("link", "top", "query", "head", "window"):
        assert len({json.dumps(one[key]) for one in shown}) == 1, key
    assert [one["lead"] for one in shown] == [True] + [False] * (len(shown) - 1)
    assert len({one["token"] for one in shown}) == len(shown)


def test_the_scale_ends_at_the_largest_of_all(compare):
    made = {"source": "planted", "s.n": "48", "s.gap": "1"}
    sharp, plain = maps(compare(**made, **{"with": "softmax", "m.temperature": "0.1"}).healthy())
    (alone,) = maps(compare(**made, **{"with": ""}).healthy())
    assert sharp["top"] == plain["top"] > alone["top"]


def test_full_attention_is_the_reference_even_if_no_column(compare):
    page = compare(mechanism="window", **{"with": "segmented", "m.window": "4"}).healthy()
    assert len(maps(page)) == 2
    lines = table(page)
    assert len(lines) == 3
    assert lines[0][1:6] == ["100%", "0%", "0", "0%", "100%"]
    assert lines[1][3] == "∞"
    assert any("keeps" in words and "operations" in words for words in page.words)


def test_two_settings_of_one_mechanism_are_told_apart(compare):
    page = compare(
        mechanism="window", **{"m.window": "4", "with": "window", "m2.window": "300"}
    ).healthy()
    names = [line[0] for line in table(page)][1:]
    assert names == ["Window with sinks · Window 4", "Window with sinks · Window 300"]
    assert any("equals full attention" in words for words in page.words)


def test_columns_are_changed_added_and_removed(compare):
    page = compare().healthy()
    page.test.selectbox(key="column-1.en").set_value("segmented").run()
    page.healthy()
    assert page.said["with"].split(",")[0] == "segmented"
    page.test.select_slider(key="column-1.segmented.segment").set_value(8).run()
    page.healthy()
    assert page.said["m2.segment"] == "8" and len(maps(page)) == 3
    page.test.button(key="add-column").click().run()
    page.healthy()
    assert len(maps(page)) == 4 and page.said["with"].count(",") == 2
    assert not [b for b in page.test.button if b.key == "add-column"]  # no room for more
    for _ in range(3):
        page.test.button(key="remove-0").click().run()
        page.healthy()
    assert page.said["with"] == "" and len(maps(page)) == 1
    assert not [b for b in page.test.button if b.key == "remove-0"]


def test_a_column_keeps_what_was_chosen_for_a_mechanism(compare):
    page = compare(**{"with": "window", "m2.window": "8"}).healthy()
    page.test.selectbox(key="column-1.en").set_value("segmented").run()
    assert "m2.window" not in page.said
    page.test.selectbox(key="column-1.en").set_value("window").run()
    assert page.said["m2.window"] == "8"


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_mechanism_takes_part(compare, mechanism):
    """Drawn, or a sentence in its column while the others stay."""
    page = compare(**{"with": mechanism}).healthy()
    drawn = len(maps(page))
    assert drawn == 2 or (drawn == 1 and any("shown" in words for words in page.words))
    keys = {
        w.key for kind in ("slider", "select_slider", "toggle") for w in getattr(page.test, kind)
    }
    keys |= {w.key for w in page.test.get("button_group")} | {w.key for w in page.test.selectbox}
    keys |= {w.key for w in page.test.number_input} | {w.key for w in page.test.text_input}
    found = {key.removesuffix(".en") for key in keys if key}
    declared = params_of(MECHANISMS[mechanism])
    assert {f"column-1.{mechanism}.{name}" for name in declared} <= found


def test_a_refusal_stays_in_its_column(compare, monkeypatch):
    def refuse(self, qkv):
        raise Refusal("window can't honour causal")

    monkeypatch.setattr(Window, "check", refuse)
    page = compare(sample="workshop", **{"with": "window,segmented"}).healthy()
    assert len(maps(page)) == 2 and len(table(page)) == 2
    assert any("can't honour causal" in words for words in page.words)


def test_signed_maps_have_a_scale_of_their_own(compare):
    signed = next((k for k in ("differential", "linformer") if k in MECHANISMS), None)
    assert signed is not None
    page = compare(source="planted", **{"s.n": "48", "with": signed}).healthy()
    plain, other = maps(page)
    assert (plain["signed"], other["signed"]) == (False, True)
    assert plain["top"] != other["top"]
    assert any("not shares" in words for words in page.words)


@pytest.mark.parametrize("colour", ["weight", "log", "uniform", "row"])
@pytest.mark.parametrize("pool", ["max", "mean", "sum"])
def test_views_are_drawn(compare, colour, pool):
    compare(colour=colour, pool=pool, zoom="4,30,0,20", hide="0", column="1").healthy()


def test_the_window_and_the_query_are_everyones(compare):
    page = compare(zoom="4,30,0,20", query="9", head="2").healthy()
    for one in maps(page):
        assert (one["window"], one["query"], one["head"]) == ([4, 30, 0, 20], 9, 2)


def test_doors(compare, explore):
    page = compare(mechanism="window", **{"m.window": "4", "with": "softmax", "head": "1"})
    links = [link.proto for link in page.test.get("page_link")]
    back = [link for link in links if link.page.endswith("explore")]
    assert len(back) == 2
    assert "mechanism=window" in back[0].query_string and "head=1" in back[0].query_string
    assert "with=window" in back[1].query_string and "mechanism=" not in back[1].query_string
    shown = explore(mechanism="window", **{"m.window": "4"}).healthy()
    (there,) = [
        link.proto for link in shown.test.get("page_link") if link.proto.page.endswith("compare")
    ]
    assert "m.window=4" in there.query_string and "with=" not in there.query_string


@pytest.mark.parametrize(
    "query, about",
    [
        ({"text": ""}, "empty"),
        ({"with": "telepathy"}, "telepathy"),
        ({"with": "window", "m2.window": "0"}, "m2.window"),
        ({"column": "9"}, "column"),
        ({"head": "77", "query": "99999", "zoom": "5000,6000,0,9"}, "small"),
    ],
)
def test_bad_input_gets_a_sentence(compare, query, about):
    page = compare(**query).healthy()
    assert any(about in words for words in page.words), page.words


def test_one_token(compare):
    compare(text="a", **{"with": "window"}).healthy()


def test_long_texts_say_that_rows_are_sampled(compare):
    page = compare(
        source="planted", **{"s.n": "2100", "s.heads": "1", "s.dim": "8", "with": "window"}
    ).healthy()
    assert any("512 of 2,100 rows, evenly spaced" in words for words in page.words)


@pytest.mark.parametrize(
    "value, down, words",
    [
        (1.0, True, "100%"),
        (0.9999, True, "99.9%"),
        (0.62, False, "62%"),
        (0.052, False, "5.2%"),
        (0.0, False, "0%"),
        (1e-6, False, "< 0.05%"),
        (float("nan"), False, "–"),
        (3.1, False, "310%"),
    ],
)
def test_shares_never_round_to_all_or_nothing(value, down, words):
    assert sidebyside._share(value, down) == words
