"""Figures that are taken away: a caption, names on the axes, a link back, nothing of the page."""

import re
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from engine.figures.base.theme import DARK, LIGHT
from tests.browser.conftest import Tab

MAP = "explore?lang=en&mechanism=window&layer=1&head=2"
UNCHARTED = (".tt", ".te", ".pc.over")


@pytest.fixture
def taken(tab, tmp_path: Path) -> Callable[[str, str, str], Path]:
    """Saves a figure of a page in a form: the file, under the name that it was given."""

    def save(path: str, figure: str, form: str) -> Path:
        page: Page = tab.open(path)
        drawn = figure if figure in UNCHARTED else f"{figure} .main-svg"
        page.locator(drawn).first.wait_for()
        tab.settled()
        page.locator(figure).first.hover()
        menu = page.locator(f"{figure} .sv").first
        menu.locator("summary").click()
        with page.expect_download() as download:
            menu.locator(f'[data-take="{form}"]').click()
        place = tmp_path / download.value.suggested_filename
        download.value.save_as(place)
        tab.fine()
        return place

    return save


def test_a_map_as_svg(taken):
    file = taken(MAP, ".hm", "svg")
    assert file.name == "tiny-layer-1-head-2-window-picture.svg"
    svg = file.read_text("utf-8")
    words = " ".join(re.findall(r"<text[^>]*>(.*?)</text>", svg))
    for said in ("On a rock in the bay", "layer 1 · Head 2 · Window with sinks (Window 16,",
                 "no weight at all", "one cell per pair"):  # fmt: skip
        assert said in words
    assert "⁨␣rock⁩" in svg  # tokens are named on the axes
    assert re.search(r'<a href="http://127[^"]*mechanism=window', svg)
    assert "#ab4609" not in svg  # the row that the page speaks of is not framed


@pytest.mark.parametrize(
    ("tab", "path", "figure", "count", "said"),
    [
        ({"color_scheme": "dark"}, MAP, ".tt", ("<text", 90), "rock"),
        ({}, "models?lang=en&models-part=one", ".te", ("<text", 90), "<path"),
        (
            {"color_scheme": "dark"}, "explore?lang=en&source=image&s.grid=8&head=0",
            ".pc.over", ("<rect", 64), "0.0",
        ),
    ],
    indirect=["tab"],
)  # fmt: skip
def test_what_is_not_a_chart_as_svg(taken, figure, path, count, said):
    """A text, its lines, an image: drawn on light paper in either theme."""
    svg = taken(path, figure, "svg").read_text("utf-8")
    element, least = count
    assert svg.count(element) >= least and said in svg
    assert f'height="100%" fill="{LIGHT.paper}"' in svg
    ink = set(re.findall(r'<text[^>]* fill="(#[0-9a-f]{6})"', svg))
    assert LIGHT.ink in ink and DARK.ink not in ink
    assert re.search(r'<a href="http://127', svg)


def test_a_dark_chart_is_saved_on_light_paper(browser: Browser, address: str, tmp_path: Path):
    context = browser.new_context(color_scheme="dark", viewport={"width": 1440, "height": 900})
    page = Tab(context.new_page(), address).open("dilution?lang=en&lab=theory")
    page.locator(".ct .main-svg").first.wait_for()
    page.locator(".ct").first.hover()
    menu = page.locator(".ct .sv").first
    menu.locator("summary").click()
    with page.expect_download() as download:
        menu.locator('[data-take="svg"]').click()
    download.value.save_as(tmp_path / "chart.svg")
    svg = (tmp_path / "chart.svg").read_text("utf-8")
    colours = ["rgb({}, {}, {})".format(*bytes.fromhex(one[1:])) for one in DARK.lines]
    assert not [colour for colour in colours if colour in svg]
    assert f'fill="{LIGHT.paper}"' in svg
    context.close()


@pytest.mark.parametrize(("form", "scale"), [("png2", 2), ("png4", 4)])
def test_a_map_as_png(taken, form, scale):
    image = Image.open(taken(MAP, ".hm", form)).convert("RGB")
    assert image.width == scale * (103 * 9 + 180 + 32)
    colours = {colour for _, colour in image.getcolors(2**24)}
    assert len(colours) > 60  # a map, not a blank page


def test_a_map_as_pdf(taken):
    pdf = taken(MAP, ".hm", "pdf").read_bytes()
    assert pdf.startswith(b"%PDF-1.4") and pdf.endswith(b"%%EOF\n")
    assert re.search(rb"/URI \(http://127[^)]*mechanism=window", pdf)
    head = re.search(rb"/Width (\d+) /Height (\d+) .*/Length (\d+) >>\nstream\n", pdf)
    width, height, length = map(int, head.groups())
    pixels = zlib.decompress(pdf[head.end() : head.end() + length])
    assert len(pixels) == 3 * width * height and len(set(pixels[::97])) > 60
    start = int(re.search(rb"startxref\n(\d+)", pdf)[1])
    assert pdf[start:].startswith(b"xref")
    for number, place in enumerate(re.findall(rb"\n(\d{10}) 00000 n", pdf), 1):
        assert pdf[int(place) :].startswith(b"%d 0 obj" % number)


@pytest.mark.parametrize(
    ("path", "figure", "said"),
    [
        (MAP, ".hm", "Window with sinks"),
        ("dilution?lang=en&lab=theory&lab-gap=4", ".ct", "Gap: the needle's logit above"),
        ("foundations?lang=zh&part=regression", ".mv", "核：高斯"),
    ],
)
def test_a_figure_as_a_page_of_its_own(taken, browser: Browser, path, figure, said):
    """It opens where there is no network, shows the same numbers, and says where it is from."""
    file = taken(path, figure, "html")
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 1300})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"file://{file}")
    page.locator("#figure .main-svg").first.wait_for()
    assert said in page.inner_text("figcaption")
    assert page.get_attribute("figcaption a", "href").startswith("http://127.0.0.1")
    drawn = page.evaluate("document.getElementById('figure').data[0]")
    values = [x for row in drawn.get("z", [drawn.get("y")]) for x in row if x is not None]
    assert len(values) > 30 and max(values) > min(values)
    if figure == ".hm":
        box = page.locator("#figure .nsewdrag").bounding_box()
        page.mouse.move(box["x"] + 5, box["y"] + 0.8 * box["height"])
        page.mouse.move(box["x"] + 6, box["y"] + 0.8 * box["height"])
        page.locator(".hovertext").wait_for()
        assert "<|bos|>" in (page.locator(".hovertext").text_content() or "")
    assert not errors
    context.close()
