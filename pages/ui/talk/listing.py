"""All talks: those that come along, and the person's own, put together here."""

import streamlit as st

from engine.contract import Refusal
from engine.spec.talk import Scene, Talk, said
from engine.talks.deck import spoken as fault_said
from engine.talks.page import page
from pages.ui.shared.guard import REFUSED, worded
from pages.ui.shared.strings import language, t
from pages.ui.talk import OPEN, draft, ready
from pages.ui.url.linked import follow


def draw() -> None:
    """One under the other, then the person's own."""
    with st.container(key="talks"):
        st.text(t("talk.intro"))
        for name, talk in ready.bundled().items():
            entry(name, talk)
        own()


def entry(name: str, talk: Talk) -> None:
    """One, with a button that plays it."""
    tag = language()
    with st.container(key=f"talk-{name}", horizontal=True, vertical_alignment="center"):
        st.button(
            t("talk.play"), key=f"play-{name}", on_click=OPEN.choose, args=("talk", name),
            type="primary",
        )  # fmt: skip
        with st.container(gap="xsmall"):
            st.subheader(said(talk.title, tag), anchor=False)
            st.text(said(talk.about, tag))
            with st.container(key=f"caption-{name}"):
                st.text(t("talk.facts", scenes=len(talk.scenes), minutes=round(talk.minutes)))


# -- the person's own ----------------------------------------------------------------------------


def own() -> None:
    """Scenes in their order, what is said of them, and what can be done with all of them."""
    talk = draft.held()
    st.subheader(t("talk.own"), anchor=False)
    st.text(t("talk.own.how"))
    for place, scene in enumerate(talk.scenes):
        kept(place, scene, len(talk.scenes))
    with st.container(key="talk-hands", horizontal=True, vertical_alignment="bottom"):
        if talk.scenes:
            st.button(
                t("talk.play"), key="play-own", type="primary",
                on_click=lambda: OPEN.choose("talk", ready.named(draft.held())),
            )  # fmt: skip
            st.download_button(
                t("talk.save"), data=talk.to_json(), file_name="talk.json", key="save",
                mime="application/json", on_click="ignore",
            )  # fmt: skip
            if st.button(t("talk.pack"), key="pack", help=t("talk.pack.help")):
                pack(talk)
            if st.button(t("talk.export"), key="export", help=t("talk.export.help")):
                export(talk)
        if draft.can_undo():
            st.button(t("talk.undo"), key="undo", on_click=draft.undo)
    st.file_uploader(t("talk.open"), type="json", key="talk-file", on_change=opened)
    with st.container(key="problems"):
        for words in st.session_state.pop("talk-faults", ()):
            st.text(words)


def kept(place: int, scene: Scene, count: int) -> None:
    """One scene: its title, its notes, and its place among the others."""
    tag = language()
    with st.container(key=f"scene-{place}", horizontal=True, vertical_alignment="bottom"):
        words(place, "title", said(scene.title, tag), st.text_input, max_chars=200)
        for by, label in ((-1, "up"), (1, "down")):
            st.button(
                t(f"talk.{label}"), key=f"{label}-{place}", on_click=draft.move, args=(place, by),
                disabled=not 0 <= place + by < count,
            )  # fmt: skip
        st.button(t("talk.remove"), key=f"remove-{place}", on_click=draft.remove, args=(place,))
    with st.expander(t("talk.details", page=t(f"nav.{scene.page}")), key=f"details-{place}"):
        for field in ("question", "say", "notes"):
            words(place, field, said(getattr(scene, field), tag), st.text_area, max_chars=5000)


def words(place: int, field: str, value: str, widget, **more) -> None:
    """Words that are said of a scene."""
    key = f"{field}-{place}"
    follow(key, value)
    label = t(f"talk.{field}", number=place + 1)
    widget(
        label, key=key, on_change=lambda: draft.edit(place, **{field: st.session_state[key]}),
        **more,
    )  # fmt: skip


def opened() -> None:
    """A file was given: it stands in the place of the talk, which Undo brings back."""
    given = st.session_state["talk-file"]
    if given is None:
        return
    tag = language()
    try:
        faults = draft.open_file(given.getvalue())
    except Refusal as error:
        st.session_state["talk-faults"] = [t("error.refused", reason=fault_said(error, tag))]
        return
    st.session_state["talk-faults"] = [
        t("talk.fault", scene=fault.scene, reason=fault_said(fault.why, tag)) for fault in faults
    ]


def pack(talk: Talk) -> None:
    """Everything that the talk shows is computed now, and kept: on stage nothing is waited for."""
    try:
        made = ready.deck(talk, [])
    except REFUSED as error:
        st.text(worded(error))
        return
    beats = [beat for scene in made["scenes"] for beat in scene["beats"]]
    st.text(t("talk.packed", scenes=len(made["scenes"]), pictures=len(beats)))
    for number, scene in enumerate(made["scenes"], 1):
        for beat in scene["beats"]:
            if beat.get("trouble"):
                st.text(t("talk.fault", scene=number, reason=beat["trouble"]))


def export(talk: Talk) -> None:
    """The whole talk as one page, made ready first."""
    try:
        made = ready.deck(talk, [])
    except REFUSED as error:
        st.text(worded(error))
        return
    st.download_button(
        t("talk.export.take"), data=lambda: page(made), file_name="talk.html", key="take",
        mime="text/html", on_click="ignore",
    )  # fmt: skip
