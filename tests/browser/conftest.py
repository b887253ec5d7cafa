"""The whole app on a free port, and pages of a real browser that can reach nothing else."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.install import find

ROOT = Path(__file__).parents[2]
SECONDS = 120
expect.set_options(timeout=SECONDS * 1000)
LISTENING = """
  const hooked = WebSocket, { send } = hooked.prototype, known = new WeakSet();
  hooked.prototype.send = function (data) {
    window.asked = performance.now();
    if (!known.has(this)) this.addEventListener("message", () => window.heard = performance.now());
    known.add(this);
    return send.call(this, data);
  };
  window.listening = () => window.WebSocket === hooked;  // a test may put another in its place
"""
"""Notes when the page last asked the server, and when it last heard of it."""
SETTLED = """quiet => {
  const app = document.querySelector('[data-testid="stApp"]');
  if (app?.dataset.testScriptState !== "notRunning") return false;
  if (!window.listening?.()) return true;
  return window.heard > window.asked && performance.now() - window.heard > quiet;
}"""
QUIET = 200
"""Milliseconds in which nothing comes once an answer is whole."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder drives a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


class Server:
    """A script that Streamlit runs on a free port, which it keeps: it can go and come again.

    Attributes:
        address: where it answers while it runs.
    """

    def __init__(self, script: str | Path, kept: Path, **environment: str) -> None:
        """What it keeps on disk goes to a folder, `kept`."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        run = [sys.executable, "-m", "streamlit", "run", str(script), f"--server.port={port}"]
        self.command = run
        # one thread: beside a browser on few cores, more of them wait for each other
        own = {"OMP_NUM_THREADS": "1", "ATTENTION_EXPLORER_CACHE": str(kept)}
        self.environment = os.environ | own | environment

    def start(self) -> None:
        """Run it; back when it answers."""
        self.process = subprocess.Popen(self.command, cwd=ROOT, env=self.environment)
        for _ in range(SECONDS * 4):
            try:
                urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=1)
                break
            except OSError:
                assert self.process.poll() is None, "the app did not start"
                time.sleep(0.25)

    def stop(self) -> None:
        """End it; back when it is gone."""
        self.process.terminate()
        self.process.wait(10)


@contextmanager
def running(script: str | Path, kept: Path, **environment: str) -> Iterator[Server]:
    """A server that runs, and is ended at the end."""
    server = Server(script, kept, **environment)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def served(script: str | Path, kept: Path, **environment: str) -> Iterator[str]:
    """The address of a script that Streamlit runs; what it keeps on disk goes to a folder."""
    with running(script, kept, **environment) as server:
        yield server.address


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app's address."""
    with served("app.py", tmp_path_factory.mktemp("kept")) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    path = find()
    if path is None:
        pytest.fail("no Chromium here: python tests/browser/install.py installs one")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def settled(page: Page) -> None:
    """What the page asked for is answered, and the script has run to its end: until then what is
    clicked may be drawn anew. A choice that has just been made is not asked for at once, so that a
    script that rests says nothing by itself."""
    page.wait_for_function(SETTLED, arg=QUIET)


def choose(page: Page, key: str, words: str) -> None:
    """Choose from a list. One that is drawn anew while it is open closes: one opens it again, as
    a person would."""
    box = page.locator(f".st-key-{key} input")
    for _ in range(3):
        settled(page)
        box.click()
        page.get_by_role("option", name=words, exact=True).click()
        try:
            expect(box).to_have_value(words, timeout=5000)
        except AssertionError:
            continue
        return
    raise AssertionError(f"{words} can't be chosen")


class Tab:
    """A page of the browser, with what went wrong in it and whom it asked.

    Attributes:
        errors: uncaught errors of scripts. asked: hosts of its requests.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.errors: list[str] = []
        self.asked: set[str] = set()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.asked.add(request.url.split("/")[2]))
        page.set_default_timeout(SECONDS * 1000)
        page.add_init_script(LISTENING)

    def open(self, path: str = "") -> Page:
        self.page.goto(f"{self.address}/{path}")
        return self.page

    def settled(self) -> None:
        """Everything that the page asked for is answered."""
        settled(self.page)

    def choose(self, key: str, words: str) -> None:
        """Choose from a list."""
        choose(self.page, key, words)

    def fine(self) -> None:
        """No script failed, and nothing outside was asked."""
        assert not self.errors
        assert self.asked == {self.address.removeprefix("http://")}


@pytest.fixture
def tab(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Tab]:
    """A fresh page, 1440 × 900; other options by `parametrize("tab", [{...}], indirect=True)`."""
    options: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}}
    context = browser.new_context(**options | getattr(request, "param", {}))
    yield Tab(context.new_page(), address)
    context.close()
