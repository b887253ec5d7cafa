"""From three pages to a talk on stage: kept, asked, packed, played on while the server is gone and
once it is there again, taken home as one page, with the same figures in it."""

import json
import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Tab, running

AWAY = float(os.environ.get("TALK_AWAY", "5"))  # seconds that there is no server
SCENES = (
    ("explore?lang=en&mechanism=window&m.window=4&layer=1&head=2", ".hm[data-drawn]"),
    ("compare?lang=en&with=window&layer=1&head=2", ".hm[data-drawn]"),
    ("dilution?lang=en&lab=noise", ".ct .main-svg"),
)
STEP = {"change": "m.window=16", "say": "Sixteen tokens now."}
QUESTION = "Where will it look?"


def at(page: Page, place: str) -> None:
    """The talk stands there, and its pictures are drawn."""
    expect(page.locator(f'.tk[data-at="{place}"]')).to_be_attached()
    expect(page.locator(".tk-plot:not([data-drawn])")).to_have_count(0)


def numbers(page: Page) -> list:
    """What the pictures of this beat are drawn from, and the tints of its text."""
    return page.evaluate(
        """() => [
          ...[...document.querySelectorAll(".tk-plot")].map((plot) =>
            JSON.stringify(plot.data.map(({ z, y, type }) => [z, y, type]))),
          [...document.querySelectorAll(".tk-flow span")].map((one) => one.className).join(),
        ]"""
    )


def returned(tab: Tab, place: str) -> None:
    """The server is heard of again, and its answer leaves the talk where it was."""
    page = tab.page
    page.wait_for_selector('[data-testid="stApp"][data-test-connection-state="CONNECTED"]')
    tab.settled()
    page.wait_for_timeout(1000)
    tab.settled()
    at(page, place)


def built(tab: Tab, folder: Path) -> Page:
    """Three scenes are kept by the key K; one gets a question, and in the file a step."""
    for number, (path, ready) in enumerate(SCENES, 1):
        page = tab.open(path)
        page.locator(ready).first.wait_for()
        tab.settled()
        page.wait_for_timeout(1000)  # the browser gives back what the tab before it kept
        tab.settled()
        page.keyboard.press("k")
        expect(page.locator(".hd-said")).to_contain_text(str(number))
        tab.settled()
    page = tab.open("talk?lang=en")
    expect(page.locator('[class*="st-key-scene-"]')).to_have_count(3)
    tab.settled()
    page.locator(".st-key-details-0 summary").click()
    field = page.locator(".st-key-question-0 textarea")
    field.fill(QUESTION)
    field.press("Control+Enter")
    kept = "words => localStorage['attention-explorer-talk'].includes(words)"
    page.wait_for_function(kept, arg=QUESTION)
    tab.settled()
    with page.expect_download() as download:
        page.locator(".st-key-save button").click()
    file = folder / "talk.json"
    download.value.save_as(file)
    talk = json.loads(file.read_text("utf-8"))
    assert QUESTION in json.dumps(talk["scenes"][0]["question"])
    talk["scenes"][0]["steps"] = [STEP]
    file.write_text(json.dumps(talk), "utf-8")
    page.locator(".st-key-talk-file input").set_input_files(file)
    page.wait_for_function(kept, arg=STEP["say"])
    tab.settled()
    return page


@pytest.mark.timeout(900)
def test_a_talk_from_the_first_key_to_the_page_at_home(browser: Browser, tmp_path: Path):
    with running("app.py", tmp_path / "kept") as server:
        context = browser.new_context(viewport={"width": 1920, "height": 1080})
        tab = Tab(context.new_page(), server.address)
        page = built(tab, tmp_path)
        page.locator(".st-key-pack button").first.click()
        expect(page.get_by_text("Packed: 3 scenes with 4 pictures")).to_be_visible()
        tab.settled()
        page.locator(".st-key-export button").first.click()
        with page.expect_download() as download:
            page.locator(".st-key-take button").click()
        home = tmp_path / "home.html"
        download.value.save_as(home)
        tab.settled()
        page.locator(".st-key-play-own button").click()
        at(page, "1.0")
        assert page.inner_text(".tk-question") == QUESTION
        page.keyboard.press("f")
        page.wait_for_function("document.fullscreenElement?.classList.contains('tk')")
        with context.expect_page() as opened:
            page.keyboard.press("s")
        speaker = opened.value
        at(speaker, "1.0")
        seen = {}
        page.bring_to_front()
        page.keyboard.press("ArrowRight")
        at(page, "1.1")
        seen["1.1"] = numbers(page)
        server.stop()
        page.wait_for_timeout(1000 * AWAY)
        for place in ("1.2", "2.1", "3.1"):
            page.keyboard.press("PageDown")
            at(page, place)
            at(speaker, place)
            seen[place] = numbers(page)
        assert page.inner_text(".tk-title")
        expect(page.get_by_test_id("stDialog")).to_be_hidden()  # that there is no server
        server.start()
        returned(tab, "3.1")
        assert page.evaluate("document.fullscreenElement?.classList.contains('tk')")
        assert numbers(page) == seen["3.1"]
        page.keyboard.press("o")
        expect(page.locator(".tk-scene")).to_have_count(3)
        page.keyboard.press("o")
        expect(page.locator(".tk-overview")).to_be_hidden()
        page.keyboard.press("n")
        expect(page.locator(".tk-notes")).to_be_visible()
        page.keyboard.press("r")
        expect(page.locator(".tk-notes")).to_be_hidden()
        page.keyboard.press("PageUp")
        at(page, "2.1")
        at(speaker, "2.1")
        page.keyboard.press("Escape")  # out of full screen
        page.wait_for_function("!document.fullscreenElement")
        at(page, "2.1")
        page.keyboard.press("Escape")  # out of the talk: the new server is given it back
        expect(page.locator('[class*="st-key-scene-"]')).to_have_count(3)
        expect(page.locator(".st-key-title-0 input")).to_have_value("Explore: Window with sinks")
        assert not tab.errors
        context.close()
    away = browser.new_context(offline=True, viewport={"width": 1920, "height": 1080})
    page = away.new_page()
    page.goto(home.as_uri())
    at(page, "1.0")
    for place, figures in seen.items():
        page.keyboard.press("ArrowRight")
        at(page, place)
        assert numbers(page) == figures, place
    assert len({json.dumps(one) for one in seen.values()}) == 4
    away.close()
