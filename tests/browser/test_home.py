"""Home: drawn at once, the slider and the chips move without the server, the door keeps all."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.home import faults, last, longer, opened

SIZES = [(1280, 720), (1366, 768), (1440, 900), (1920, 1080), (390, 844)]
WORDIEST = ("softmax", "delta", "transformer_xl")  # those with most to say of their families


def number(page: Page) -> float:
    return float(page.locator(".home-number").inner_text().replace(",", ""))


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
    assert last(page) >= 5
    seen = []
    for step in range(last(page) + 1):
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
        ({"color_scheme": scheme, "reduced_motion": "reduce"}, language)
        for scheme, language in (("light", "en"), ("dark", "zh"))
    ],
    indirect=["tab"],
)
def test_all_of_it_is_seen_at_every_size(tab, language: str) -> None:
    page = opened(tab, f"?lang={language}")
    families = page.locator(".home-chips button")
    for key in WORDIEST:
        for i in range(families.count()):
            families.nth(i).click()
            if page.locator(f'.home-variants [data-key="{key}"]').count():
                break
        page.locator(f'.home-variants [data-key="{key}"]').click()
        page.wait_for_selector(f".home[data-drawn^='{key} ']:not(.waiting)")
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate(
                "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
            )
            for step in (0, 3, last(page)):  # test_every_chip goes through all of them
                longer(page, step)
                assert faults(page) == [], (key, width, height, step)
    tab.fine()


def test_the_other_theme_has_the_same_room(tab) -> None:
    page = opened(tab, "?lang=en")
    page.emulate_media(color_scheme="dark")
    longer(page, last(page))
    assert faults(page) == []


def test_short_and_long_stand_side_by_side(tab) -> None:
    page = opened(tab)
    held = page.locator(".home-held-number")
    expect(held).to_be_hidden()  # nothing is longer yet
    alone = page.locator(".home-number").inner_text()
    longer(page, last(page))
    expect(held).to_have_text(alone)  # the story alone, without being asked
    expect(page.locator(".home-now-number")).to_have_text(
        page.locator(".home-number").inner_text()
    )
    assert number(page) > float(alone)
    past = page.locator(".home-now-past")
    expect(past).to_be_visible()  # the text before the story has a share of its own
    expect(page.locator(".home-held-past")).to_be_hidden()
    full = page.locator(".home-number").inner_text()
    page.locator(".home-hold").click()
    page.locator('.home-chips [data-key="remedies"]').click()
    expect(page.locator(".home")).to_have_attribute("data-drawn", re.compile("^ssmax "))
    expect(held).to_have_text(full)
    expect(page.locator(".home-held-label")).to_contain_text("Full attention")
    page.locator(".home-hold").click()
    expect(page.locator(".home-held-label")).not_to_contain_text("Full attention")
    tab.fine()


@pytest.mark.parametrize("tab", [{"reduced_motion": "reduce"}], indirect=True)
def test_the_longer_text_is_seen_to_be_longer(tab) -> None:
    page = opened(tab)
    expect(page.locator(".home-before")).to_be_hidden()
    size = "parseFloat(getComputedStyle(document.querySelector('.home-before')).fontSize)"
    begins = """() => {
        const { clipPath } = document.querySelector('.home-funnel').style;
        const [x] = clipPath.match(/[\\d.]+% 100%\\)/);
        return parseFloat(x);
    }"""
    sizes, places = [], []
    for step in range(1, last(page) + 1):
        longer(page, step)
        sizes.append(page.evaluate(size))
        places.append(page.evaluate(begins))
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 2 * sizes[-1]
    assert places == sorted(places) and places[0] < 55 and places[-1] > 90


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
