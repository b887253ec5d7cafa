"""How long an audience waits: for a talk, for its next scene, for a page that was taken home.

    python -m engine bench --talks [--rounds N]

Seconds of this machine as it is loaded now, and, of what the browser alone does, seconds of its
main thread, which a busy machine lengthens little.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from engine.spec import talk as talks
from engine.talks import deck as decks
from engine.talks import page as pages
from tests.browser.conftest import served
from tests.browser.install import find

NAME = "dilution"
WITHIN = {"from Home": 2.0, "a change of scene": 0.3, "a page taken home": 2.0}
"""Goals, in seconds."""
DRAWN = "!document.querySelector('.tk-plot:not([data-drawn])')"


def told(name: str, found: list[float], of: str) -> None:
    """One line: the median, the slowest, and the goal."""
    middle, most = statistics.median(found), max(found)
    print(f"{name:<20} {of:<12} {middle:5.2f} s, slowest {most:5.2f} s; goal {WITHIN[name]} s")


def worked(page: Page) -> Callable[[], float]:
    """A clock of what the page's main thread has worked."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def clock() -> float:
        found = session.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in found if one["name"] == "TaskDuration")

    return clock


def from_home(browser: Browser, address: str) -> float:
    """From a click on Home to the first scene."""
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.set_default_timeout(120_000)
    page.goto(f"{address}/?lang=en")
    page.wait_for_selector(f".st-key-start-{NAME} button")
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    start = time.perf_counter()
    page.click(f".st-key-start-{NAME} button")
    page.wait_for_selector(".tk[data-at]")
    taken = time.perf_counter() - start
    page.close()
    return taken


def at_home(browser: Browser, file: Path) -> tuple[float, float, list[float]]:
    """The exported page: seconds and work to its first scene, and work of each change after."""
    context = browser.new_context(bypass_csp=True, viewport={"width": 1280, "height": 720})
    page = context.new_page()
    clock, start = worked(page), time.perf_counter()
    page.goto(file.as_uri(), wait_until="commit")
    page.wait_for_selector(".tk[data-at]")
    first = time.perf_counter() - start, clock()
    page.wait_for_function("window.Plotly")
    changes = []
    for _ in range(9):
        before = clock()
        page.keyboard.press("ArrowRight")
        page.wait_for_function(DRAWN)
        page.wait_for_timeout(200)
        changes.append(clock() - before)
    context.close()
    return *first, changes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each; the median is told")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as kept,
        served("app.py", Path(kept)) as address,
        sync_playwright() as playwright,
    ):
        file = Path(kept) / "talk.html"
        made = decks.packed(decks.beside(talks.named(NAME), "en"))
        assert made is not None
        file.write_text(pages.page(made), "utf-8")
        browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox"])
        from_home(browser, address)  # so that the server is warm
        told("from Home", [from_home(browser, address) for _ in range(args.rounds)], "waited")
        found = [at_home(browser, file) for _ in range(args.rounds)]
        told("a page taken home", [one[0] for one in found], "waited")
        told("a page taken home", [one[1] for one in found], "worked")
        told("a change of scene", [x for one in found for x in one[2]], "worked")
        browser.close()


if __name__ == "__main__":
    main()
