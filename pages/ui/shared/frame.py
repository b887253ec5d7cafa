"""What surrounds every page: our type and quiet, and the switch between languages."""

import json

import streamlit as st

from engine.figures.base.theme import DARK, LIGHT, Theme
from engine.runtime.paths import ASSETS
from engine.spec.fields import LANGUAGES
from pages.ui.shared import controls, strings


def style() -> None:
    """Our stylesheet, and the words that it puts where Streamlit has none, or English ones."""
    st.html(ASSETS / "style.css")
    size = st.get_option("server.maxUploadSize")
    words = {
        "drawing": strings.t("drawing"),
        "upload": strings.t("upload.button"),
        "upload-most": strings.t("upload.most", size=size),
    }
    said = (f"--{key}: {json.dumps(word, ensure_ascii=False)};" for key, word in words.items())
    st.html(f"<style>.stApp {{ {' '.join(said)} }}</style>")


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
