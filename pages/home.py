"""Home, the first thirty seconds: a story, a name that comes back, and how its glow thins out."""

from urllib.parse import urlencode

import streamlit as st

from engine.lessons import induction
from engine.sources import samples
from engine.spec.picture import Spec, choice
from engine.text.tokens import isolated
from pages.ui.components.home import home
from pages.ui.home import grid, machine
from pages.ui.server.waiting import obtain
from pages.ui.shared import contents
from pages.ui.shared.deeds import told
from pages.ui.shared.guard import REFUSED, worded
from pages.ui.shared.reading import model
from pages.ui.shared.strings import language, t
from pages.ui.talk import starts
from pages.ui.url import state


def picture(story: str) -> induction.Picture:
    """The story read at all lengths, once a server."""
    entry = samples.listing()[story]
    tiny = model("tiny")
    return obtain(
        f"home:{story}",
        t("gate.reading", model=tiny.name),
        lambda report: induction.picture(
            tiny, samples.text(story), entry["name"], samples.text(entry["before"])
        ),
        lambda made: sum(3 * 4 * r.qkv.q.numel() + 8 * r.n for r in made.readings),
    )


def rows_of(made: induction.Picture, story: str, key: str) -> tuple[induction.Row, ...]:
    """What the query does under one mechanism, once a server."""
    return obtain(
        f"home:{story}:{key}",
        t("gate.attending", mechanism=t(f"mechanism.{key}.name"), n=made.readings[-1].n),
        lambda report: induction.rows(made, offered[key]),
        lambda found: sum(64 * len(row.weights) + 4 * row.cells.numel() for row in found),
    )


def door(made: induction.Picture, story: str, mechanism: str, number: int) -> Spec:
    """The same text, mechanism, head and query, for the Explore page."""
    reading = made.readings[number]
    alone = number == 0
    key, params = choice(offered[mechanism])
    return Spec(
        source="sample" if alone else "file",
        content=story if alone else contents.keep(reading.text),
        layer=made.layer,
        mechanism=key,
        params=params,
        head=made.head,
        query=reading.query,
        hide=(0,),
        language=state.spec().language,
    )


story = samples.first(language())
try:
    with st.container():  # what is waited for has a place of its own, so that nothing moves later
        made = picture(story)
except REFUSED as error:
    with st.container(key="trouble"):
        st.text(worded(error))
    st.stop()
readings = range(len(made.readings))
offered = induction.offered(made.readings[0].n)
wanted = ["softmax", *st.session_state.get("home-wanted", ())]
rows, troubles = {}, {}
for key in wanted:
    try:
        rows[key] = rows_of(made, story, key)
    except REFUSED as error:
        troubles[key] = worded(error)
if "softmax" in troubles:  # whose weights every tint is measured against
    with st.container(key="trouble"):
        st.text(troubles["softmax"])
    st.stop()
doors = {
    key: [f"explore?{urlencode(door(made, story, key, i).query_params())}" for i in readings]
    for key in wanted
}


def leave(mechanism: str, number: int) -> None:
    """Through the door."""
    if mechanism in offered and number in readings:
        state.put(door(made, story, mechanism, number))
        st.session_state["leaving"] = True


def want(mechanisms: list[str]) -> None:
    """More mechanisms are asked for by the picture."""
    known = st.session_state.setdefault("home-wanted", [])
    known += [key for key in mechanisms if key in offered and key not in known]


def did(row: induction.Row, mechanism: str, number: int) -> str:
    """What the mechanism did to the row, as Explore says it; else what it is."""
    if row.deed is None:
        return t(f"mechanism.{mechanism}.short")
    reading = made.readings[number]

    def called(position: int) -> str:
        if position == 0:  # set aside, and not among the tokens
            return t("sentence.query_unnamed", position=0)
        token = isolated(made.tokens[position - reading.n])
        return t("sentence.query", token=f"“{token}”", position=position)

    return told(row.deed, offered[mechanism], row.beside, reading.query, called, led=False)


home("home", made, list(offered), rows, t, doors, troubles, did, leave, want)
if st.session_state.pop("leaving", False):
    st.switch_page("explore.py")  # as the router names it

if starts.draw():
    st.switch_page("talk.py")
grid.draw()
machine.draw()
