"""The talks that come along as guided starts, for Home."""

import streamlit as st

from engine.spec.talk import said
from pages.ui.shared.strings import language, t
from pages.ui.talk import OPEN, ready


def draw() -> bool:
    """One beside the other; whether one was chosen."""
    tag, chosen = language(), False
    st.subheader(t("talk.starts"), anchor=False)
    with st.container(key="starts"):
        talks = ready.bundled()
        for place, (name, talk) in zip(
            st.columns(len(talks), gap="medium"), talks.items(), strict=True
        ):
            with place:
                if st.button(said(talk.title, tag), key=f"start-{name}", type="tertiary"):
                    OPEN.choose("talk", name)
                    chosen = True
                st.text(said(talk.about, tag))
    return chosen
