"""What stands beside the map and on it: curves, factors, parts, slots, marks; the first screen."""

import re

import pytest
from playwright.sync_api import Page, expect

TRACES = "document.querySelector('.hm-plot').data"
LAYOUT = "document.querySelector('.hm-plot').layout"
SMALL = {"viewport": {"width": 1280, "height": 720}}
WORDS = " ".join(["a"] * 44)


def opened(tab, query: str) -> Page:
    page = tab.open(f"explore?lang=en&{query}")
    page.wait_for_selector('div.hm[data-drawn][data-order="text"]:not([data-busy])')
    tab.settled()
    return page


def pressed(page: Page) -> str:
    return page.locator('.hm-sum [aria-pressed="true"]').inner_text()


def test_what_distance_leaves_stands_over_the_keys_and_along_the_diagonal(tab) -> None:
    page = opened(tab, "mechanism=relative&head=0&query=60")
    own = page.evaluate(f"{TRACES}.filter(({{fill}}) => fill)[0].y")
    assert own[60] == 1 and own[59] == pytest.approx(2 ** (-1 / 2.77), abs=0.01)
    assert own[61] is None
    assert page.evaluate(f"{TRACES}.filter(({{mode, fill}}) => mode && !fill).length") == 5
    assert page.evaluate(f"{LAYOUT}.shapes.filter(({{type}}) => type === 'path').length") == 1
    expect(page.locator(".hm-legend")).to_contain_text("closer than 3 tokens")
    expect(page.locator(".st-key-sentence")).to_contain_text("a key 3 tokens away")
    tab.fine()


def test_the_map_fills_in_as_its_rank_grows(tab) -> None:
    page = opened(tab, "mechanism=truncated_svd&m.rank=4")
    wide = f"{TRACES}.find(({{xaxis}}) => xaxis === 'x2').z[0].length"
    assert page.evaluate(wide) == 4
    expect(page.locator(".hm-legend")).to_contain_text("rank 4")
    page.evaluate("document.querySelector('.hm-plot').mine = true")
    assert page.get_by_test_id("stSidebar").get_by_role("slider").count() == 0
    thumb = page.locator(".st-key-rank").get_by_role("slider")
    thumb.press("ArrowRight")  # to twice the rank
    page.wait_for_function(f"location.search.includes('m.rank=8') && {wide} === 8")
    assert page.evaluate("document.querySelector('.hm-plot').mine"), "moved in place"
    tab.fine()


@pytest.mark.parametrize("key, part", [("routing", "local window"), ("differential", "second")])
def test_each_part_of_a_sum_is_seen_on_its_own(tab, key: str, part: str) -> None:
    page = opened(tab, f"mechanism={key}")
    sums = f"{TRACES}[0].z.at(-1).reduce((sum, x) => sum + (x || 0), 0)"
    whole = page.evaluate(sums)
    assert pressed(page) == "Map"
    parts = page.locator(".hm-sum button")
    found = []
    for i in range(1, parts.count()):
        before = page.evaluate(f"{TRACES}[0].z.at(-1).join()")
        parts.nth(i).click()
        page.wait_for_function(f"{TRACES}[0].z.at(-1).join() !== '{before}'")
        found.append(page.evaluate(sums))
    assert any(part in name for name in parts.all_inner_texts())
    assert sum(found) == pytest.approx(whole, abs=1e-4)
    parts.first.click()
    page.wait_for_function(f"Math.abs({sums} - {whole}) < 1e-6")
    tab.fine()


def test_the_slots_play_segment_by_segment(tab) -> None:
    page = opened(tab, "mechanism=memory_tokens&query=40")
    band = f"{TRACES}.find(({{yaxis}}) => yaxis === 'y2').z[0].filter((g) => g !== null).length"
    step = page.locator('[data-do="layer"]')
    expect(step).to_have_text("After segment 2 of 6")
    assert page.evaluate(band) == 32
    expect(page.locator(".glance")).to_contain_text("What each slot holds")
    play = page.locator('[data-do="play"]')
    play.click()
    expect(play).to_have_text("Pause")
    expect(step).to_have_text("After segment 6 of 6")
    expect(play).to_have_text("Play")
    assert page.evaluate(band) == 96
    tab.fine()


