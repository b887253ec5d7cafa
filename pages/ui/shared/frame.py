"""What surrounds every page: our type and quiet, and the switch between languages."""

import json
from collections.abc import Callable
from typing import Any

import streamlit as st

from engine.figures.base.theme import DARK, LIGHT, Figure, Theme
from engine.runtime.paths import ASSETS
from engine.spec.fields import LANGUAGES
from pages.ui.components import chart as component
from pages.ui.shared import controls, strings


def chart(figure: Figure, key: str, on_pick: Callable[[Any], None] | None = None) -> None:
    """A picture in our own template; `on_pick` is called with the `customdata` of what is clicked.

    Its height is said, so that its room is kept while the browser draws.
    """
    height = int(figure.layout.height or 450)
    component.chart(key, figure, strings.t, height=height, on_pick=on_pick)


def style() -> None:
    """Our stylesheet, and the word that stands where a picture is still to come."""
    st.html(ASSETS / "style.css")
    word = json.dumps(strings.t("drawing"), ensure_ascii=False)
    st.html(f"<style>.stApp {{ --drawing: {word}; }}</style>")


def theme() -> Theme:
    """The theme that the person sees."""
    return DARK if st.context.theme.type == "dark" else LIGHT


def language_switch() -> None:
    """English or Chinese, in the page's upper right corner."""
    with st.container(key="language", width="content"):
        controls.choose(
            strings.t("language"), "language", LANGUAGES, strings.language(),
            lambda tag: strings.locale(tag)["language.short"], hide_label=True,
        )  # fmt: skip
