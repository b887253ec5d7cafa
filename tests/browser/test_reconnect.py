"""A network that goes and comes back: the session is the same, with all that only it holds."""

import re

from playwright.sync_api import WebSocketRoute, expect

STORY = "這是一個很久以前的故事，講的是一個老人和他的燈。每天晚上他都走上山去，把燈點亮。"
AWAY = 3
"""Times that the browser asks for the server while the network is gone."""


def test_a_session_comes_back_with_what_it_holds(tab, tmp_path) -> None:
    file = tmp_path / "story.txt"
    file.write_bytes((STORY * 60).encode("big5"))
    sockets: list[WebSocketRoute] = []
    cut: list[bool] = []

    def passed(socket: WebSocketRoute) -> None:
        if cut and len(cut) <= AWAY:
            cut.append(True)
            socket.close()
            return
        socket.connect_to_server()
        sockets.append(socket)

    tab.page.route_web_socket("**/_stcore/stream", passed)
    page = tab.open("explore?lang=en&mechanism=window&m.window=9")
    tab.settled()
    tab.choose("choose-source-en", "Text file")
    page.locator('[data-testid="stFileUploaderDropzoneInput"]').set_input_files(file)
    read_as = page.get_by_text("story.txt was read as big5")
    expect(read_as).to_be_visible()
    tab.settled()
    chosen = page.url
    assert "m.window=9" in chosen and "file=" in chosen

    cut.append(True)
    sockets[0].close()
    for _ in range(120):
        if len(sockets) > 1:
            break
        page.wait_for_timeout(500)
    assert len(sockets) == 2 and len(cut) == AWAY + 1  # it asked in vain, then it came back
    page.wait_for_selector('[data-testid="stApp"][data-test-connection-state="CONNECTED"]')
    tab.settled()
    assert page.url == chosen
    # how the upload was read is held by the session alone: a new one would not say it
    tab.choose("choose-mechanism-en", "Linear attention")
    expect(page).to_have_url(re.compile("(?=.*file=)(?=.*mechanism=linear)"))
    expect(page.locator(".hm .main-svg").first).to_be_visible()
    expect(read_as).to_be_visible()
    assert not tab.errors
