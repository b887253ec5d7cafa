"""Models: any language model, all its heads at once, and what changes when one is switched off."""

import streamlit as st

from pages.ui.models import PARTS, chooser
from pages.ui.models.fields import MODELS
from pages.ui.models.shown import leave_if_asked, shown
from pages.ui.server.waiting import Trouble
from pages.ui.shared import controls, intake
from pages.ui.shared.guard import REFUSED, guarded, worded
from pages.ui.shared.strings import t
from pages.ui.url import linked, state

with st.sidebar:
    intake.source(texts=True)
    second_here = st.container()

controls.problems((*state.problems(), *MODELS.problems))
spec = state.spec()
chooser.choose()
try:
    if not spec.textual:
        raise Trouble(t("models.text"))
    facts = chooser.facts_of(spec.model)
    with st.container(key="badge", gap=None):
        st.text(chooser.told(spec.model, facts))
        notes = st.container(gap=None)
    with st.container():  # what is waited for has a place of its own, so that nothing moves later
        chooser.open_or_ask(spec.model, facts)
        intake.second(second_here)
        found = shown(spec)
except REFUSED as error:
    with st.container(key="trouble"):
        st.text(worded(error))
    st.stop()
with notes:
    for note in chooser.read(found):
        st.text(note)

bar = st.container(key="toolbar", horizontal=True, vertical_alignment="center")
with bar:
    part = linked.segments(
        MODELS, "part", t("models.part"), lambda key: t(f"models.part_of.{key}"),
        label_visibility="collapsed", width="content",
    )  # fmt: skip
with guarded(part):
    PARTS[part](found, bar)
leave_if_asked()
