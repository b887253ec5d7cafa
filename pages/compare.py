"""Compare: mechanisms side by side over one text, against full attention."""

import streamlit as st

from pages.ui.compare import heads as beside
from pages.ui.compare import sidebyside
from pages.ui.compare.compared import compared
from pages.ui.explore import choices, sentences, take
from pages.ui.shared import about, controls, intake
from pages.ui.shared.guard import REFUSED, guarded, worded
from pages.ui.shared.strings import t
from pages.ui.url import state

with st.sidebar:
    what = beside.choice()
    intake.source()
    heads_here = st.container()
    with st.expander(t("explore.more"), key="more"):
        intake.model()
        choices.hiding()

controls.problems((*state.problems(), *beside.COMPARED.problems))
if what == "heads":
    try:
        beside.page()
    except REFUSED as error:
        with st.container(key="trouble"):
            st.text(worded(error))
    st.stop()
bar = st.container()
places = sidebyside.headers()
try:
    with st.container():  # what is waited for has a place of its own, so that nothing moves later
        shown = compared(state.spec())
except REFUSED as error:
    for i, (place, (key, pairs)) in enumerate(zip(places, state.spec().columns, strict=True)):
        with place.settings:
            sidebyside.settings(i, state.spec().replace(mechanism=key, params=pairs))
    with st.container(key="trouble"):
        st.text(worded(error))
    st.stop()

about.say(sentences.taken_away(shown.scene))
with heads_here:
    if shown.scene.layers > 1:
        intake.layer(shown.scene.layer_names, shown.scene.layer, shown.scene.pin)
    heads = list(range(shown.scene.attention.frame.heads))
    controls.choose(
        t("explore.head"),
        "head",
        heads,
        shown.scene.head,
        str,
        segments=len(heads) <= 8,
        on_choose=lambda head: shown.scene.pin(head=head),
    )

with bar:
    sidebyside.toolbar(shown)
sidebyside.columns(shown, places)
sidebyside.badge(shown)
if shown.closer is not None:
    left, right = st.columns([3, 2], gap="large")
    with left, guarded("difference"):
        sidebyside.closer(shown, shown.closer)
    with right, guarded("row"):
        sidebyside.row(shown)
sidebyside.numbers(shown)
with st.container(key="take", horizontal=True):
    named = [(column.name, scene) for column, scene in shown.drawn]
    take.tables(named, "compared")
    own = [(f"{c.place + 1}-{c.spec.mechanism}", scene) for c, scene in shown.drawn]
    take.arrays(own, "compared")
