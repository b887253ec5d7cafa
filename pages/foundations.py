"""Foundations: attention from cues to multi-head, part by part, each with something to move."""

import streamlit as st

from pages.ui.foundations import PARTS
from pages.ui.shared.strings import t
from pages.ui.url import linked


def turn(to: str) -> None:
    """Go on to another part: on a phone the list of parts is folded away."""
    st.session_state["part"] = to


with st.sidebar:
    part = linked.radio(
        t("lesson.parts"), "part", list(PARTS), next(iter(PARTS)),
        lambda key: f"{list(PARTS).index(key) + 1} · {t(f'lesson.{key}.title')}",
    )  # fmt: skip
keys = list(PARTS)
with st.container(
    key="lesson-head", horizontal=True, horizontal_alignment="distribute",
    vertical_alignment="center",
):  # fmt: skip
    st.header(t(f"lesson.{part}.title"), anchor=False, width="content")
    if following := keys[keys.index(part) + 1 :]:
        title = t(f"lesson.{following[0]}.title")
        st.button(
            t("lesson.next", title=title), key="lesson-next", type="tertiary",
            on_click=turn, args=(following[0],),
        )  # fmt: skip
PARTS[part]()
