"""Whoever closes the page leaves: what was being made for them holds up nobody else."""

from playwright.sync_api import Browser, expect

from tests.browser.conftest import SECONDS

LONG = "explore?lang=en&source=planted&s.n=65536&s.heads=1&mechanism=additive&m.hidden=256"
"""Minutes of work, which begins when it is asked for."""
SHORT = "explore?lang=en&source=planted&s.n=48&s.seed=7&mechanism=window"


def test_a_page_that_is_closed_frees_the_seat(browser: Browser, address: str) -> None:
    leaving = browser.new_page()
    leaving.set_default_timeout(SECONDS * 1000)
    leaving.goto(f"{address}/{LONG}")
    leaving.get_by_role("button", name="Compute", exact=True).click()
    expect(leaving.get_by_role("button", name="Stop")).to_be_visible()
    leaving.close()
    other = browser.new_page()
    other.set_default_timeout(SECONDS * 1000)
    other.goto(f"{address}/{SHORT}")
    other.locator(".hm[data-drawn]").wait_for()
    other.close()
