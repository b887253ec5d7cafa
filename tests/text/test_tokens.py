"""Nothing about a token is invisible, and nothing in it is interpreted."""

import pytest

from engine.text.tokens import (
    direction,
    escaped,
    excerpt,
    isolated,
    joined,
    joining,
    runs_on,
    shortened,
    shown,
)


@pytest.mark.parametrize(
    "token, words",
    [
        (" the", "␣the"),
        ("\n", "↵"),
        ("a\n\n", "a↵↵"),
        ("\t", "⇥"),
        ("", "∅"),
        ("\u202eabc", "\\u202Eabc"),
        ("\u200b", "\\u200B"),
        ("\x00", "\\u0000"),
        ("\u00a0", "\\u00A0"),
        ("注意", "注意"),
        ("العربية", "العربية"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("\u200d", "\\u200D"),
        ("\u0301", "◌\u0301"),
        ("$x$ **b** %{z}", "$x$␣**b**␣%{z}"),
    ],
)
def test_shown(token, words):
    assert shown(token) == words


def test_escaped_is_inert():
    assert escaped("<b>&amp;</b>") == "&lt;b&gt;&amp;amp;&lt;/b&gt;"


def test_shortened_and_isolated():
    assert shortened("x" * 40, 8) == "x" * 7 + "…"
    assert isolated("العربية") == "\u2068العربية\u2069"


def test_a_character_that_tokens_share_is_said_once():
    assert joined(["a", "中¹⁄₂", "中²⁄₂", " b"]) == "a中 b"
    assert joined(["\n¹⁄₂", "\n²⁄₂"]) == "\n" and joined([]) == ""


def test_letters_of_a_joined_script_keep_their_forms_in_places_of_their_own():
    assert joining(["مر", "حبا", " ب", "!"]) == ["مر\u200d", "\u200dحبا", " ب", "!"]
    assert joining(["a", "b", "中", "文"]) == ["a", "b", "中", "文"]
    assert joining([]) == []


@pytest.mark.parametrize(
    ("text", "runs"),
    [("the fox", False), ("他来了 ok", True), ("مرحبا", True), ("한국어", True), ("123", False)],
)
def test_scripts_that_are_read_as_a_line(text, runs):
    assert runs_on(text) == runs


def test_most_letters_say_which_way_a_text_runs():
    assert direction("<|bos|>مرحبا بالعالم") == "rtl" and direction("a شكرا") == "rtl"
    assert direction("the fox") == direction("123") == direction("他来了") == "ltr"


def test_an_excerpt_is_how_a_text_begins():
    words = ["<|bos|>", "On", " a", " rock", "\n", "in"]
    assert excerpt(words) == "On a rock in"
    assert excerpt(words * 30).endswith("…") and len(excerpt(words * 30)) <= 73
    assert excerpt(["[CLS]", *"河边的渡口有一个摆船的人"], longest=6) == "河边的渡口有…"
    assert excerpt([" longer", " than", " that"], longest=8) == "longer…"
