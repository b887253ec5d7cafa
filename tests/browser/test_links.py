"""What is shown is in the link: it is copied with a button, and a click pins all of it."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_explore import opened, said, sentence, until_said

LEAVE = {"permissions": ["clipboard-read", "clipboard-write"]}


@pytest.mark.parametrize("tab", [LEAVE], indirect=True)
def test_the_link_is_copied(tab) -> None:
    page = opened(tab, "explore?lang=en&mechanism=window&m.window=8")
    page.locator(".hd-copy").click()
    expect(page.locator(".hd-said")).to_have_text("The link is copied.")
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    assert said(page, "m.window") == "8"
    tab.fine()


@pytest.mark.parametrize("tab", [LEAVE], indirect=True)
def test_a_link_with_a_folder_says_so(tab) -> None:
    page = tab.open("explore?lang=en&model=./assets/models/tiny")
    page.locator(".hd-copy").click()
    expect(page.locator(".hd-said")).to_contain_text("a model folder on this machine")
    tab.fine()


def test_a_click_pins_layer_head_and_row_and_nothing_else_moves_them(tab) -> None:
    page = opened(tab, "explore?lang=en&mechanism=lsh")
    page.locator(".tt-flow span").nth(30).click()
    until_said(page, "query")
    pinned = {key: said(page, key) for key in ("layer", "head", "query")}
    assert pinned["query"] == "30" and None not in pinned.values()
    words = sentence(page).inner_text()
    page.locator(".st-key-choose-colour").get_by_text("log", exact=True).click()
    until_said(page, "colour")
    assert {key: said(page, key) for key in pinned} == pinned
    assert sentence(page).inner_text() == words
    page.reload()
    expect(sentence(page)).to_have_text(words)
    tab.fine()
