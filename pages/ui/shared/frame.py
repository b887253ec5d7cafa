"""What surrounds every page: our type and quiet, and the switch between languages."""

import streamlit as st

from engine.figures.base.theme import Theme, theme
from engine.runtime.paths import ASSETS
from engine.spec.fields import LANGUAGES
from pages.ui.shared import controls, strings


def style() -> None:
    """Our stylesheet."""
    st.html(ASSETS / "style.css")


def look() -> Theme:
    """The theme that the person sees."""
    return theme(st.context.theme.type == "dark")


def language_switch() -> None:
    """English or Chinese, in the page's upper right corner."""
    with st.container(key="language", width="content"):
        controls.choose(
            strings.t("language"), "language", LANGUAGES, strings.language(),
            lambda tag: strings.locale(tag)["language.short"], hide_label=True,
        )  # fmt: skip
