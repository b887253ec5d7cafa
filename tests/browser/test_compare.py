"""Compare in a browser: change a mechanism, zoom one and all follow, reload to the same view."""

import pytest
from playwright.sync_api import Page, expect

from engine.models.embedded import trained
from tests.browser.conftest import settled
from tests.browser.test_explore import said

SETTLED = """count => {
  const maps = [...document.querySelectorAll('div.hm')];
  return maps.length === count && maps.every((m) => m.dataset.drawn && !m.dataset.busy);
}"""


def drawn(page: Page, count: int) -> None:
    """Wait until so many maps are there and nothing is being computed."""
    page.wait_for_function(SETTLED, arg=count)
    settled(page)
    page.wait_for_function(SETTLED, arg=count)


def windows(page: Page) -> list[str]:
    """What each map shows: its window and the size of a cell."""
    return [m.get_attribute("data-drawn") for m in page.locator("div.hm").all()]


def drag(page: Page, which: int) -> None:
    """Drag over a part of one map."""
    box = page.locator(".hm-plot .nsewdrag").nth(which).bounding_box()
    assert box is not None
    x, y, width, height = (box[k] for k in ("x", "y", "width", "height"))
    page.mouse.move(x + 0.1 * width, y + 0.5 * height)
    page.mouse.down()
    page.mouse.move(x + 0.5 * width, y + 0.9 * height, steps=6)
    page.mouse.up()


def scales(page: Page) -> list[list[float]]:
    """Where each map's colours begin and end."""
    return page.evaluate(
        "[...document.querySelectorAll('.hm-plot')].map((p) => [p.data[0].zmin, p.data[0].zmax])"
    )


def test_a_visit(tab) -> None:
    page = tab.open("compare?lang=en")
    drawn(page, 3)
    assert len(set(windows(page))) == 1
    tab.choose("column-1-en", "Segments")
    page.wait_for_function("location.search.includes('with=segmented')")
    drawn(page, 3)
    before = windows(page)
    drag(page, 1)
    # the others follow in the page itself, before the server knows
    page.wait_for_function(
        "old => [...document.querySelectorAll('div.hm')].every((m) => m.dataset.drawn !== old)",
        arg=before[0],
    )
    assert len(set(windows(page))) == 1
    page.wait_for_function("location.search.includes('zoom=')")
    drawn(page, 3)
    zoomed = windows(page)
    assert len(set(zoomed)) == 1 and zoomed[0] != before[0]
    assert zoomed[0].split()[0] == said(page, "zoom").replace(",", "-")
    # a query chosen in one is marked in all at once
    box = page.locator(".hm-plot .nsewdrag").nth(2).bounding_box()
    page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.wait_for_function("location.search.includes('query=')")
    drawn(page, 3)
    marks = page.evaluate(
        "[...document.querySelectorAll('.hm-plot')].map((p) => p.layout.shapes[0]?.y0)"
    )
    assert marks[0] is not None and len(set(marks)) == 1
    words, view = page.locator(".st-key-verdict-2").inner_text(), page.url
    page.reload()
    drawn(page, 3)
    assert page.url == view and windows(page) == zoomed
    expect(page.locator(".st-key-verdict-2")).to_have_text(words, use_inner_text=True)
    tab.fine()


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_one_scale_while_zooming(tab, pool: str) -> None:
    page = tab.open(
        f"compare?lang=en&source=planted&s.n=900&s.heads=1&with=window&m2.window=16&pool={pool}"
    )
    drawn(page, 2)
    assert scales(page)[0] == scales(page)[1]
    drag(page, 0)
    page.wait_for_function("location.search.includes('zoom=')")
    drawn(page, 2)
    page.wait_for_function(
        "() => new Set([...document.querySelectorAll('.hm-plot')]"
        ".map((p) => p.data[0].zmax)).size === 1"
    )
    tab.fine()


def test_doors_lead_there_and_back(tab) -> None:
    page = tab.open("explore?lang=en&mechanism=window&m.window=8")
    drawn(page, 1)
    page.get_by_role("link", name="Compare with full attention").click()
    page.wait_for_url("**/compare?*")
    drawn(page, 2)
    assert (said(page, "mechanism"), said(page, "m.window")) == ("window", "8")
    page.get_by_role("link", name="Open in Explore").nth(1).click()
    page.wait_for_url("**/explore?*")
    drawn(page, 1)
    assert said(page, "mechanism") is None  # full attention, the default
    assert page.locator(".st-key-choose-mechanism-en input").count() == 1
    tab.fine()


def test_settings_stay_open_while_they_are_changed(tab) -> None:
    page = tab.open("compare?lang=en&with=window")
    drawn(page, 2)
    page.locator(".st-key-settings-1 button").click()
    slider = page.get_by_role("slider").first
    slider.focus()
    slider.press("ArrowLeft")
    page.wait_for_function("location.search.includes('m2.window=')")
    drawn(page, 2)
    expect(slider).to_be_visible()
    assert int(said(page, "m2.window")) < 64
    tab.fine()


@pytest.mark.skipif("zoo-window" not in trained(), reason="it is not trained")
def test_a_model_that_was_trained_so_stands_under_its_mechanism(tab) -> None:
    page = tab.open("compare?lang=en&with=window")
    drawn(page, 2)
    page.get_by_role("radio", name="And trained this way").click()
    page.wait_for_function("location.search.includes('trained=own')")
    drawn(page, 3)
    assert len(set(windows(page))) == 1
    drag(page, 0)  # all maps follow
    page.wait_for_function("location.search.includes('zoom=')")
    drawn(page, 3)
    assert len(set(windows(page))) == 1
    page.get_by_role("link", name="Open in Explore").last.click()
    page.wait_for_url("**/explore?*")
    drawn(page, 1)
    assert (said(page, "mechanism"), said(page, "trained")) == ("window", "own")
    expect(page.locator(".st-key-badge")).to_contain_text("this is its own attention")
    tab.fine()
