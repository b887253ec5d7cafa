"""Every page by axe, in both themes: nothing that keeps a person out."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from pages.ui import dilution, foundations, models
from tests.browser.conftest import Tab

MAP, CHART = ".hm[data-drawn]", ".ct .main-svg"
PAGES = {
    "": ".home[data-drawn]",
    "explore?mechanism=lsh": MAP,
    "compare": MAP,
    "models": CHART,
    "dilution?lab=noise": CHART,
    "foundations?part=masking": CHART,
    "talk": "h3",
    "talk?talk=dilution": ".tk[data-at]",
}
"""What is there once each is drawn."""
PARTS = (
    *(f"models?models-part={part}" for part in models.PARTS if part != "heads"),
    *(f"dilution?lab={part}" for part in dilution.PARTS if part != "noise"),
    *(f"foundations?part={part}" for part in foundations.PARTS if part != "masking"),
    "explore?source=image&s.grid=8",
    "talk?talk=dilution&view=speaker",
    "talk?talk=nothing",
)
"""The rest, half of them in each theme: together they are as long as everything else."""
BAD = ("serious", "critical")


THEMES = pytest.mark.parametrize(
    "tab", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True
)


def faults(page: Page) -> dict[str, list[str]]:
    """What is wrong there once fonts and styles have come, and where."""
    page.wait_for_load_state("networkidle")
    page.evaluate("document.fonts.ready")
    return {
        fault["id"]: [node["html"][:120] for node in fault["nodes"][:4]]
        for fault in Axe().run(page).response["violations"]
        if fault["impact"] in BAD
    }


@THEMES
def test_axe_finds_nothing_serious(tab: Tab) -> None:
    found = {}
    for path, drawn in PAGES.items():
        page = tab.open(path)
        page.wait_for_selector(drawn)
        tab.settled()
        found |= {(path, fault): places for fault, places in faults(page).items()}
    assert not found


@THEMES
def test_axe_finds_nothing_serious_in_any_part(tab: Tab) -> None:
    found = {}
    dark = tab.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    for path in PARTS[int(dark) :: 2]:
        page = tab.open(path)
        page.wait_for_selector(
            ".stMainBlockContainer .stElementContainer:not(.st-key-page-header)"
        )
        tab.settled()
        found |= {(path, fault): places for fault, places in faults(page).items()}
    assert not found
