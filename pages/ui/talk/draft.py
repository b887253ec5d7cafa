"""A person's own talk: scenes kept from any page, put in order, undone, saved, opened.

It is held by the session and, so that nothing is lost with that, by the browser (header.js).
"""

from dataclasses import replace

import streamlit as st

from engine.contract import Refusal
from engine.spec import talk as talks
from engine.spec.picture import Spec
from engine.spec.talk import Fault, Scene, Talk
from pages.ui.shared import contents
from pages.ui.shared.strings import spoken, t

HELD, PAST, TOLD = "talk.draft", "talk.past", "talk.told"
UNDONE = 50
"""Changes that can be undone."""
OWN_KEYS = ("lang", "talk", "view", "scene", "beat", "embed", "embed_options")
"""Keys of the URL that are no part of a page's state."""


def held() -> Talk:
    """The talk as it is."""
    return st.session_state.get(HELD, Talk())


def change(new: Talk) -> None:
    """Another one in its place; the old one can be had back."""
    past = [*st.session_state.get(PAST, []), held()]
    st.session_state[PAST] = past[-UNDONE:]
    st.session_state[HELD] = new


def undo() -> None:
    """The last change is taken back."""
    if past := st.session_state.get(PAST):
        st.session_state[HELD] = past.pop()


def saved() -> str | None:
    """The talk as the browser keeps it; "" once it is empty; None in a session that has none yet,
    which leaves what the browser has: the server may be a new one."""
    if held().scenes:
        return held().to_json()
    return "" if HELD in st.session_state else None


def can_undo() -> bool:
    """Whether there is a change to take back."""
    return bool(st.session_state.get(PAST))


def keep(page: str, query: dict[str, str], title: str) -> None:
    """Keep what a page shows as a scene."""
    state = {key: text for key, text in query.items() if key not in OWN_KEYS}
    texts = dict(held().texts)
    if (name := state.get("file")) and (found := contents.get(name)) and isinstance(found[0], str):
        texts[name] = found[0]
    if len(held().scenes) >= talks.MOST_SCENES:
        tell(t("talk.full", most=talks.MOST_SCENES))
        return
    scene = Scene(page, talks.spelt(state), title=title[:200])
    change(replace(held(), scenes=(*held().scenes, scene), texts=texts))
    tell(t("talk.kept", number=len(held().scenes)))


def title(page: str, spec: Spec, name: str) -> str:
    """What a scene is called at first: the page, and its mechanism."""
    if name not in talks.OF_A_PICTURE:
        return page
    return t("talk.scene_title", page=page, name=t(f"mechanism.{spec.mechanism}.name"))


def edit(place: int, **fields: object) -> None:
    """Change what is said of one scene."""
    scenes = list(held().scenes)
    scenes[place] = replace(scenes[place], **fields)
    change(replace(held(), scenes=tuple(scenes)))


def move(place: int, by: int) -> None:
    """One scene up or down."""
    scenes = list(held().scenes)
    to = min(max(place + by, 0), len(scenes) - 1)
    scenes.insert(to, scenes.pop(place))
    change(replace(held(), scenes=tuple(scenes)))


def remove(place: int) -> None:
    """One scene less."""
    scenes = held().scenes
    change(replace(held(), scenes=(*scenes[:place], *scenes[place + 1 :])))


def open_file(data: bytes) -> list[Fault]:
    """A file in the place of the talk, which can be had back; what in it could not be used.

    Raises:
        Refusal: it is no talk.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refusal("the file is not UTF-8 text, so it can't be a talk") from error
    new, faults = talks.read(text)
    change(new)
    return faults


def restore(text: str) -> None:
    """What the browser still has of an earlier session, where this one has nothing."""
    if held().scenes or can_undo():
        return
    try:
        st.session_state[HELD], _ = talks.read(text)
    except Refusal as error:
        st.session_state[HELD] = Talk()  # the browser is not asked again
        tell(spoken(error))


def tell(words: str) -> None:
    """Words to be said in the header."""
    turn, _ = st.session_state.get(TOLD, (0, ""))
    st.session_state[TOLD] = (turn + 1, words)


def told() -> tuple[int, str]:
    """What is to be said in the header, and its number."""
    return st.session_state.get(TOLD, (0, ""))
