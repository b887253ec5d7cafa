"""A talk that plays."""

import streamlit as st

from pages.ui.components.talk import talk
from pages.ui.shared.guard import REFUSED, worded
from pages.ui.shared.strings import t
from pages.ui.talk import OPEN, ready
from pages.ui.url import owner


def draw(name: str) -> None:
    """Play it, or say why not."""
    try:
        found, faults = ready.find(name)
        deck = ready.deck(found, faults, name)
    except REFUSED as error:
        with st.container(key="trouble"):
            st.text(worded(error))
        st.button(t("talk.all"), on_click=leave)
        return
    talk("stage", deck, name, t, speaker=OPEN["view"] == "speaker", on_leave=leave)


def leave() -> None:
    """Back to all talks."""
    owner.put(OPEN.group, {}, newest=True)
