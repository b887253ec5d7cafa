"""Home: drawn at once, the slider and the chips move without the server, the door keeps all."""

import re
from itertools import pairwise

import pytest
from playwright.sync_api import Page, expect

PARTS = ("before", "story", "said", "number", "cells", "slider", "chips", "door", "scale")
SCREENS = [
    (1440, 900, "light", "en"),
    (1440, 900, "dark", "zh"),
    (1920, 1080, "light", "zh"),
    (1920, 1080, "dark", "en"),
]


def opened(tab, path: str = "?lang=en") -> Page:
    """Home once every family's first mechanism has come."""
    page = tab.open(path)
    page.wait_for_selector(".home[data-drawn]")
    page.wait_for_function("document.querySelector('.home').dataset.lacks === '0'")
    return page


def number(page: Page) -> float:
    return float(page.locator(".home-number").inner_text().replace(",", ""))


def longer(page: Page, step: int) -> None:
    page.locator(".home-slider").fill(str(step))


def counted(page: Page) -> None:
    """Count what the page sends to the server from now on, in window.sentFrames."""
    page.evaluate(
        """() => {
            window.sentFrames = 0;
            const send = WebSocket.prototype.send;
            WebSocket.prototype.send = function (data) {
                window.sentFrames += 1;
                send.call(this, data);
            };
        }"""
    )


def test_the_slider_moves_in_place(tab) -> None:
    page = opened(tab)
    counted(page)
    last = int(page.locator(".home-slider").get_attribute("max"))
    assert last >= 5
    seen = []
    for step in range(last + 1):
        longer(page, step)
        n = page.locator(".home").get_attribute("data-drawn").split()[1]
        assert f"{int(n):,}" in page.locator(".home-length").inner_text()
        seen.append((int(n), number(page), page.locator(".home-said").inner_text()))
    lengths, effective, words = zip(*seen, strict=True)
    assert list(lengths) == sorted(set(lengths))
    assert len(set(words)) > 1 and all(
        1 <= e <= n for e, n in zip(effective, lengths, strict=True)
    )
    assert len(set(effective)) > 1
    assert page.evaluate("window.sentFrames") == 0
    tab.fine()


def test_the_chips_retint_at_once(tab) -> None:
    page = opened(tab)
    counted(page)
    chips = page.locator(".home-chips button")
    assert chips.count() >= 3
    classes = "[...document.querySelectorAll('.home-text span span')].map(e => e.className).join()"
    looks = set()
    for i in (chips.count() - 1, *range(chips.count() - 1)):
        chips.nth(i).click()
        expect(chips.nth(i)).to_have_attribute("aria-checked", "true")
        expect(page.locator(".home")).not_to_have_class(re.compile("waiting"))
        looks.add(page.evaluate(classes))
    assert len(looks) > chips.count() / 2
    chips.nth(0).click()
    page.keyboard.press("ArrowRight")
    expect(chips.nth(1)).to_be_focused()
    expect(chips.nth(1)).to_have_attribute("aria-checked", "true")


def test_a_variant_comes_when_its_family_is_opened(tab) -> None:
    page = opened(tab)
    page.locator('.home-chips [data-key="segments"]').click()
    variants = page.locator(".home-variants button")
    assert variants.count() >= 2
    for key in ("window", "segmented"):
        page.locator(f'.home-variants [data-key="{key}"]').click()
        expect(page.locator(".home")).to_have_attribute("data-drawn", re.compile(f"^{key} "))
    tab.fine()


def test_what_is_said_is_what_is_drawn(tab) -> None:
    page = opened(tab)
    said = page.locator(".home-said").inner_text()
    assert said.startswith("“Quill”") and re.search(r"\d%", said)
    assert page.locator(".home-story .chosen").count() == 1
    assert page.locator(".home-story .chosen").inner_text().strip()[0] in "Quill"
    assert page.locator(".home-story").inner_text().startswith("On a rock in the bay, Quill")


@pytest.mark.parametrize(
    ("tab", "language"),
    [
        ({"viewport": {"width": w, "height": h}, "color_scheme": scheme}, language)
        for w, h, scheme, language in SCREENS
    ],
    indirect=["tab"],
)
def test_all_of_it_is_above_the_fold(tab, language: str) -> None:
    page = opened(tab, f"?lang={language}")
    last = int(page.locator(".home-slider").get_attribute("max"))
    height = page.viewport_size["height"]
    for step in (0, last):
        longer(page, step)
        for part in (
            "before",
            "story",
            "said",
            "number",
            "cells",
            "slider",
            "chips",
            "door",
            "scale",
        ):
            box = page.locator(f".home-{part}").bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] <= height, part
        column = [page.locator(f".home-{part}").bounding_box() for part in PARTS[:3]]
        for above, below in pairwise(column):
            assert above["y"] + above["height"] <= below["y"] + 1
    tab.fine()


def test_the_door_keeps_the_settings(tab) -> None:
    page = opened(tab)
    longer(page, 2)
    page.locator('.home-chips [data-key="segments"]').click()
    page.locator('.home-variants [data-key="window"]').click()
    expect(page.locator(".home")).to_have_attribute("data-drawn", re.compile("^window "))
    link = page.locator(".home-door").get_attribute("href")
    assert "mechanism=window" in link and "query=" in link
    page.locator(".home-door").click()
    page.wait_for_url("**/explore?**")
    page.wait_for_selector(".tt[data-drawn]")
    assert "mechanism=window" in page.url and "file=" in page.url
    expect(page.locator(".tt-flow")).to_contain_text("Quill kept a lamp")
    direct = tab.open(link)  # the same as a link in a new tab
    direct.wait_for_selector(".tt[data-drawn]")
    expect(direct.locator(".tt-flow")).to_contain_text("Quill kept a lamp")
    tab.fine()
