"""The page of talks: the list, one that plays, one that is not there."""

import pytest

from engine.spec import talk as talks
from engine.spec.talk import Scene, Talk
from pages.ui.talk import OPEN, ready

SHORT = Talk({"en": "Short", "zh": "短"}, scenes=(Scene("dilution", "lab=theory", title="One"),))


@pytest.fixture(autouse=True)
def one_talk(monkeypatch):
    monkeypatch.setattr(ready, "bundled", lambda: {"short": SHORT})


def test_the_list_plays_a_talk(page):
    shown = page("talk").healthy()
    (button,) = (b for b in shown.test.button if b.key == "play-short")
    button.click()
    shown.run().healthy()
    assert shown.said["talk"] == "short"
    (stage,) = shown.parts
    assert stage.proto.component_name == "attention_talk"


def test_the_place_in_a_talk_is_in_the_address(page):
    shown = page("talk", talk="short", scene="1", beat="1", view="speaker").healthy()
    assert (OPEN.key("scene"), shown.said["view"], shown.said["beat"]) == ("scene", "speaker", "1")


def test_a_talk_that_is_not_there_is_said(page):
    shown = page("talk", talk="gone").healthy()
    assert any("gone" in words for words in shown.words)


@pytest.mark.parametrize("tag", ["en", "zh"])
def test_the_list_speaks_both_languages(page, tag):
    shown = page("talk", lang=tag).healthy()
    assert [s.value for s in shown.test.subheader] == [talks.said(SHORT.title, tag)]
