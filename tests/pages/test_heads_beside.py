"""Heads side by side on Compare: chosen, drawn on one scale, kept in the URL."""

import json

import pytest

from engine.mechanisms import MECHANISMS
from engine.spec.fields import LANGUAGES


@pytest.fixture
def heads(page, folder):
    """heads(**query) opens heads side by side."""
    return lambda **query: page("compare", model=folder, **{"compare-what": "heads"} | query)


def maps(page):
    given = (json.loads(part.proto.bytes) for part in page.parts)
    return [one for one in given if "tile" in one]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pages_head_and_the_next_are_drawn(heads, language):
    opened = heads(lang=language, layer="1", head="3").healthy()
    first, second = maps(opened)
    assert (first["head"], second["head"]) == (3, 0)  # after the last of all comes the first
    assert first["top"] == second["top"] and first["query"] == second["query"]
    assert first["link"] == second["link"] == "heads"
    assert len(opened.figures) == 2


def test_heads_of_several_layers_by_a_link(heads):
    opened = heads(layer="0", head="1", **{"compare-heads": "1.2,0.3"}).healthy()
    assert [one["head"] for one in maps(opened)] == [1, 2, 3]
    assert opened.said["compare-heads"] == "1.2,0.3"
    assert len({one["token"] for one in maps(opened)}) == 2  # two layers, two attentions


def test_a_head_is_changed_added_and_taken_away(heads):
    opened = heads(layer="0", head="0")
    opened.test.selectbox(key="column-head-1.en").select((1, 3))
    opened.run().healthy()
    assert opened.said["compare-heads"] == "1.3"
    opened.test.button(key="add-head").click()
    opened.run().healthy()
    assert opened.said["compare-heads"] == "1.3,0.0"
    opened.test.button(key="remove-head-1").click()
    opened.run().healthy()
    assert opened.said["compare-heads"] == "0.0"


def test_a_head_with_itself_shares_all(heads):
    opened = heads(layer="0", head="2", lang="en", **{"compare-heads": "0.2"}).healthy()
    assert any("100% of its weight" in words for words in opened.words)


@pytest.mark.parametrize("key", list(MECHANISMS))
def test_under_every_mechanism(heads, key):
    assert len(maps(heads(mechanism=key).healthy())) == 2


def test_what_can_not_be_used_is_said(heads):
    opened = heads(**{"compare-heads": "x"}).healthy()
    assert len(maps(opened)) == 2 and "compare-heads" not in opened.said
    assert maps(heads(**{"compare-heads": "7.99"}).healthy())


def test_what_stands_side_by_side_is_shown_as_chosen(page, folder):
    opened = page("compare", model=folder).healthy()
    (what,) = [one for one in opened.test.get("button_group") if one.label == "Side by side"]
    assert what.value == "mechanisms" and "compare-what" not in opened.said
