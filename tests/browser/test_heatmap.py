"""The heatmap in a browser: hands on keyboard and wheel, saved pictures, one cell a pair."""

import re

from playwright.sync_api import Page, WebSocketRoute, expect

LARGE = "explore?lang=en&source=planted&s.n=1500&s.causal=true&s.heads=1"


def opened(tab) -> Page:
    page = tab.open(LARGE)
    page.wait_for_selector(".hm[data-drawn]:not([data-busy])")
    return page


def view(page: Page) -> tuple[list[int], str]:
    """The window shown, and the size of a cell."""
    window, cell = page.locator(".hm[data-drawn]").get_attribute("data-drawn").split()
    return [int(x) for x in window.split("-")], cell


def until_other(page: Page, before: tuple[list[int], str]) -> tuple[list[int], str]:
    old = f"{'-'.join(map(str, before[0]))} {before[1]}"
    page.wait_for_function(
        "o => document.querySelector('.hm[data-drawn]').dataset.drawn !== o", arg=old
    )
    return view(page)


def test_keys_zoom_move_and_choose(tab) -> None:
    page = opened(tab)
    whole = view(page)
    assert whole == ([0, 1500, 0, 1500], "3x3")
    page.locator(".hm-plot").focus()
    page.keyboard.press("ArrowDown")
    cursor = page.locator(".hm-cursor")
    expect(cursor).to_be_visible()
    spoken = page.locator(".hm-spoken").inner_text()
    page.keyboard.press("ArrowLeft")
    assert page.locator(".hm-spoken").inner_text() != spoken
    page.keyboard.press("+")
    half = until_other(page, whole)
    assert half[0][1] - half[0][0] == 750 and half[1] == "2x2"
    page.keyboard.press("+")
    exact = until_other(page, half)
    assert exact[1] == "1x1"
    page.wait_for_function("location.search.includes('zoom=')")
    page.keyboard.press("Enter")
    page.wait_for_function("location.search.includes('query=')")
    query = int(re.search(r"query=(\d+)", page.url)[1])
    assert f"Query {query:,}" in page.locator(".hm-spoken").inner_text()
    page.keyboard.press("0")
    assert until_other(page, exact) == whole
    tab.fine()


def test_a_choice_that_was_displaced_is_told_again(tab) -> None:
    """Of a component's events the server keeps the newest alone until it takes it."""
    lost: list[str | bytes] = []

    def forward(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def message(data: str | bytes) -> None:
            if isinstance(data, bytes) and b'"query"' in data and not lost:
                lost.append(data)
            else:
                server.send(data)

        socket.on_message(message)

    tab.page.route_web_socket(re.compile("."), forward)
    page = opened(tab)
    page.locator(".hm-plot").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.press("+")
    page.wait_for_function("location.search.includes('zoom=')")
    assert len(lost) == 1 and "query=" in page.url
    tab.fine()


def test_a_cell_says_its_pair_and_its_weight(tab) -> None:
    page = opened(tab)
    box = page.locator(".hm-plot .nsewdrag").bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.7 * box["height"])
    tip = page.locator(".hm-tip")
    expect(tip).to_be_visible()
    assert re.match(
        r"Query [\d,]+–[\d,]+\nKey [\d,]+–[\d,]+\nlargest weight \S+$", tip.inner_text()
    )
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.1 * box["height"])
    expect(tip).to_contain_text("not visible")


def test_the_wheel_zooms_with_control_only(tab) -> None:
    page = opened(tab)
    whole = view(page)
    box = page.locator(".hm-plot .nsewdrag").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.6 * box["height"])
    page.mouse.wheel(0, -120)
    page.wait_for_timeout(500)
    assert view(page) == whole
    page.keyboard.down("Control")
    page.mouse.wheel(0, -120)
    page.keyboard.up("Control")
    window, _ = until_other(page, whole)
    assert window[1] - window[0] == 1200
    page.mouse.dblclick(box["x"] + 0.3 * box["width"], box["y"] + 0.6 * box["height"])
    page.wait_for_function(
        "document.querySelector('.hm[data-drawn]').dataset.drawn.startsWith('0-1500')"
    )
