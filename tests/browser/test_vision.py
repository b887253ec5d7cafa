"""An image in a browser: a patch is clicked, and chosen with the keyboard."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_explore import drawn, said, sentence, until_said

IMAGE = "explore?lang=en&source=image&s.grid=8&head=0"


def click(page: Page, row: int, column: int, side: int = 8) -> None:
    """Click the middle of a patch of the tinted image; rows and columns from 1."""
    frame = page.locator(".pc.over .pc-frame")
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    assert box is not None and abs(box["width"] - box["height"]) < 1
    page.mouse.move(
        box["x"] + (column - 0.5) / side * box["width"],
        box["y"] + (row - 0.5) / side * box["height"],
    )
    expect(page.locator(".pc.over .pc-tip")).to_contain_text(
        f"row {row}, column {column} · weight"
    )
    page.mouse.down()
    page.mouse.up()


@pytest.mark.parametrize(
    "tab", [{}, {"viewport": {"width": 390, "height": 844}, "has_touch": True}], indirect=True
)
def test_a_click_on_a_patch_chooses_the_query(tab):
    page = tab.open(IMAGE)
    drawn(page)
    click(page, 3, 6)  # in Z-order: 4 patches a square, 16 a quadrant
    until_said(page, "query")
    assert said(page, "query") == f"{16 + 0b001001}"
    expect(sentence(page)).to_contain_text("The patch in row 3, column 6")
    left = page.locator(".pc.over .pc-chosen").evaluate("e => [e.style.top, e.style.left]")
    assert left == ["25%", "62.5%"]
    tab.fine()


def test_arrow_keys_move_and_enter_chooses(tab):
    page = tab.open(IMAGE + "&query=0")
    drawn(page)
    page.locator(".pc.over .pc-frame").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_function("new URLSearchParams(location.search).get('query') === '3'")
    drawn(page)
    expect(sentence(page)).to_contain_text("The patch in row 2, column 2")
    tab.fine()


@pytest.mark.parametrize("tab", [{}, {"viewport": {"width": 390, "height": 844}}], indirect=True)
def test_saving_stands_over_the_images_and_not_on_them(tab):
    page = tab.open(IMAGE)
    drawn(page)
    saves, frames = (
        [one.bounding_box() for one in page.locator(f".pc-{part}").all()]
        for part in ("save", "frame")
    )
    assert len(saves) == len(frames) == 2
    for save, frame in zip(saves, frames, strict=True):
        assert save["y"] + save["height"] <= frame["y"]
    tab.fine()
