"""Under each column, the model that was trained with its mechanism."""

import streamlit as st

from engine.spec.fields import TRAININGS
from pages.ui.compare.compared import Column, Compared, Twin
from pages.ui.components.heatmap import heatmap
from pages.ui.explore.sentences import taken_away
from pages.ui.shared import controls
from pages.ui.shared.settings import trained_settings
from pages.ui.shared.strings import t
from pages.ui.url import state


def choice(shown: Compared) -> None:
    """Whether such models are shown."""
    if shown.spec.textual:
        controls.choose(
            t("trained"), "trained", TRAININGS, shown.spec.trained,
            lambda key: t(f"trained.beside.{key}"), hide_label=True, on_choose=_choose,
        )  # fmt: skip


def _choose(how: str) -> None:
    """The columns' Q and K are those of another model then, whose heads are others."""
    state.change(trained=how, layer=None, head=None)


def twins(shown: Compared, height: int, ends: dict[bool, float]) -> None:
    """The maps of these models, each under its mechanism's.

    Args:
        height: of a map. ends: of the colour scales, of plain and of signed maps.
    """
    if shown.spec.trained != "own" or not shown.spec.textual:
        return
    st.subheader(t("trained.title"), anchor=False)
    for column, place in zip(
        shown.columns, st.columns(len(shown.columns), gap="medium"), strict=True
    ):
        with place:
            name = t(f"mechanism.{column.spec.mechanism}.name")
            if column.twin is None:
                words = t("trained.none", mechanism=name)
            elif column.twin.same:
                words = t("trained.reference")
            else:
                _map(shown, column, column.twin, height, ends)
                words = _said(column, column.twin)
            with st.container(key=f"verdict-trained-{column.place}"):
                st.text(words)
            if column.twin is not None:
                _door(shown, column, column.twin)


def _map(
    shown: Compared, column: Column, twin: Twin, height: int, ends: dict[bool, float]
) -> None:
    att = twin.scene.attention
    heatmap(
        f"trained-{column.place}", att, t, name=twin.scene.spec.attention_key(),
        head=twin.scene.head, pool=shown.spec.pool, colour=shown.spec.colour,
        window=shown.spec.zoom, query=shown.scene.query, height=height,
        about=taken_away(twin.scene), link="compare", lead=False,
        top=ends[att.row_kind == "signed"],
        on_query=lambda row: shown.scene.pin(query=row),
        on_window=lambda window: state.change(zoom=window),
    )  # fmt: skip


def _said(column: Column, twin: Twin) -> str:
    """Which head is shown, and how far it is from the one above."""
    assert column.scene is not None and twin.scene.own is not None
    signed = twin.scene.attention.row_kind == "signed"
    words = [
        t("trained.alike.signed" if signed else "trained.alike", layer=twin.alike.layer,
          head=twin.alike.head, heads=twin.alike.heads, moved=twin.alike.moved),
    ]  # fmt: skip
    if not signed:
        means = (
            float(one.summary.rows.means()["effective_tokens"][one.head])
            for one in (twin.scene, column.scene)
        )
        words.append(t("trained.effective", **dict(zip(("own", "applied"), means, strict=True))))
    if settings := trained_settings(twin.scene.own):
        words.append(t("trained.with", settings=settings))
    return t("sentence.join").join(words)


def _door(shown: Compared, column: Column, twin: Twin) -> None:
    """The same on the Explore page."""
    spec = shown.spec.first(column.place).replace(
        layer=twin.scene.layer, head=twin.scene.head, query=twin.scene.query
    )
    st.page_link("explore.py", label=t("compare.back"), query_params=state.query_params(spec))
