"""Models: a head is found, opened, switched off, and the link to that is shared."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_explore import until_said

LEAVE = {"permissions": ["clipboard-read", "clipboard-write"]}


def click_head(tab, key: str, layer: int, head: int) -> None:
    """Click a head in the picture of all."""
    page: Page = tab.page
    tab.settled()
    plot = page.locator(f".st-key-{key} .js-plotly-plot .nsewdrag")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box
    place = box["width"] / 6  # the embedded model's heads
    page.mouse.move(box["x"] + place * (head + 0.4), box["y"] + place * (layer + 0.4))
    page.mouse.move(box["x"] + place * (head + 0.5), box["y"] + place * (layer + 0.5))
    page.mouse.down()
    page.mouse.up()


@pytest.mark.parametrize("tab", [LEAVE], indirect=True)
def test_find_open_switch_off_and_share(tab) -> None:
    page = tab.open("models?lang=en")
    page.locator(".st-key-models-part").get_by_text("Finder", exact=True).click()
    sentence = page.locator(".st-key-sentence")
    expect(sentence).to_contain_text("The highest is layer 1, head 0: 95%.")
    click_head(tab, "models-found", 1, 0)
    until_said(page, "head")
    assert re.search(r"/explore\?.*layer=1&head=0", page.url)
    page.get_by_role("link", name="Models").click()
    page.locator(".st-key-models-part").get_by_text("Switch off", exact=True).click()
    expect(sentence).to_contain_text("Off: layer 1, head 0. After “\u2068u\u2069”")
    click_head(tab, "models-off-picture", 0, 0)
    expect(sentence).to_contain_text("Off: layer 0, head 0; layer 1, head 0.")
    tab.settled()
    page.locator(".hd-copy").click()
    expect(page.locator(".hd-said")).to_have_text("The link is copied.")
    words, link = sentence.inner_text(), page.evaluate("navigator.clipboard.readText()")
    assert "models-off=0.0%2C1.0" in link
    page.goto(link)
    expect(sentence).to_have_text(words)
    tab.fine()
