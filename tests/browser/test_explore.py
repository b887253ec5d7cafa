"""Explore in a browser: text typed, mechanism changed, token clicked, zoomed in, and reloaded."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import choose, settled

TEXT = "Odile wound the clock, and the clock struck nine. Nobody but Odile counted."


def drawn(page: Page) -> None:
    """Wait until the picture is there and nothing is being computed."""
    page.wait_for_selector("div.hm[data-drawn]:not([data-busy])")
    settled(page)


def opened(tab, path: str = "explore?lang=en") -> Page:
    page = tab.open(path)
    drawn(page)
    return page


def said(page: Page, key: str) -> str | None:
    """What the URL says about a key."""
    return parse_qs(urlsplit(page.url).query, keep_blank_values=True).get(key, [None])[0]


def until_said(page: Page, key: str) -> None:
    page.wait_for_function(
        "key => new URLSearchParams(location.search).has(key)", arg=key, timeout=60_000
    )
    drawn(page)


def sentence(page: Page):
    return page.locator(".st-key-sentence")


def pick(page: Page, field: str, words: str) -> None:
    """Choose from one of the sidebar's lists."""
    choose(page, f"choose-{field}-en", words)


def type_text(page: Page, text: str) -> None:
    pick(page, "source", "Your own text")
    box = page.locator(".st-key-own-text textarea")
    box.fill(text)
    box.press("Control+Enter")


def drag(page: Page, x0: float, y0: float, x1: float, y1: float) -> None:
    """Drag over the picture, in shares of its sides."""
    box = page.locator(".hm-plot .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + x0 * box["width"], box["y"] + y0 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + x1 * box["width"], box["y"] + y1 * box["height"], steps=6)
    page.mouse.up()


def test_a_visit(tab) -> None:
    page = opened(tab)
    type_text(page, TEXT)
    # choosing "your own text" alone puts the sample's text into the URL first
    page.wait_for_function(
        "text => new URLSearchParams(location.search).get('text') === text", arg=TEXT
    )
    drawn(page)
    pick(page, "mechanism", "Window with sinks")
    until_said(page, "mechanism")
    before = sentence(page).inner_text()
    total, chosen = page.locator(".tt").get_attribute("data-drawn").split()
    page.locator(".tt-flow span").nth((int(chosen) + 7) % int(total)).click()
    until_said(page, "query")
    expect(sentence(page)).not_to_have_text(before)
    drag(page, 0.1, 0.4, 0.5, 0.8)
    until_said(page, "zoom")
    window = page.locator("div.hm").get_attribute("data-drawn")
    view, words = page.url, sentence(page).inner_text()
    page.reload()
    drawn(page)
    expect(sentence(page)).to_have_text(words, use_inner_text=True)
    assert page.url == view
    assert page.locator("div.hm").get_attribute("data-drawn") == window
    assert page.locator(".tt-flow").inner_text().replace("\n", " ").count("Odile") == 2
    tab.fine()


def test_a_tip_goes_with_the_text_that_it_is_about(tab) -> None:
    page = opened(tab)
    type_text(page, TEXT)
    expect(page.locator(".tt-flow")).to_contain_text("Odile", timeout=60_000)
    drawn(page)
    page.locator(".tt-flow span").last.hover()
    expect(page.locator(".tt-tip")).to_be_visible()
    box = page.locator(".st-key-own-text textarea")
    box.fill("Nobody counted.")
    box.press("Control+Enter")
    expect(page.locator(".tt-flow")).not_to_contain_text("Odile", timeout=60_000)
    expect(page.locator(".tt-tip")).to_be_hidden()
    tab.fine()


def test_a_click_in_the_picture_chooses_a_query(tab) -> None:
    page = opened(tab)
    box = page.locator(".hm-plot .nsewdrag").first.bounding_box()
    page.mouse.click(box["x"] + 0.1 * box["width"], box["y"] + 0.75 * box["height"])
    until_said(page, "query")
    share = int(said(page, "query")) / int(re.search(r"([\d,]+) tokens", _badge(page))[1])
    assert 0.65 < share < 0.85
    tab.fine()


def _badge(page: Page) -> str:
    return page.locator(".st-key-badge").inner_text()


def test_a_click_on_a_head_makes_it_large(tab) -> None:
    page = tab.open("explore?lang=en&head=all")
    page.wait_for_selector(".st-key-heads .nsewdrag")
    settled(page)
    box = page.locator(".st-key-heads .nsewdrag").first.bounding_box()
    page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
    drawn(page)
    assert said(page, "head") == "0"
    tab.fine()


def test_the_language_changes_every_word_and_keeps_the_choices(tab) -> None:
    page = opened(tab, "explore?lang=en&mechanism=segmented&m.segment=16")
    page.locator(".st-key-language button", has_text="中文").click()
    expect(page.locator(".st-key-sentence")).to_contain_text("词元")
    drawn(page)
    assert said(page, "mechanism") == "segmented" and said(page, "m.segment") == "16"
    assert page.locator(".st-key-choose-mechanism-zh input").get_attribute("value") == "分段"
    tab.fine()


@pytest.mark.parametrize("tab", [{"color_scheme": "dark"}], indirect=True)
def test_dark(tab) -> None:
    page = opened(tab)
    colour = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert colour == "rgb(21, 23, 27)"
    tab.fine()


def test_tokens_are_data(tab) -> None:
    page = opened(tab)
    page.evaluate("window.ran = 0")
    type_text(
        page, "<img src=x onerror='ran=1'> <b>b</b> $x^2$ :red[r] %{z} <script>ran=1</script>"
    )
    expect(page.locator(".tt-flow")).to_contain_text("<b>b</b>", timeout=60_000)
    drawn(page)
    assert page.evaluate("window.ran") == 0
    assert page.locator(".stMain img[src=x]").count() == 0
    assert "<b>b</b>" in page.locator(".tt-flow").inner_text()
    tab.fine()


def test_a_file_is_read_and_its_link_opens_it_again(tab, tmp_path) -> None:
    page = opened(tab)
    pick(page, "source", "Text file")
    path = tmp_path / "long.txt"
    path.write_text("The lamp was lit. Nobody knew by whom.\n\n" * 200, "utf-8")
    page.locator('[data-testid="stFileUploaderDropzoneInput"]').set_input_files(path)
    until_said(page, "file")
    assert "trained" in _badge(page)
    view = page.url
    page.goto(view)
    drawn(page)
    assert page.url == view


def test_broken_uploads_get_a_sentence_and_the_choices_stay(tab, tmp_path) -> None:
    page = opened(tab, "explore?lang=en&colour=row")
    pick(page, "source", "Your own arrays")
    path = tmp_path / "weights.npz"
    path.write_bytes(b"\x80\x04]\x94.")
    page.locator('[data-testid="stFileUploaderDropzoneInput"]').set_input_files(path)
    page.wait_for_selector(".st-key-trouble")
    assert said(page, "colour") == "row"
    pick(page, "source", "Quill’s lamp (short)")
    page.wait_for_function("() => !new URLSearchParams(location.search).has('arrays')")
    drawn(page)
    assert said(page, "colour") == "row"
    tab.fine()
