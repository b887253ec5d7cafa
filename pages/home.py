"""Home, the first thirty seconds: a story, a name that comes back, and how its glow thins out."""

from urllib.parse import urlencode

import streamlit as st

from engine import demo
from engine.spec import Spec
from pages.ui import contents, samples, state
from pages.ui.components.home import home
from pages.ui.scene import model
from pages.ui.strings import language, t
from pages.ui.waiting import Trouble, obtain


def picture(story: str) -> demo.Picture:
    """The story read at all lengths under all mechanisms, once a server."""
    entry = samples.listing()[story]
    tiny = model("tiny")
    return obtain(
        f"home:{story}",
        t("gate.reading", model=tiny.name),
        lambda report: demo.picture(
            tiny, samples.text(story), entry["name"], samples.text(entry["before"])
        ),
        lambda made: 16 * sum(reading.n for reading in made.readings),
    )


def door(made: demo.Picture, story: str, mechanism: str, number: int) -> Spec:
    """The same text, mechanism, head and query, for the Explore page."""
    reading = made.readings[number]
    parameters = tuple(demo.OFFERED[mechanism].items())
    alone = number == 0
    return Spec(
        source="sample" if alone else "file",
        content=story if alone else contents.keep(reading.text),
        layer=made.layer,
        mechanism=mechanism,
        params=parameters,
        head=made.head,
        query=reading.query,
        hide=(0,),
        language=state.spec().language,
    )


story = samples.first(language())
try:
    with st.container():  # what is waited for has a place of its own, so that nothing moves later
        made = picture(story)
except Trouble as trouble:
    with st.container(key="trouble"):
        st.text(str(trouble))
    st.stop()
readings = range(len(made.readings))
doors = {
    key: [f"explore?{urlencode(door(made, story, key, i).query_params())}" for i in readings]
    for key in made.mechanisms
}


def leave(mechanism: str, number: int) -> None:
    """Through the door."""
    if mechanism in made.mechanisms and number in readings:
        state.put(door(made, story, mechanism, number))
        st.session_state["leaving"] = True


home("home", made, t, doors, leave)
if st.session_state.pop("leaving", False):
    st.switch_page("explore.py")  # as the router names it
