"""All talks, each with what it is about and how long it takes."""

import streamlit as st

from engine.spec.talk import Talk, said
from pages.ui.shared.strings import language, t
from pages.ui.talk import OPEN, ready


def draw() -> None:
    """One under the other."""
    with st.container(key="talks"):
        st.text(t("talk.intro"))
        for name, talk in ready.bundled().items():
            entry(name, talk)


def entry(name: str, talk: Talk) -> None:
    """One, with a button that plays it."""
    tag = language()
    with st.container(key=f"talk-{name}", horizontal=True, vertical_alignment="center"):
        st.button(
            t("talk.play"), key=f"play-{name}", on_click=OPEN.choose, args=("talk", name),
            type="primary",
        )  # fmt: skip
        with st.container(gap="xsmall"):
            st.subheader(said(talk.title, tag), anchor=False)
            st.text(said(talk.about, tag))
            with st.container(key=f"caption-{name}"):
                st.text(t("talk.facts", scenes=len(talk.scenes), minutes=round(talk.minutes)))
