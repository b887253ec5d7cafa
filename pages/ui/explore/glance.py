"""One small picture of what the mechanism did on the chosen row, for the first look."""

import html
from collections.abc import Iterable

import streamlit as st

from engine.contract.views import Levels
from engine.figures.structure.levels import said, unit_name
from engine.structure import chosen_row
from engine.structure.chosen_row import Bars
from engine.structure.deed import path
from engine.text import quantities
from pages.ui.explore.scene import Scene
from pages.ui.shared.strings import t

LONGEST = 34  # characters of a unit's text
TINTS = 8
LEAST = 0.01  # of the longest bar


def look(scene: Scene) -> None:
    """The way down a tree, what slots hold, or the row before and after; nothing of a row that is
    full attention's own."""
    if scene.before is None or scene.mechanism is None:
        return
    drawn = down_the_tree(scene) or slots(scene) or before_and_after(scene)
    if drawn:
        with st.container(key="glance"):
            st.html(drawn)


def down_the_tree(scene: Scene) -> str:
    """Paragraph, sentence, word and token, each with its share of the one above; "" without."""
    view = next((x for x in scene.attention.views if isinstance(x, Levels)), None)
    if view is None or not float(scene.weights.sum()):
        return ""
    lines = []
    for depth, step in enumerate(path(scene.weights, view)):
        lines.append(
            line(t(f"unit.{step.level}"), words(scene, step.start, step.stop), step.share, depth)
        )
    return titled(t("glance.path"), lines)


def slots(scene: Scene) -> str:
    """Each slot with the keys that it holds, and its share of the row; "" without."""
    found = chosen_row.slots(scene.shown)
    if not found:
        return ""
    lines = [
        line(
            t("glance.slots_held", held=len(slot.keys)),
            " ".join(words(scene, key, key + 1) for key in slot.keys), slot.share, tint=slot.slot,
        )
        for slot in found
    ]  # fmt: skip
    own = 1 - sum(slot.share for slot in found)
    lines.append(line(t("glance.slots_own"), "", max(0.0, own)))
    return titled(t("glance.slots"), lines)


def words(scene: Scene, start: int, stop: int) -> str:
    """A unit's text, or its positions."""
    return said(unit_name(scene.attention.frame.tokens, start, stop), LONGEST)


def line(name: str, text: str, share: float, depth: int = 0, tint: int | None = None) -> str:
    """One line: what it is, its text as data, and its share as a bar and a number."""
    chip = "" if tint is None else f'<i class="tint-{tint % TINTS}"></i>'
    return (
        f'<div class="line" style="padding-inline-start: {0.6 * depth:g}rem">{chip}'
        f'<b>{html.escape(name)}</b><span class="text" dir="auto">{html.escape(text)}</span>'
        f'<span class="bar"><s style="width: {100 * min(1.0, share):.1f}%"></s></span>'
        f'<span class="share">{quantities.share(share)}</span></div>'
    )


def titled(title: str, lines: Iterable[str]) -> str:
    """With its title."""
    return f'<div class="glance"><p>{html.escape(title)}</p>{"".join(lines)}</div>'


def before_and_after(scene: Scene) -> str:
    """The row's weights upwards, full attention's downwards, and the keys that change most."""
    assert scene.before is not None
    found = chosen_row.bars(scene.weights, scene.before)
    signed = scene.attention.row_kind == "signed"
    title = t("glance.row_signed" if signed else "glance.row")
    above, below = marks(scene, found)
    return titled(title, [above, drawn(found), below])


def drawn(found: Bars) -> str:
    """The two rows back to back, a bar for each key, or for several."""
    step = 100 / max(1, len(found.after))

    def bars(values: Iterable[float], kind: str) -> str:
        return "".join(
            f'<s class="{kind}{" below" * (value < 0)}" style="left: {i * step:.2f}%; '
            f'width: {0.85 * step:.2f}%; height: {100 * abs(value) / found.top:.1f}%"></s>'
            for i, value in enumerate(values)
            if abs(value) >= LEAST * found.top
        )

    return (
        f'<div class="row own">{bars(found.after, "own")}</div>'
        f'<div class="row full">{bars(found.before, "full")}</div>'
    )


def marks(scene: Scene, found: Bars) -> tuple[str, str]:
    """Over and under the drawing: where each row has most, and how much."""

    def mark(key: int, value: float, kind: str) -> str:
        left = min(78.0, 100 * key / max(1, len(scene.weights) - 1))
        text = html.escape(words(scene, key, key + 1))
        return (
            f'<div class="mark {kind}"><span style="margin-inline-start: {left:.0f}%">{text} '
            f"{number(value, scene)}</span></div>"
        )

    own, full = found.most_after, found.most_before
    return (
        mark(own, float(found.weights[own]), "own"), mark(full, float(found.full[full]), "full")
    )  # fmt: skip


def number(value: float, scene: Scene) -> str:
    """A weight: a share where it is one."""
    return f"{value:.2f}" if scene.attention.row_kind != "stochastic" else quantities.share(value)
