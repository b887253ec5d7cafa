"""Every page by axe, in both themes: nothing that keeps a person out."""

import pytest
from axe_playwright_python.sync_playwright import Axe

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
BAD = ("serious", "critical")


@pytest.mark.parametrize(
    "tab", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True
)
def test_axe_finds_nothing_serious(tab: Tab) -> None:
    found = {}
    for path, drawn in PAGES.items():
        page = tab.open(path)
        page.wait_for_selector(drawn)
        tab.settled()
        for fault in Axe().run(page).response["violations"]:
            if fault["impact"] in BAD:
                places = [node["html"][:120] for node in fault["nodes"][:4]]
                found[path, fault["id"]] = places
    assert not found
