"""Explore: any text under any mechanism, head by head."""

import streamlit as st

from pages.ui.compare import sidebyside
from pages.ui.explore import panels, vision
from pages.ui.explore.scene import scene
from pages.ui.explore.structure import structure
from pages.ui.shared import controls, intake
from pages.ui.shared.guard import REFUSED, guarded, worded
from pages.ui.shared.strings import t
from pages.ui.url import state

with st.sidebar:
    intake.source()
    controls.mechanism()
    heads_here = st.container()
    with st.expander(t("explore.more"), key="more"):
        intake.model()
        panels.sight()
        panels.hiding()

controls.problems(state.problems())
try:
    with st.container():  # what is waited for has a place of its own, so that nothing moves later
        shown = scene(state.spec())
except REFUSED as error:
    panels.refused(worded(error))
    st.stop()

with heads_here:
    if shown.layers > 1:
        intake.layer(shown.layers, shown.layer)
    panels.head_choice(shown)

left, right = st.columns([3, 2], gap="large")
with left:
    if grid := shown.attention.frame.grid:
        vision.ruling(shown, grid)
        panels.sentence(shown, shown.look())
    panels.toolbar(shown)
    panels.picture(shown)
with right:
    panels.beside(shown)
if not grid:
    panels.sentence(shown, shown.look())
panels.badge(shown)
sidebyside.explore_door(shown)

with guarded("structure"):
    structure(shown)
left, right = st.columns([3, 2], gap="large")
with left, guarded("steps"):
    panels.row_steps(shown)
with right, guarded("groups"):
    panels.by_group(shown)
panels.statistics(shown)
panels.cost(shown)
