"""Foundations: a control of every part is moved, and its picture changes."""

import re

from playwright.sync_api import expect

"""Pictures a second at least while training: a shared machine without a GPU draws them; ten and
more where it is a machine's own."""


def drawn(page, name: str) -> str:
    """What a chart of a lesson shows: its pictures, curves and words."""
    plot = page.locator(f".st-key-{name} .js-plotly-plot")
    plot.locator(".main-svg").first.wait_for()
    return plot.evaluate(
        "(plot) => JSON.stringify([plot.data, plot.layout.annotations, plot.layout.shapes])"
    )


def changed(page, name: str, before: str) -> None:
    """Waits until a chart shows something else."""
    page.wait_for_function(
        """([name, before]) => {
            const plot = document.querySelector(`.st-key-${name} .js-plotly-plot`);
            return plot?.data && before !==
                JSON.stringify([plot.data, plot.layout.annotations, plot.layout.shapes]);
        }""",
        arg=[name, before],
    )


def test_a_mask_is_painted_by_mouse_and_by_keys(tab) -> None:
    page = tab.open("foundations?lang=en&part=masking&masking-kind=own&masking-row=8")
    expect(page.get_by_text("Row 8 has no visible keys")).to_be_visible()
    before = drawn(page, "masking-picture-after")
    cell = page.locator('.pt-cell[data-r="7"][data-c="0"]')
    cell.scroll_into_view_if_needed()
    start, end = cell.bounding_box(), page.locator('[data-r="7"][data-c="2"]').bounding_box()
    page.mouse.move(start["x"] + 9, start["y"] + 9)
    page.mouse.down()
    page.mouse.move(end["x"] + 9, end["y"] + 9, steps=12)
    page.mouse.up()
    expect(page.get_by_text("Row 8 may see 3 of 8 keys")).to_be_visible()
    changed(page, "masking-picture-after", before)
    page.wait_for_url(re.compile("masking-own=80c0e0f0783c1ee0"))
    page.locator('[data-r="7"][data-c="2"]').focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.get_by_text("Row 8 may see 4 of 8 keys")).to_be_visible()
    page.wait_for_url(re.compile("masking-own=80c0e0f0783c1ef0"))
    again = tab.open(page.url.split("/", 3)[3])
    expect(again.get_by_text("Row 8 may see 4 of 8 keys")).to_be_visible()
    tab.fine()


def test_a_head_is_switched_off(tab) -> None:
    page = tab.open("foundations?lang=en&part=heads")
    before = drawn(page, "heads-picture-output")
    page.locator(".st-key-heads-off-en input").click()
    page.get_by_role("option", name="3", exact=True).click()
    expect(page.get_by_text("Without head 3")).to_be_visible()
    changed(page, "heads-picture-output", before)
    page.wait_for_url(re.compile("heads-off=3"))
    tab.fine()


def test_positions_break_the_symmetry_and_turn(tab) -> None:
    page = tab.open("foundations?lang=en&part=positions")
    expect(page.get_by_text("The outputs only change places")).to_be_visible()
    before = drawn(page, "positions-picture-gap")
    page.get_by_role("radio", name="Sinusoidal").click()
    expect(page.get_by_text("do more than change places")).to_be_visible()
    changed(page, "positions-picture-gap", before)
    page.get_by_role("radio", name="Encodings").click()
    before = drawn(page, "positions-picture-sinusoidal")
    page.locator(".st-key-positions-offset input").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("to the one 9 further on")).to_be_visible()
    changed(page, "positions-picture-sinusoidal", before)
    tab.fine()


def moved(page, slider: str, picture: str) -> None:
    """One step of a slider changes a picture, in place."""
    before = drawn(page, picture)
    place = f".st-key-{picture} .js-plotly-plot"
    page.evaluate("(place) => { window.kept = document.querySelector(place); }", place)
    page.locator(f".st-key-{slider} input").first.focus()
    page.keyboard.press("ArrowRight")
    changed(page, picture, before)
    assert page.evaluate("(place) => window.kept === document.querySelector(place)", place)


def test_a_query_is_asked_of_the_scene(tab) -> None:
    page = tab.open("foundations?lang=en&part=cues")
    before = drawn(page, "cues-moves-scene")
    page.get_by_role("radio", name="Look for …").click()
    expect(page.get_by_text("The goal decides: the")).to_be_visible()
    changed(page, "cues-moves-scene", before)
    page.wait_for_url(re.compile("cues-cue=query"))
    moved(page, "cues-strength", "cues-moves-scene")
    page.get_by_role("button", name="Next: Attention as kernel regression").click()
    page.wait_for_url(re.compile("part=regression"))
    moved(page, "regression-query", "regression-moves-picture")
    tab.fine()


def test_scores_and_pooling_move(tab) -> None:
    page = tab.open("foundations?lang=en&part=scoring")
    moved(page, "scoring-d", "scoring-moves-histograms")
    page = tab.open("foundations?lang=en&part=pooling")
    moved(page, "pooling-x", "pooling-moves-sum")
    page.wait_for_url(re.compile("pooling-x=1.6"))
    tab.fine()


def test_training_moves_in_place_and_can_be_stopped(tab) -> None:
    page = tab.open("foundations?lang=en&part=regression&regression-pool=learned")
    page.locator(".st-key-regression-moves-descent .main-svg").first.wait_for()
    turns = "Number(document.querySelector('.st-key-regression-moves-picture .mv').dataset.turns)"
    page.locator(".st-key-regression-start button").click()
    page.locator(".st-key-regression-moves-picture .mv-working:not([hidden])").wait_for()
    first = page.evaluate(turns)
    page.wait_for_function(f"{turns} >= {first + 10}")
    assert page.locator(".st-key-regression-moves-picture .mv-working").is_visible()
    page.locator(".st-key-regression-moves-picture .mv-stop").click()
    expect(page.get_by_role("button", name="Train")).to_be_enabled()
    told = re.compile(r"In \d+ steps?, w went|After \d+ steps?, w is")
    expect(page.get_by_text(told)).to_be_visible()
    tab.fine()
