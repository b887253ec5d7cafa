"""What of Home can be measured: that all of it is seen, and nothing lies on anything else."""

from pathlib import Path

from playwright.sync_api import Page

FAULTS = Path(__file__).with_name("faults.js").read_text("utf-8")
"""Of the page as it is drawn, each fault in a few words."""


def opened(tab, path: str = "?lang=en") -> Page:
    """Home once every family's first mechanism has come."""
    page = tab.open(path)
    page.wait_for_selector(".home[data-drawn]")
    page.wait_for_function("document.querySelector('.home').dataset.lacks === '0'")
    return page


def longer(page: Page, step: int) -> None:
    """Make the text so long."""
    page.locator(".home-slider").fill(str(step))


def last(page: Page) -> int:
    """The step of the longest text."""
    return int(page.locator(".home-slider").get_attribute("max") or 0)


def faults(page: Page) -> list[str]:
    """What is wrong with the page at its top, to which a press may have moved it from."""
    page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 0)")
    return page.evaluate(FAULTS)
