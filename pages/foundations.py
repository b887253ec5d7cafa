"""Foundations: attention from cues to multi-head, part by part, each with something to move."""

import streamlit as st

from pages.ui.foundations import OPEN, PARTS
from pages.ui.foundations.frame import CHOSEN
from pages.ui.shared import controls
from pages.ui.shared.strings import t
from pages.ui.url import linked

keys = list(PARTS)
with st.sidebar:
    part = linked.radio(
        OPEN, "part", t("lesson.parts"),
        lambda key: f"{keys.index(key) + 1} · {t(f'lesson.{key}.title')}",
    )  # fmt: skip
with st.container(
    key="lesson-head", horizontal=True, horizontal_alignment="distribute",
    vertical_alignment="center",
):  # fmt: skip
    st.header(t(f"lesson.{part}.title"), anchor=False, width="content")
    # on a phone the list of parts is folded away
    if following := keys[keys.index(part) + 1 :]:
        title = t(f"lesson.{following[0]}.title")
        st.button(
            t("lesson.next", title=title), key="lesson-next", type="tertiary",
            on_click=OPEN.choose, args=("part", following[0]),
        )  # fmt: skip
controls.problems((*OPEN.problems, *CHOSEN[part].problems))
PARTS[part]()
