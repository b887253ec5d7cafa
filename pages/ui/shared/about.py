"""What the page says of its figures when they are taken away: where they come from, and what was
chosen. A page may say it itself; else it is its name and its controls, as they are drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

import streamlit as st

PLACE = "about"


@dataclass
class About:
    """What a figure says of itself.

    Attributes:
        words: first of all, in a line each. file: of its file, how the name begins.
        chosen: what was chosen, by the names of the controls.
    """

    words: list[str]
    file: str
    chosen: dict[str, str] = field(default_factory=dict)


def begin(title: str, file: str) -> None:
    """A run begins on the page of this name."""
    st.session_state[PLACE] = About([title], file)


def say(found: About) -> None:
    """The page says it itself."""
    st.session_state[PLACE] = found


def choose(control: str, value: str) -> None:
    """A control shows this value."""
    about_page().chosen[control] = value


def about_page() -> About:
    """What is said so far."""
    return st.session_state.setdefault(PLACE, About([], "attention"))
