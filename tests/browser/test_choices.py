"""Rows of choices on a page: all of them can be seen, each with its whole border."""

import pytest

from tests.browser.test_phone import PHONE

ROW = ".stMain [data-testid='stButtonGroup'] > [role='radiogroup']"
OPEN = """(row) => [...document.querySelectorAll(`${row} button`)].filter((one) => {
  const style = getComputedStyle(one);
  const sides = ["Left", "Right", "Top", "Bottom"].map((side) => style[`border${side}Color`]);
  return parseFloat(style.borderLeftWidth) && sides.some((colour) => /, 0\\)$/.test(colour));
}).map((one) => one.textContent)"""
"""Choices with a side that can't be seen."""
AWAY = """(row) => [...document.querySelectorAll(row)]
  .filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.textContent)"""
"""Rows of which some lies out of sight."""


@pytest.mark.parametrize(
    "tab", [PHONE, {"viewport": {"width": 1280, "height": 720}}], indirect=True
)
@pytest.mark.parametrize(
    "path", ["dilution?lab=growing&lang=zh", "explore?source=image&s.grid=8&lang=en"]
)
def test_rows_of_choices_wrap_with_whole_borders(tab, path: str) -> None:
    page = tab.open(path)
    page.wait_for_selector(f"{ROW} button[data-selected]")
    tab.settled()
    assert page.evaluate(AWAY, ROW) == []
    assert page.evaluate(OPEN, ROW) == []
    tab.fine()
