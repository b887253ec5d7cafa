"""The dilution lab: a sweep runs in place, is stopped, goes on, and is taken away."""

import csv
import json
import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

SMALL = "dilution?lang=en&lab=measured&sweep.of=softmax,window&sweep.lengths=64,128&sweep.seeds=1"
LONG = (
    "dilution?lang=en&lab=measured&sweep.of=entmax,softmax&sweep.match=none"
    "&sweep.lengths=256,1024,4096,16384,65536,131072&sweep.seeds=4"
)


POINTS = """(document.querySelector('.mv-plot')?.data ?? [])
    .filter((t) => t.mode === 'lines+markers')
    .reduce((sum, t) => sum + (t.x ? t.x.length : 0), 0)"""


def points(page) -> int:
    """Points that the chart shows by now, over all lines."""
    return page.evaluate(POINTS)


def begun(page: Page, sign: Locator) -> Locator:
    """Wait for a sign that a sweep has begun, or press the button where the machine is too slow
    for it to start by itself; the button."""
    button = page.get_by_role("button", name="Measure", exact=True)
    expect(button.or_(sign).first).to_be_visible()
    if button.is_visible():
        button.click()
    return button


def test_a_sweep_fills_the_chart_and_is_taken_away(tab, tmp_path) -> None:
    page = tab.open(SMALL)
    begun(page, page.locator(".mv[data-done]"))
    page.wait_for_selector('.mv[data-done="yes"]')
    expect(page.get_by_text("→").first).to_be_visible()
    assert points(page) == 4
    rows = {}
    for form in ("CSV", "JSON"):
        tab.settled()
        with page.expect_download() as taken:
            page.get_by_role("button", name=form, exact=True).click()
        path = tmp_path / f"found.{form}"
        taken.value.save_as(path)
        text = Path(path).read_text("utf-8")
        rows[form] = list(csv.DictReader(text.splitlines())) if form == "CSV" else json.loads(text)
    assert len(rows["CSV"]) == len(rows["JSON"]) == 2 * 2 * 4
    assert {row["n"] for row in rows["CSV"]} == {"64", "128"}
    tab.fine()


def test_a_sweep_is_stopped_and_goes_on(tab) -> None:
    page = tab.open(LONG)
    stop = page.locator(".mv-working:not([hidden]) .mv-stop")
    button = begun(page, stop)
    page.wait_for_function(f"{POINTS} > 0")
    stop.click()
    page.wait_for_selector('.mv[data-done="stopped"]')
    expect(button).to_be_visible()
    before = points(page)
    assert 0 < before < 12
    button.click()
    page.wait_for_function(f"{POINTS} > {before}")
    stop.click()  # else it goes on for as long as the page may come back, and others' wait
    page.wait_for_selector('.mv[data-done="stopped"]')
    tab.fine()


def test_the_theory_moves_and_the_url_keeps_it(tab) -> None:
    page = tab.open("dilution?lang=en")
    page.wait_for_selector(".js-plotly-plot .scatterlayer")
    said = page.get_by_text("At 4,096 keys full").inner_text()
    slider = page.locator(".st-key-lab-gap input")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("At 4,096 keys full")).not_to_have_text(said)
    page.wait_for_url(re.compile("lab-gap="))
    changed = page.get_by_text("At 4,096 keys full").inner_text()
    again = tab.open(page.url.split("/", 3)[3])
    expect(again.get_by_text("At 4,096 keys full")).to_have_text(changed)
    tab.fine()


def test_a_row_thins_out_in_place(tab) -> None:
    page = tab.open("dilution?lang=en&lab=thinning&sweep.of=softmax,entmax")
    page.wait_for_selector(".mv[data-turns]")
    length = "document.querySelector('.mv-plot').data[0].x.length"
    expect(page.locator(".mv-label")).to_have_text("n = 4,096")
    long = page.evaluate(length)
    page.locator(".mv-slider").fill("0")
    expect(page.locator(".mv-label")).to_have_text("n = 16")
    assert page.evaluate(length) < long
    tab.fine()


def test_lengths_are_chosen_by_their_ends(tab) -> None:
    page = tab.open("dilution?lang=en&lab=measured")
    first = page.get_by_role("slider", name="Lengths, doubling — start")
    first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile(r"sweep\.lengths=512"))
    tab.fine()


def test_the_lab_opens_with_a_whole_sweep(tab) -> None:
    page = tab.open("dilution?lang=en&lab=measured")
    page.wait_for_function(f"{POINTS} === 25")  # five mechanisms at five lengths, none measured
    expect(page.locator(".mv-working")).to_be_hidden()
    expect(page.get_by_role("button", name="Measure", exact=True)).to_have_count(0)
    tab.fine()
