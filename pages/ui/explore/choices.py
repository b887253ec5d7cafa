"""What the Explore page lets a person choose beside text and mechanism."""

import streamlit as st

from engine.mechanisms import MECHANISMS
from engine.spec.fields import SIGHTS
from engine.spec.spelling import wholes
from pages.ui.explore.scene import Scene
from pages.ui.shared import controls
from pages.ui.shared.strings import t
from pages.ui.url import state


def head_choice(scene: Scene) -> None:
    """One head, or all."""
    heads = scene.attention.frame.heads
    shown_head = "all" if scene.spec.head == "all" else scene.head
    words = str
    if scene.spec.source == "image" and not scene.spec.encoder:
        words = lambda head: t(f"image.head.{head}")  # noqa: E731
    controls.choose(
        t("explore.head"), "head", ["all", *range(heads)], shown_head,
        lambda head: t("head.all") if head == "all" else words(head), segments=heads <= 8,
        on_choose=lambda head: scene.pin(head=head),
    )  # fmt: skip


def sight() -> None:
    """What a row may see: as the layer has it, or both ways."""
    spec = state.spec()
    sees = spec.sight if MECHANISMS[spec.mechanism].causal_ok else "both"
    controls.choose(
        t("explore.sight"), "sight", SIGHTS, sees, lambda key: t(f"sight.{key}"),
        help=t("explore.sight.help"),
    )  # fmt: skip


def refused(trouble: str) -> None:
    """Why nothing is shown."""
    with st.container(key="trouble"):
        st.text(trouble)


def hiding() -> None:
    """Keys that are set aside."""
    spec = state.spec()
    controls.follow("hide-first", 0 in spec.hide)
    controls.follow("hide", ", ".join(str(i) for i in spec.hide if i))

    def changed() -> None:
        first = (0,) if st.session_state["hide-first"] else ()
        words = st.session_state["hide"].replace("，", ",").replace(" ", "").strip(",")
        try:
            others = wholes(words) if words else ()
            state.change(hide=first + others)
        except ValueError:
            st.session_state["unhidden"] = t("error.positions")

    st.toggle(
        t("explore.hide_first"), key="hide-first", help=t("explore.hide_first.help"),
        on_change=changed,
    )  # fmt: skip
    st.text_input(t("explore.hide"), key="hide", help=t("explore.hide.help"), on_change=changed)
    if refused := st.session_state.pop("unhidden", None):
        st.text(refused)
