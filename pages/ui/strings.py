"""Words of the person's language, from assets/locales. A missing key is an error."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from engine.fields import LANGUAGES
from pages.ui import state

LOCALES = Path(__file__).parents[2] / "assets" / "locales"


@cache
def locale(language: str) -> dict[str, str]:
    """All strings of one language, by dotted key."""
    return json.loads((LOCALES / f"{language}.json").read_text("utf-8"))


def language() -> str:
    """The language chosen, else the browser's, else English."""
    chosen = state.spec().language
    if chosen:
        return chosen
    return browser_language()


def browser_language() -> str:
    """The browser's language if we speak it, else English."""
    tag = (st.context.locale or "").split("-")[0].lower()
    return tag if tag in LANGUAGES else LANGUAGES[0]


def formula(key: str) -> str:
    """A formula in LaTeX, whose braces are its own."""
    return locale(language())[key]


def t(key: str, /, **facts: Any) -> str:
    """The words that a key names, with facts put in.

    Raises:
        KeyError: there is no such key, or a fact is missing.
    """
    return locale(language())[key].format(**facts)
