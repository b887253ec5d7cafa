"""A picture whose script is still on its way: its room is kept, with a word in it."""

import pytest

from engine.text.locale import locale

KEPT = """([key, word]) => {
  const found = [...document.querySelectorAll(`[class*="${key}"]`)];
  return found.length && found.every((e) =>
    getComputedStyle(e, "::before").content === `"${word}"` && e.clientHeight > 300);
}"""


@pytest.mark.parametrize(
    "path, key", [("foundations?lang=zh", "-moves-"), ("dilution?lang=en", "st-key-lab-chart-")]
)
def test_a_picture_has_its_room_before_it_is_drawn(tab, path: str, key: str) -> None:
    for script in ("BidiComponent", "PlotlyChart"):
        tab.page.route(f"**/*{script}*.js", lambda route: None)
    page = tab.open(path)
    page.wait_for_function(KEPT, arg=[key, locale(path[-2:])["drawing"]])
    tab.fine()
