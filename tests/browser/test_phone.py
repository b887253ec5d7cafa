"""On a phone: nothing runs sideways, the pages are found by name, taps reach tokens."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_explore import drawn, said, until_said

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
PAGES = {
    "": "Home",
    "explore": "Explore",
    "models": "Models",
    "compare": "Compare",
    "dilution": "Dilution",
    "foundations": "Foundations",
}
WIDER = """() => {
  const main = document.querySelector('[data-testid="stMain"]');
  return Math.max(document.documentElement.scrollWidth - innerWidth,
                  main.scrollWidth - main.clientWidth);
}"""


def menu(page: Page):
    return page.get_by_test_id("stExpandSidebarButton")


def name_beside_the_menu(page: Page) -> str:
    return page.evaluate(
        "e => getComputedStyle(e, '::after').content", menu(page).element_handle()
    )


@pytest.mark.parametrize("tab", [PHONE], indirect=True)
def test_every_page_fits_and_says_its_name(tab) -> None:
    for path, name in PAGES.items():
        page = tab.open(f"{path}?lang=en")
        page.wait_for_selector(".hd-copy")
        tab.settled()
        assert page.evaluate(WIDER) <= 0, path
        assert name_beside_the_menu(page) == f'"{name}"'
    tab.fine()


HIDDEN = """() => [...document.querySelectorAll(".ct")].flatMap((chart) => {
  if (!chart.clientWidth) return []; // in a tab that is not open
  const save = chart.querySelector(".ct-save summary");
  save.scrollIntoView({ block: "center" });
  const own = save.getBoundingClientRect();
  const words = [...chart.querySelectorAll(".ct-plot text")].filter((text) => {
    const one = text.getBoundingClientRect();
    return one.width && one.left < own.right && one.right > own.left &&
      one.top < own.bottom - 6 && one.bottom > own.top;
  }).map((text) => text.textContent);
  const there = document.elementFromPoint(own.left + own.width / 2, own.top + own.height / 2);
  return save.contains(there) ? words : ["no way to save"];
})"""


@pytest.mark.parametrize("tab", [PHONE], indirect=True)
@pytest.mark.parametrize(
    "path", ["dilution?lab=measured", "explore?mechanism=lsh", "models?models-part=finder"]
)
def test_saving_a_picture_covers_no_words(tab, path: str) -> None:
    page = tab.open(f"{path}&lang=en")
    page.wait_for_selector(".ct .main-svg")
    tab.settled()
    page.wait_for_function(
        "[...document.querySelectorAll('.ct-plot:empty')].every((one) => !one.clientWidth)"
    )
    assert page.evaluate(HIDDEN) == []
    tab.fine()


@pytest.mark.parametrize("tab", [PHONE], indirect=True)
def test_the_menu_closes_when_a_page_is_chosen(tab) -> None:
    page = tab.open("explore?lang=en")
    page.wait_for_selector(".hd-copy")
    tab.settled()
    menu(page).tap()
    page.get_by_test_id("stSidebarNavLink").filter(has_text="Foundations").tap()
    page.wait_for_url(re.compile("/foundations"))
    expect(page.get_by_test_id("stSidebar")).to_have_attribute("data-collapsed", "true")
    expect(page.get_by_role("heading", name="Attention cues")).to_be_visible()
    tab.fine()


@pytest.mark.parametrize("tab", [PHONE], indirect=True)
def test_a_tap_chooses_a_token(tab) -> None:
    page = tab.open("explore?lang=en&mechanism=window")
    drawn(page)
    page.locator(".tt-flow span").nth(20).tap()
    until_said(page, "query")
    assert said(page, "query") == "20"
    tab.fine()
