"""The chosen row from scores to output."""

import streamlit as st

import engine
from engine.figures.attention.steps import numbers, steps
from pages.ui.components.chart import chart
from pages.ui.explore.scene import Scene
from pages.ui.shared import frame
from pages.ui.shared.strings import formula, t


def row_steps(scene: Scene) -> None:
    """The chosen row from scores to output."""
    st.subheader(t("explore.steps"), anchor=False)
    if scene.weights_only:
        st.text(t("steps.no_scores"))
        return
    mechanism = engine.make(scene.spec.mechanism, **scene.spec.arguments())
    for name in mechanism.formulas:
        st.latex(formula(".".join(filter(None, ("mechanism", mechanism.key, name, "formula")))))
    try:
        row = scene.attention.steps(scene.head, scene.query)
    except LookupError:
        st.text(t("steps.no_pairs"))
        return
    if said := numbers(row, scene.query):
        st.latex(said)
    tokens = scene.attention.frame.tokens
    figure = scene.drawn("steps", lambda: steps(row, keys=tokens, theme=frame.theme(), t=t))
    chart("steps", figure, t, alt=t("explore.steps"))
