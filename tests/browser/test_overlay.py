"""The mechanism's structure on its map: its own order, rounds, borders, what is lost."""

import re

from playwright.sync_api import expect

TRACES = "document.querySelector('.hm-plot').data"


def opened(tab, query: str):
    page = tab.open(f"explore?lang=en&{query}")
    page.wait_for_selector('.hm[data-drawn][data-order="text"]')
    return page


def test_buckets_come_together_and_go_back(tab) -> None:
    page = opened(tab, "mechanism=lsh")
    rows = f"{TRACES}.at(-2).z.map(([g]) => g).filter((g, i, all) => g !== all[i - 1]).length"
    scattered = page.evaluate(rows)
    button = page.get_by_role("button", name=re.compile("order of their groups"))
    button.click()
    page.wait_for_selector('.hm[data-order="own"]')
    assert page.evaluate(rows) <= 16 < scattered, "each bucket is one stretch"
    page.locator(".hm-plot").press("ArrowDown")
    expect(page.locator(".hm-tip")).to_contain_text("Query")
    button.click()
    page.wait_for_selector('.hm[data-order="text"]')
    assert page.evaluate(rows) == scattered
    tab.fine()


def test_each_round_has_its_buckets(tab) -> None:
    page = opened(tab, "mechanism=lsh")
    band = f"JSON.stringify({TRACES}.at(-1).z)"
    first = page.evaluate(band)
    button = page.get_by_role("button", name=re.compile("next round"))
    expect(button).to_have_text("Round 1 of 4")
    button.click()
    expect(button).to_have_text("Round 2 of 4")
    assert page.evaluate(band) != first
    tab.fine()


def test_what_full_attention_had_is_shown(tab) -> None:
    page = opened(tab, "mechanism=segmented")
    expect(page.locator(".hm-legend")).to_have_text("no weight at all")
    before = page.evaluate(f"{TRACES}.length")
    page.get_by_role("button", name=re.compile("full attention gives")).click()
    expect(page.locator(".hm-legend")).to_contain_text("full attention gives more here")
    page.wait_for_function(f"{TRACES}.length > {before}")
    expect(page.get_by_text(re.compile(r"reads \d+ of the \d+ keys"))).to_be_visible()
    tab.fine()


def test_where_nothing_else_tells_the_mechanism_what_is_lost_is_shown_at_once(tab) -> None:
    page = opened(tab, "mechanism=gaussian")
    expect(page.locator(".hm-legend")).to_have_text("full attention gives more here")
    page.get_by_role("button", name=re.compile("full attention gives")).click()
    expect(page.locator(".hm-legend")).to_be_hidden()
    tab.fine()


def test_full_attention_itself_has_nothing_to_lose(tab) -> None:
    page = opened(tab, "mechanism=softmax")
    for name in ("full attention gives", "order of their groups", "next round"):
        expect(page.get_by_role("button", name=re.compile(name))).to_be_hidden()
    tab.fine()
