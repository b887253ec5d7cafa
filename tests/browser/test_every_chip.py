"""Home: every family and every mechanism under it is drawn when its chip is pressed."""

import re

import pytest
from playwright.sync_api import ConsoleMessage, expect

NUMBER = re.compile(r"^(–|\d[\d,]*(\.\d)?)$")


@pytest.mark.parametrize("tab", [{"viewport": {"width": 1280, "height": 720}}], indirect=True)
def test_every_chip_draws(tab) -> None:
    logged: list[str] = []

    def log(message: ConsoleMessage) -> None:
        if message.type == "error":
            logged.append(message.text)

    tab.page.on("console", log)
    page = tab.open("?lang=en")
    page.wait_for_selector(".home[data-drawn]")
    number = page.locator(".home-number")
    families = page.locator(".home-chips button")
    pressed = []
    for i in range(families.count()):
        families.nth(i).click()
        expect(families.nth(i)).to_have_attribute("aria-checked", "true")
        variants = page.locator(".home-variants button:enabled")
        for j in range(variants.count()):
            key = variants.nth(j).get_attribute("data-key")
            variants.nth(j).click()
            page.wait_for_selector(f".home[data-drawn^='{key} ']:not(.waiting)")
            # alone, and with all the text before it
            for step in ("0", page.locator(".home-slider").get_attribute("max")):
                page.locator(".home-slider").fill(step)
                expect(number).to_have_text(NUMBER)
                side = page.locator(".home-side").bounding_box()
                assert side["y"] <= page.locator(".home-effective").bounding_box()["y"]
                said = page.locator(".home-said").inner_text()
                assert said and not re.search(r"NaN|undefined|null|\{", said), said
            pressed.append(key)
    assert len(pressed) == len(set(pressed)) > 15
    assert page.locator("[data-testid='stException']").count() == 0
    assert not logged
    tab.fine()
