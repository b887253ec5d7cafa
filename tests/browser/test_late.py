"""Choices that are made faster than the server answers: none takes another back."""

import re

from playwright.sync_api import WebSocketRoute, expect


def test_two_choices_before_the_first_answer_are_both_kept(tab) -> None:
    held: list[str | bytes] = []
    holding: list[bool] = []
    sockets: list[WebSocketRoute] = []

    def passed(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        sockets.append(socket)
        server.on_message(lambda data: held.append(data) if holding else socket.send(data))

    tab.page.route_web_socket("**/_stcore/stream", passed)
    page = tab.open("explore?lang=en&mechanism=window&m.window=9")
    page.wait_for_selector(".hm[data-drawn]:not([data-busy])")
    tab.settled()
    holding.append(True)
    tab.choose("choose-mechanism-en", "Linear attention")
    page.wait_for_timeout(3000)  # its run has ended, and the new address is on its way
    tab.choose("choose-source-en", "Your own text")
    page.wait_for_timeout(1000)
    holding.clear()
    for data in held:
        sockets[0].send(data)
    expect(page).to_have_url(re.compile("(?=.*text=)(?=.*mechanism=linear)"))
    tab.settled()
    tab.fine()


def test_going_back_takes_a_choice_back(tab) -> None:
    page = tab.open("explore?lang=en&mechanism=window&m.window=9")
    tab.settled()
    tab.choose("choose-mechanism-en", "Linear attention")
    expect(page).to_have_url(re.compile("mechanism=linear"))
    page.go_back()
    expect(page.locator(".st-key-choose-mechanism-en input")).to_have_value("Window with sinks")
    tab.settled()
    assert "mechanism=window&m.window=9" in page.url
    tab.fine()
