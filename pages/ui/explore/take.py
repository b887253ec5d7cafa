"""What Explore and Compare show, as numbers to take away."""

from collections.abc import Iterable
from urllib.parse import urlencode

import streamlit as st

from engine.spec import recomputed
from engine.store import records, taken
from pages.ui.explore import sentences
from pages.ui.explore.scene import Scene
from pages.ui.shared.reading import text_of
from pages.ui.shared.strings import t
from pages.ui.url import state

TABLES = ("csv", "parquet")


def take(scene: Scene) -> None:
    """Every row's statistics as a table, and with the maps as arrays."""
    st.subheader(t("dilution.take"), anchor=False)
    mechanism = "weights" if scene.mechanism is None else scene.mechanism.key
    where = scene.spec.model if scene.model else scene.spec.source
    layer = "" if scene.layer is None else f"layer {scene.layer}"
    name = taken.name(where, layer, mechanism)
    with st.container(key="take", horizontal=True):
        tables([(mechanism, scene)], name)
        arrays([("", scene)], name)
        code(scene, name)
    with st.container(key="caption-take"):
        st.text(t("take.caption"))


def code(scene: Scene, name: str) -> None:
    """A button for a notebook that computes the figure anew; none of what a person brought."""
    made, spec = scene.mechanism, scene.spec
    if made is None or spec.source == "arrays" or dict(spec.source_params).get("upload"):
        return
    about = " · ".join(sentences.taken_away(scene).words)
    link = str(st.context.url or "").partition("?")[0]
    query = urlencode(state.query_params(spec))

    def notebook() -> bytes:
        return recomputed.notebook(
            spec, text_of(spec) if spec.textual else "", made, head=scene.head, query=scene.query,
            trained=scene.trained, about=about, link=f"{link}?{query}" if link else "",
        )  # fmt: skip

    st.download_button(
        t("take.notebook"), data=notebook, file_name=f"{name}.ipynb", key="take-notebook",
        mime="application/x-ipynb+json", help=t("take.notebook.help"), on_click="ignore",
    )  # fmt: skip


def tables(shown: Iterable[tuple[str, Scene]], name: str) -> None:
    """A button for each form of table, made when it is pressed.

    Args:
        shown: what each mechanism is called, and its scene.
    """
    shown = tuple(shown)

    def made(form: str) -> bytes:
        found = [
            record
            for called, scene in shown
            for record in taken.rows(
                scene.attention, scene.summary.rows, scene.head, mechanism=called
            )
        ]
        return records.encoded(found, form)

    for form in TABLES:
        st.download_button(
            "CSV" if form == "csv" else "Parquet", data=lambda form=form: made(form),
            file_name=f"{name}-rows.{form}", key=f"take-{form}", on_click="ignore",
        )  # fmt: skip


def arrays(shown: Iterable[tuple[str, Scene]], name: str) -> None:
    """A button for all of it as arrays, made when it is pressed.

    Args:
        shown: what the names of each scene's arrays begin with, and the scene.
    """
    shown = tuple(shown)

    def made() -> bytes:
        return taken.packed(
            {
                taken.name(called, key): array
                for called, scene in shown
                for key, array in taken.arrays(
                    scene.attention, scene.summary.rows, scene.summary.maps, scene.weights,
                    head=scene.head, query=scene.query,
                ).items()
            }
        )  # fmt: skip

    st.download_button(
        "NumPy (.npz)", data=made, file_name=f"{name}.npz", key="take-npz", on_click="ignore"
    )
