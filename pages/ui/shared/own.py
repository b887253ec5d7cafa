"""What is wrong with the mechanisms that the server's owner brought."""

import streamlit as st

from engine.contract import Refusal
from pages.ui.shared.strings import spoken, t

TROUBLES: list[Refusal] = []
"""Of files that could not be read as the server started; the others are offered."""


def notice() -> None:
    """Say so above the page, a line a file."""
    if not TROUBLES:
        return
    with st.container(key="own-troubles", gap=None):
        for trouble in TROUBLES:
            st.text(t("own.trouble", reason=spoken(trouble)))