def test_capsules_agree_step_by_step(tab) -> None:
    page = opened(tab, "mechanism=capsule&m.iterations=3")
    step = page.locator('[data-do="layer"]')
    expect(step).to_have_text("Step 3 of 3")
    band = f"JSON.stringify({TRACES}.find(({{xaxis}}) => xaxis === 'x2').z)"
    last = page.evaluate(band)
    step.click()
    expect(step).to_have_text("Step 1 of 3")
    assert page.evaluate(band) != last
    tab.fine()


def test_what_a_repeated_key_erases_is_pointed_at(tab) -> None:
    page = opened(tab, "mechanism=delta")
    told = page.locator(".st-key-sentence").inner_text()
    share = re.search(r"erases (\d+%) of what", told)
    assert share is not None
    notes = page.evaluate(f"{LAYOUT}.annotations.map(({{text}}) => text)")
    assert f"{share[1]} erased" in notes
    page.locator(".tt-flow span").first.click()
    page.wait_for_function(f"!{LAYOUT}.annotations.some(({{text}}) => /erased/.test(text))")
    tab.fine()


def test_the_way_down_the_tree_multiplies_to_the_weight(tab) -> None:
    page = opened(tab, "mechanism=hierarchical")
    lines = page.locator(".glance .line")
    names = [lines.nth(i).locator("b").inner_text() for i in range(lines.count())]
    assert names == ["paragraph", "sentence", "word", "token"]
    shares = [
        float(lines.nth(i).locator(".share").inner_text().rstrip("%")) / 100
        for i in range(lines.count())
    ]
    told = page.locator(".st-key-sentence").inner_text()
    whole = float(re.search(r"= ([\d.]+)% for", told)[1]) / 100
    product = 1.0
    for share in shares:
        product *= share
    assert product == pytest.approx(whole, abs=0.02)
    tab.fine()


@pytest.mark.parametrize("tab", [SMALL], indirect=True)
@pytest.mark.parametrize("key", ["nystrom", "memory_tokens"])
def test_map_row_and_sentence_are_on_the_first_screen(tab, key: str) -> None:
    page = opened(tab, f"mechanism={key}")
    boxes = {
        place: page.locator(place).first.bounding_box()
        for place in (".hm-plot", ".glance", ".st-key-heads", ".hm-legend")
    }
    for place, box in boxes.items():
        if box is not None:
            assert box["y"] + box["height"] <= 720, place
            assert box["x"] + box["width"] <= 1280, place
    said = page.locator(".st-key-sentence").bounding_box()
    assert said is not None and said["y"] + 48 <= 720, "two lines of it, at least"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.fine()


@pytest.mark.parametrize("tab", [SMALL, {}], indirect=True)
def test_45_tokens_are_named_on_both_axes(tab) -> None:
    page = opened(tab, f"mechanism=softmax&text={WORDS}")
    for axis in ("xaxis", "yaxis"):
        page.wait_for_function(f"{LAYOUT}.{axis}.ticktext.length === 45")
    tab.fine()


def test_tokens_are_named_beside_a_zoomed_map(tab) -> None:
    page = opened(tab, "mechanism=softmax&zoom=40,80,40,80")
    for axis in ("xaxis", "yaxis"):
        assert page.evaluate(f"{LAYOUT}.{axis}.ticktext.length") == 40
    tab.fine()


def test_the_text_is_scrolled_to_the_chosen_token(tab) -> None:
    page = opened(tab, "mechanism=routing&query=100")
    page.wait_for_function(
        """() => {
          const flow = document.querySelector('.tt-flow').getBoundingClientRect();
          const one = document.querySelector('.tt-flow .chosen').getBoundingClientRect();
          return one.top >= flow.top && one.bottom <= flow.bottom;
        }"""
    )
    tab.fine()
