"""Home: every mechanism is drawn whole, in both languages, in finite numbers; at its shortest and
at one more length in turn, and as a sweep at every length."""

import re

import pytest
from playwright.sync_api import ConsoleMessage, expect

from tests.browser.home import faults, last, longer

NUMBER = re.compile(r"^(–|\d[\d,]*(\.\d)?)$")


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.sweep)])
@pytest.mark.parametrize(
    "tab",
    [{"viewport": {"width": 1280, "height": 720}, "reduced_motion": "reduce"}],
    indirect=True,
)
def test_every_chip_draws(tab, every: bool) -> None:
    """The first token is set aside throughout, as differential weights were once undone by."""
    logged: list[str] = []

    def log(message: ConsoleMessage) -> None:
        if message.type == "error":
            logged.append(message.text)

    tab.page.on("console", log)
    for language in ("en", "zh"):
        page = tab.open(f"?lang={language}")
        page.wait_for_selector(".home[data-drawn]")
        families = page.locator(".home-chips button")
        pressed, pictures = [], set()
        for i in range(families.count()):
            families.nth(i).click()
            expect(families.nth(i)).to_have_attribute("aria-checked", "true")
            variants = page.locator(".home-variants button:enabled")
            for j in range(variants.count()):
                key = variants.nth(j).get_attribute("data-key")
                variants.nth(j).click()
                page.wait_for_selector(f".home[data-drawn^='{key} ']:not(.waiting)")
                most = last(page)
                for step in range(most + 1) if every else (0, 1 + len(pressed) % most):
                    longer(page, step)
                    assert faults(page) == [], (language, key, step)
                    assert NUMBER.match(page.locator(".home-number").inner_text())
                    assert page.locator(".home-said").inner_text()
                    assert page.locator(".home-did").inner_text()
                longer(page, 0)
                pictures.add(page.locator(".home-title").inner_text())
                pressed.append(key)
        assert len(pressed) == len(set(pressed)) > 15
        assert len(pictures) > 10  # not one picture for all
    assert page.locator("[data-testid='stException']").count() == 0
    assert not logged
    tab.fine()
