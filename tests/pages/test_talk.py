"""The page of talks: the list, one that plays, one that is not there."""

import pytest

from engine.contract import Refusal
from engine.spec import talk as talks
from engine.spec.talk import Scene, Talk
from pages.ui.server.desk import GIVEN, Store
from pages.ui.shared import contents
from pages.ui.talk import OPEN, draft, ready

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
    assert shown.test.subheader[0].value == talks.said(SHORT.title, tag)


# -- a person's own talk -------------------------------------------------------------------------

OWN = Talk(
    scenes=(
        Scene("explore", "sample=lamp", title="first"),
        Scene("explore", "mechanism=lsh", title="second"),
    )
)


@pytest.fixture
def own(page):
    """The page of talks in a session that has kept two scenes."""
    shown = page("talk")
    shown.test.session_state[draft.HELD] = OWN
    return shown.run().healthy()


def titles(shown):
    return [said.title for said in shown.test.session_state[draft.HELD].scenes]


def press(shown, key):
    (button,) = (b for b in shown.test.button if b.key == key)
    button.click()
    return shown.run().healthy()


def test_scenes_are_put_in_order_renamed_removed_and_had_back(own):
    press(own, "down-0")
    assert titles(own) == ["second", "first"]
    (field,) = (one for one in own.test.text_input if one.key == "title-0")
    field.set_value("renamed")
    own.run().healthy()
    assert titles(own) == ["renamed", "first"]
    press(own, "remove-1")
    assert titles(own) == ["renamed"]
    for expected in (["renamed", "first"], ["second", "first"], ["first", "second"]):
        press(own, "undo")
        assert titles(own) == expected


def test_a_talk_of_ones_own_plays_by_a_name_that_another_window_knows(own):
    press(own, "play-own")
    found, faults = ready.find(own.said["talk"])
    assert found == OWN and not faults


def test_a_talk_that_plays_is_found_by_a_server_that_was_started_anew(monkeypatch):
    name = ready.named(OWN)
    monkeypatch.setattr(contents, "_store", Store(GIVEN))
    found, faults = ready.find(name)
    assert found == OWN and not faults


def test_a_session_without_a_talk_leaves_the_one_that_the_browser_has(monkeypatch):
    monkeypatch.setattr(draft.st, "session_state", {})
    monkeypatch.setattr(draft, "spoken", str)
    assert draft.saved() is None
    draft.restore(OWN.to_json())
    assert draft.saved() == OWN.to_json()
    draft.remove(0)
    draft.remove(0)
    assert draft.saved() == ""
    draft.st.session_state.clear()
    draft.restore("no talk")  # it is said, and not asked for again
    assert draft.saved() == "" and draft.told()[1]


def test_a_page_is_kept_with_its_state_and_its_text(monkeypatch):
    monkeypatch.setattr(draft.st, "session_state", {})
    monkeypatch.setattr(draft, "t", lambda key, **facts: key)
    name = contents.keep("a long text of one's own")
    draft.keep("explore", {"file": name, "query": "7", "lang": "zh", "embed": "true"}, "Mine")
    (scene,) = draft.held().scenes
    assert scene.query("en") == {"file": name, "query": "7"}
    assert draft.held().texts == {name: "a long text of one's own"}
    assert draft.told() == (1, "talk.kept")


def test_a_file_that_is_opened_does_not_lose_what_was_there(monkeypatch):
    monkeypatch.setattr(draft.st, "session_state", {draft.HELD: OWN})
    with pytest.raises(Refusal, match="not JSON"):
        draft.open_file(b"{")
    with pytest.raises(Refusal, match="UTF-8"):
        draft.open_file(b"\xff\xfe\x00")
    assert draft.held() == OWN and not draft.can_undo()
    assert not draft.open_file(SHORT.to_json().encode())
    assert draft.held() == SHORT
    draft.restore(OWN.to_json())  # there is something here: what the browser had is not asked for
    assert draft.held() == SHORT
    draft.undo()
    assert draft.held() == OWN
