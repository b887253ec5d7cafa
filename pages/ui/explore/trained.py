"""The mechanism over the Q and K of a model that has another, or of one trained with it."""

import streamlit as st

from engine.mechanisms.softmax import Softmax
from engine.spec.fields import TRAININGS
from engine.spec.picture import Spec
from pages.ui.explore.scene import Scene
from pages.ui.shared import controls
from pages.ui.shared.settings import trained_settings
from pages.ui.shared.strings import t
from pages.ui.url import state


def read_so(spec: Spec) -> Spec:
    """What is chosen, as the model reads it that was trained with the mechanism, if that is
    wished and there is one."""
    return (spec.trained == "own" and spec.as_trained()) or spec


def switch() -> None:
    """Which of the two, where there are both."""
    spec = state.spec()
    wished, found = spec.trained == "own", spec.as_trained()
    if found is None:
        if wished and spec.textual:
            st.caption(t("trained.none", mechanism=t(f"mechanism.{spec.mechanism}.name")))
        return
    if not wished and (spec.mechanism == Softmax.key or found.model == spec.model):
        return  # what is shown is a model's own attention already
    controls.choose(
        t("trained"), "trained", TRAININGS, spec.trained, lambda key: t(f"trained.{key}"),
        hide_label=True, help=t("trained.help"), on_choose=_choose,
    )  # fmt: skip


def settled(scene: Scene) -> None:
    """What the model was trained with, in the place of the mechanism's parameters."""
    if scene.own is not None and (settings := trained_settings(scene.own)):
        st.caption(t("trained.with", settings=settings))


def _choose(how: str) -> None:
    """Heads of two models have nothing to do with each other."""
    head = "all" if state.spec().head == "all" else None
    state.change(trained=how, layer=None, head=head)
