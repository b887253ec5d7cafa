"""What the Explore page shows of an image: its patches, tinted, and words that name them."""

import streamlit as st

from engine.contract import Grid
from engine.sources.images import encoded
from pages.ui.components.patches import patches
from pages.ui.explore.scene import Scene
from pages.ui.server.waiting import obtain
from pages.ui.shared.reading import image_of, viewing
from pages.ui.shared.strings import t


def image(scene: Scene, grid: Grid, *, tinted: bool, height: int) -> None:
    """The image: in grey under the chosen row's weights, or as it is. A click chooses a patch."""
    source = image_of(scene.spec)
    view = viewing(scene.spec) if scene.spec.encoder else None
    shown = obtain(
        f"encoded:{scene.spec.source_params}", t("gate.source"),
        lambda report: encoded(source.pixels if view is None else view.pixels, source.kind),
        lambda made: len(made[1]),
    )  # fmt: skip
    patches(
        "patches" if tinted else "patches-plain", shown, grid,
        scene.weights.tolist() if tinted else None, apart(scene, grid), t,
        chosen=scene.query, seen=scene.seen,
        signed=scene.attention.row_kind == "signed", log=scene.spec.colour == "log",
        height=height,
        on_choose=lambda position: scene.pin(query=position),
    )  # fmt: skip


def ruling(scene: Scene, grid: Grid, height: int = 440) -> None:
    """The chosen row over the image, and what is compared, said plainly."""
    image(scene, grid, tinted=True, height=height)
    with st.container(key="caption-patches"):
        st.text(t("image.caption.encoder" if scene.spec.encoder else "image.caption"))


def apart(scene: Scene, grid: Grid) -> list[str]:
    """Names of the positions that stand on no patch."""
    count = int((grid.place[:, 0] < 0).sum())
    return list((scene.attention.frame.tokens or ())[:count])


def name(grid: Grid, position: int, role: str) -> str:
    """A patch in a sentence."""
    row, column = grid.place[position].tolist()
    return t(f"sentence.patch.{role}", row=row + 1, column=column + 1)
