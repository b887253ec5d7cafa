"""A talk in a real browser: by keyboard, with a speaker's window, and with the server gone."""

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Tab, served

TALK = "talk?talk=dilution"


def at(page: Page, place: str) -> None:
    """The talk stands there, and its pictures are drawn."""
    expect(page.locator(f'.tk[data-at="{place}"]')).to_be_attached()
    expect(page.locator(".tk-plot:not([data-drawn])")).to_have_count(0)


def fits(page: Page) -> bool:
    """Nothing of the slide is outside of the window or scrolls."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".tk-frame > :not([hidden]), .tk-flow")].every(
          (e) => e.getBoundingClientRect().bottom <= innerHeight + 1 &&
            e.getBoundingClientRect().right <= innerWidth + 1)
          && document.documentElement.scrollHeight <= innerHeight"""
    )


def test_a_talk_is_given(browser: Browser, tmp_path):
    """Question, guess, steps, a click into a figure, black, full screen; the speaker's window
    goes along; the server goes, and all goes on."""
    with served("app.py", tmp_path) as address:
        context = browser.new_context(viewport={"width": 1920, "height": 1080})
        tab = Tab(context.new_page(), address)
        page = tab.open(TALK)
        at(page, "1.0")
        assert fits(page)
        assert not page.locator(".tk-flow .s64").count()  # nothing is given away
        page.locator('.tk-flow span[data-token="1"]').click()
        page.keyboard.press("PageDown")
        at(page, "1.1")
        assert page.locator(".tk-flow .s64").count()
        assert "Your guess" in page.inner_text(".tk-say")
        page.keyboard.press("r")
        expect(page.locator(".tk-flow .guess")).to_have_count(0)
        with page.context.expect_page() as opened:
            page.keyboard.press("s")
        speaker = opened.value
        at(speaker, "1.1")
        page.keyboard.press("ArrowRight")
        at(speaker, "2.1")
        assert speaker.inner_text(".tk-spoken").startswith("Same story")
        page.keyboard.press("f")
        page.wait_for_function("document.fullscreenElement?.classList.contains('tk')")
        page.keyboard.press("b")
        expect(page.locator(".tk-blank")).to_be_visible()
        page.keyboard.press("b")
    for place in ("2.2", "2.3", "3.1"):  # the server is gone
        page.keyboard.press("ArrowRight")
        at(page, place)
        assert fits(page)
    page.locator(".tk-plot").click()
    page.keyboard.press("ArrowRight")
    at(page, "3.2")
    at(speaker, "3.2")
    lines = page.evaluate("document.querySelector('.tk-plot').data.map((d) => d.y?.length ?? 0)")
    assert max(lines) > 50
    speaker.keyboard.press("Home")
    at(page, "1.0")
    assert not tab.errors
    context.close()
