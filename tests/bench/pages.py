"""How long a person waits for a page, in Chromium, with the server warm.

    python -m engine bench --pages [--rounds N]

Seconds of this machine as it is loaded now, beside what is aimed at on two quiet cores.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from engine.mechanisms import MECHANISMS
from tests.browser.conftest import served
from tests.browser.install import find

MAP = "div.hm[data-drawn]:not([data-busy])"
IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
CHART = ".js-plotly-plot .main-svg"
WITHIN = {"explore": 1.5, "head": 0.5, "zoom": 0.4, "tab": 2.0, "measured": 1.0}
"""Goals, in seconds."""


def seconds(act: Callable[[], object]) -> float:
    """What an act takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def told(name: str, goal: str, found: list[float]) -> None:
    """One line: the median, the slowest, and the goal."""
    middle, most = statistics.median(found), max(found)
    print(f"{name:<34} {middle:6.2f} s, slowest {most:6.2f} s; goal {WITHIN[goal]} s", flush=True)


def opened(page: Page, address: str, path: str, ready: str) -> float:
    """From a URL to what is waited for."""

    def act() -> None:
        page.goto(f"{address}/{path}")
        page.wait_for_selector(ready)

    return seconds(act)


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
        browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(120_000)
        for key in MECHANISMS:
            path = f"explore?lang=en&mechanism={key}"
            opened(page, address, path, MAP)  # so that the server is warm
            page.wait_for_selector(IDLE)
            told(f"explore, {key}", "explore",
                 [opened(page, address, path, MAP) for _ in range(args.rounds)])  # fmt: skip
        page.wait_for_selector(IDLE)
        heads = page.locator(".st-key-choose-head button")
        found = []
        for i in range(args.rounds + 1):
            before = page.locator(".st-key-sentence").inner_text()
            button = heads.nth(2 + i)

            def choose(button=button, before=before) -> None:
                button.click()
                page.wait_for_function(
                    "before => document.querySelector('.st-key-sentence')?.innerText != before",
                    arg=before,
                )

            found.append(seconds(choose))
            page.wait_for_selector(IDLE)
        told("a change of head", "head", found)
        opened(page, address, "explore?lang=en", MAP)
        page.wait_for_selector(IDLE)

        note = page.locator(".hm-note").first.inner_text()

        def zoom() -> None:
            page.locator(".hm [data-do='in']").first.click()
            page.wait_for_function(
                "note => document.querySelector('.hm-note').innerText != note"
                " && !document.querySelector('.hm[data-busy]')",
                arg=note,
            )

        told("the first +", "zoom", [seconds(zoom)])
        for lab in ("theory", "thinning", "noise", "growing", "measured"):
            path = f"dilution?lang=en&lab={lab}"
            opened(page, address, path, CHART)
            page.wait_for_selector(IDLE)
            told(f"dilution, {lab}", "measured" if lab == "measured" else "tab",
                 [opened(page, address, path, CHART) for _ in range(args.rounds)])  # fmt: skip
        browser.close()


if __name__ == "__main__":
    main()
