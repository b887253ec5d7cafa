"""The app in other pages: in a frame of a course, in a deck of reveal.js, as a link."""

import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import ROOT, served

REVEAL = ROOT / "node_modules" / "reveal.js" / "dist"


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """Another site's address: a folder that a server of its own gives out."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def held(browser: Browser, address: str) -> Page:
    """A site's page that holds Explore in a frame."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(f"{address}/course.html")
    return page


def test_a_course_page_holds_it(browser: Browser, tmp_path: Path):
    """Where its owner names the site: without menus, with the map. No other site may."""
    with (
        site(tmp_path) as course,
        site(tmp_path) as other,
        served("app.py", tmp_path / "kept", ATTENTION_EXPLORER_EMBED=course) as address,
    ):
        source = f"{address}/explore?mechanism=window&lang=en&embed=true"
        frame = f'<h1>Course</h1><iframe src="{source}" width="1200" height="800"></iframe>'
        (tmp_path / "course.html").write_text(frame, "utf-8")
        page = held(browser, course)
        inside = page.frame_locator("iframe")
        inside.locator(".hm[data-drawn]").wait_for()
        expect(inside.locator('[data-testid="stTopNavLink"]:visible')).to_have_count(0)
        page.context.close()
        page = held(browser, other)
        page.wait_for_timeout(3000)
        assert not [one for one in page.frames[1:] if one.url.startswith(address)]
        page.context.close()
        answer = urllib.request.urlopen(f"{address}/talk?talk=dilution&lang=zh")
        assert answer.headers["x-content-type-options"] == "nosniff"
        told = answer.read().decode()
        assert '<meta property="og:title" content="' in told and "Streamlit</title>" not in told


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A talk as one page."""
    file = tmp_path_factory.mktemp("deck") / "talk.html"
    command = [sys.executable, "-m", "engine", "talk", "export", "hashing", "--html", str(file)]
    subprocess.run(command, cwd=ROOT, check=True)
    return file


def recipe() -> tuple[str, str]:
    """The slide and the script of docs/talks.md."""
    _, part = (ROOT / "docs" / "talks.md").read_text("utf-8").split("reveal.js\n", 1)
    slide, script = (block.split("```")[0] for block in part.split("```html\n")[1:3])
    return slide, script


def test_a_deck_of_reveal_holds_a_talk(browser: Browser, talk: Path):
    """Arrow keys go through the talk, and past its end through the deck."""
    slide, script = recipe()
    (talk.parent / "mine.html").write_text(talk.read_text("utf-8"), "utf-8")
    deck = talk.parent / "deck.html"
    deck.write_text(
        f"""<!doctype html><link rel="stylesheet" href="{REVEAL.as_uri()}/reveal.css">
        <div class="reveal"><div class="slides"><section id="one">One</section>{slide}
        <section id="three">Three</section></div></div>
        <script src="{REVEAL.as_uri()}/reveal.js"></script>
        <script>Reveal.initialize({{ transition: "none" }});</script>{script}""",
        "utf-8",
    )
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(deck.as_uri())
    page.wait_for_function("window.Reveal?.isReady()")
    page.keyboard.press("ArrowRight")
    inside = page.frame_locator("iframe")
    inside.locator(".tk[data-at]").wait_for()
    page.wait_for_function("document.activeElement.tagName === 'IFRAME'")
    first = inside.locator(".tk").get_attribute("data-at")
    page.keyboard.press("ArrowRight")
    expect(inside.locator(f'.tk[data-at="{first}"]')).to_have_count(0)
    assert page.evaluate("Reveal.getIndices().h") == 1
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("Reveal.getIndices().h === 2")
    context.close()
