"""A talk that plays in the browser: pictures, keys, a second window for the speaker."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pages.ui.components.looks import LOOKS, registered, script, words
from pages.ui.server.windows import PLOTLY

component = registered(
    "attention_talk",
    html=Path(__file__).with_name("talk.html").read_text("utf-8"),
    css=Path(__file__).with_name("talk.css").read_text("utf-8"),
    js=script("talk.js"),
    isolate_styles=False,
)

DEEDS = (
    "next", "back", "ends", "blank", "full", "notes", "again", "overview", "speaker", "live",
    "out",
)  # fmt: skip
WORDS = (
    *DEEDS, *(f"keys_{deed}" for deed in DEEDS), "empty", "finished", "following", "gone", "guess",
    "guessed", "here", "hint", "no_notes", "no_page", "step",
)  # fmt: skip


def talk(
    key: str,
    deck: Mapping[str, Any],
    name: str,
    t: Callable[..., str],
    *,
    speaker: bool,
    on_leave: Callable[[], None],
) -> None:
    """Play it.

    Args:
        deck: of `engine.talks.deck`. name: windows with the same name stay in step.
        t: words, `component.talk.*`. speaker: this is the speaker's window.
        on_leave: called when the person leaves the talk.
    """
    component(
        key=key,
        data={
            "deck": deck,
            "name": name,
            "speaker": speaker,
            "pages": True,
            "plotly": PLOTLY,
            "language": deck["language"],
            "looks": LOOKS,
            "words": words(t, "talk", WORDS, "token weight"),
        },
        on_leave_change=on_leave,
    )
