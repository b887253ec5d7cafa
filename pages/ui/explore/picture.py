"""The map large, every head small, and the text beside them."""

import math

import streamlit as st

from engine.figures.attention.mosaic import mosaic
from engine.figures.base.theme import Figure
from engine.spec.fields import COLOURS, POOLS
from pages.ui.components.chart import chart
from pages.ui.components.heatmap import heatmap
from pages.ui.components.tokens import token_text
from pages.ui.explore import glance, vision
from pages.ui.explore.scene import Scene
from pages.ui.shared import controls, frame
from pages.ui.shared.strings import t
from pages.ui.url import state

GLANCE = 240  # px, with the room around it and the text's legend


def toolbar(scene: Scene) -> None:
    """How the picture is coloured and pooled."""
    with st.container(key="toolbar", horizontal=True):
        controls.choose(
            t("explore.colour"), "colour", COLOURS, scene.spec.colour,
            lambda key: t(f"colour.{key}"), hide_label=True,
        )  # fmt: skip
        if max(scene.attention.frame.n, scene.attention.frame.m) > 512:
            controls.choose(
                t("explore.pool"), "pool", POOLS, scene.spec.pool,
                lambda key: t(f"pool.{key}"), hide_label=True,
            )  # fmt: skip
        if rank := beside_map(scene):
            with st.container(key="rank", width=150):
                controls.parameters(scene.spec, rank.__eq__)


def beside_map(scene: Scene) -> str:
    """The parameter that stands by the map, not in the sidebar: the rank of its factors."""
    own = scene.overlay
    return scene.mechanism.grows if scene.mechanism and own and own.product else ""


def picture(scene: Scene, height: int = 600) -> None:
    """One head large, or all of them small."""
    spec, att = scene.spec, scene.attention
    if spec.head == "all" and att.frame.heads > 1:
        heads(scene, height)
        return
    heatmap(
        "picture", scene.attention, t, name=spec.attention_key(), head=scene.head, pool=spec.pool,
        colour=spec.colour, window=spec.zoom, query=scene.query, height=height,
        overlay=scene.overlay, full=scene.full if att.row_kind != "signed" else None,
        selects=scene.mechanism is not None and scene.mechanism.selects, parts=scene.parts,
        on_query=lambda row: scene.pin(query=row),
        on_window=lambda window: state.change(zoom=window),
    )  # fmt: skip


def heads(scene: Scene, height: int, columns: int | None = None) -> None:
    """All heads at a glance; a click makes one large.

    Args:
        columns: heads in a row of small ones; about a square of large ones if None.
    """
    att, spec = scene.attention, scene.spec
    means = scene.means
    facts = [
        f"{t('head.name', head=h)}: {mean:,.1f} {t('stat.effective_tokens')}"
        for h, mean in enumerate(means["effective_tokens"].tolist())
    ]

    def picked(head: int) -> None:
        scene.pin(head=int(head))

    def make() -> Figure:
        return mosaic(
            scene.summary.maps[spec.pool], theme=frame.theme(), t=t, colour=spec.colour,
            signed=att.row_kind == "signed", facts=facts, height=height, columns=columns,
            most=512 if columns is None else 96, chosen=None if spec.head == "all" else scene.head,
        )  # fmt: skip

    figure = scene.drawn(f"heads-{height}-{columns}", make)
    chart("heads", figure, t, alt=t("explore.heads"), on_pick=picked)
    words = {"colour": t(f"colour.{spec.colour}.bar"), "pool": t(f"pool.{spec.pool}")}
    with st.container(key="caption"):
        st.text(t("heads.caption", **words))


def beside(scene: Scene, height: int = 520) -> None:
    """What stands beside the picture: what was done to the row, the text under it, and every head
    at a glance."""
    att = scene.attention
    grid = att.frame.grid
    named = att.frame.tokens is not None
    across = min(att.frame.heads, 6)
    if not named:  # no text beside them: about a square
        across = math.ceil(math.sqrt(att.frame.heads))
    down = -(-att.frame.heads // across)
    strip = min(height, down * (400 // across + 20))
    if att.frame.heads == 1 or scene.spec.head == "all":
        strip = 0
    glance.look(scene)
    if scene.before is not None:
        height -= GLANCE
    if grid:
        vision.image(scene, grid, tinted=False, height=300)
    elif named:
        text(scene, max(height - strip, height // 3))
    if strip:
        heads(scene, strip, across)


def text(scene: Scene, height: int) -> None:
    """The text, tinted by what the chosen token gives it; a click chooses another."""
    tokens, att = scene.attention.frame.tokens or (), scene.attention
    behind = att.frame.m - att.frame.n  # keys before the first query

    token_text(
        "text", tokens, scene.weights.tolist(), t, chosen=scene.query + behind, seen=scene.seen,
        log=scene.spec.colour == "log", height=height,
        on_choose=lambda token: scene.pin(query=max(0, token - behind)),
    )  # fmt: skip
