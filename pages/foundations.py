"""Foundations: attention from cues to multi-head, part by part, each with something to move."""

import streamlit as st

from pages.ui import linked
from pages.ui.lessons import PARTS
from pages.ui.strings import t

with st.sidebar:
    part = linked.radio(
        t("lesson.parts"), "part", list(PARTS), next(iter(PARTS)),
        lambda key: f"{list(PARTS).index(key) + 1} · {t(f'lesson.{key}.title')}",
    )  # fmt: skip
PARTS[part]()
