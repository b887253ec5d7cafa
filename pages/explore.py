"""Explore: any text under any mechanism, head by head."""

import streamlit as st

from pages.ui.compare import sidebyside
from pages.ui.explore import (
    choices,
    groups,
    picture,
    sentences,
    statistics,
    steps,
    take,
    trained,
    vision,
)
from pages.ui.explore.scene import scene
from pages.ui.explore.structure import structure
from pages.ui.shared import about, controls, intake
from pages.ui.shared.guard import REFUSED, guarded, worded
from pages.ui.shared.strings import t
from pages.ui.url import state

with st.sidebar:
    controls.mechanism()
    trained.switch()
    parameters_here = st.container()
    intake.source()
    second_here = st.container()
    heads_here = st.container()
    with st.expander(t("explore.more"), key="more"):
        intake.model(own=True)
        choices.sight()
        choices.hiding()

controls.problems(state.problems())
asked = trained.read_so(state.spec())
settled = asked is not state.spec()  # a model's parameters are those that it was trained with
try:
    with st.container():  # what is waited for has a place of its own, so that nothing moves later
        shown = scene(asked)
except REFUSED as error:
    intake.beside(second_here)
    with parameters_here:
        controls.parameters(state.spec())
    choices.refused(worded(error))
    st.stop()

intake.beside(second_here)
with parameters_here:
    if settled:
        trained.settled(shown)
    else:
        causal = shown.attention.frame.causal
        controls.parameters(shown.spec, picture.beside_map(shown).__ne__, causal=causal)
with heads_here:
    if shown.layers > 1:
        intake.layer(shown.layer_names, shown.layer, shown.pin)
    choices.head_choice(shown)

about.say(sentences.taken_away(shown))
left, right = st.columns([3, 2], gap="large")
with left:
    if grid := shown.attention.frame.grid:
        vision.ruling(shown, grid)
        sentences.sentence(shown, shown.look())
    picture.toolbar(shown)
    picture.picture(shown)
with right:
    picture.beside(shown)
if not grid:
    sentences.sentence(shown, shown.look())
sentences.badge(shown)
sidebyside.explore_door(shown)

with guarded("structure"):
    structure(shown)
left, right = st.columns([3, 2], gap="large")
with left, guarded("steps"):
    steps.row_steps(shown)
with right, guarded("groups"):
    groups.by_group(shown)
statistics.statistics(shown)
statistics.cost(shown)
take.take(shown)
