"""Models: any model, all its heads at once, and what changes when one of them is switched off."""

import streamlit as st

from pages.ui.models import PARTS, chooser, heads
from pages.ui.models.fields import MODELS
from pages.ui.models.shown import Shown, leave_if_asked, seen, shown
from pages.ui.server.waiting import Trouble
from pages.ui.shared import controls, intake
from pages.ui.shared.guard import REFUSED, guarded, worded
from pages.ui.shared.reading import facts_of
from pages.ui.shared.strings import t
from pages.ui.url import linked, state

with st.sidebar:
    intake.source(read=True)
    second_here = st.container()

controls.problems((*state.problems(), *MODELS.problems))
spec = state.spec()
image = spec.source == "image"
name = spec.encoder if image else spec.model
if not image:
    chooser.choose()
try:
    if not (image or spec.textual):
        raise Trouble(t("models.text"))
    if not name:
        raise Trouble(t("models.image"))
    facts = facts_of(name)
    with st.container(key="badge", gap=None):
        st.text(chooser.told(name, facts))
        notes = st.container(gap=None)
    with st.container():  # what is waited for has a place of its own, so that nothing moves later
        if image:
            found = seen(spec)
        else:
            chooser.opened(name)
            intake.beside(second_here)
            found = shown(spec)
except REFUSED as error:
    with st.container(key="trouble"):
        st.text(worded(error))
    st.stop()

bar = st.container(key="toolbar", horizontal=True, vertical_alignment="center")
if isinstance(found, Shown):
    with notes:
        for note in chooser.read(found):
            st.text(note)
    with bar:
        part = linked.segments(
            MODELS, "part", t("models.part"), lambda key: t(f"models.part_of.{key}"),
            label_visibility="collapsed", width="content",
        )  # fmt: skip
    with guarded(part):
        PARTS[part](found, bar)
else:
    with guarded("heads"):
        heads.draw(found, bar)
leave_if_asked()
