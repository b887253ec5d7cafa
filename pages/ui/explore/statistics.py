"""What each head does on average, and what the result took."""

import html
import re
from collections.abc import Mapping

import streamlit as st

import engine
from engine.figures.attention.rows import rows
from engine.figures.base.theme import Figure
from engine.text import quantities
from pages.ui.components.chart import chart
from pages.ui.explore.scene import Scene
from pages.ui.shared import frame
from pages.ui.shared.strings import language, locale, t

STATS = (
    "effective_tokens",
    "normalised_entropy",
    "max_weight",
    "top_mass",
    "sink_mass",
    "distance",
)
ENTROPIES = STATS[:2]
QUANTITY = re.compile("(?!log\\b)[a-z_]{2,}")
"""What a cost grows with, by its name in code; n and d are symbols in any language."""


def statistics(scene: Scene) -> None:
    """What each head does on average, and along the text."""
    st.subheader(t("explore.heads"), anchor=False)
    means = scene.means
    grid = scene.attention.frame.grid
    signed = scene.attention.row_kind == "signed"  # then rows have no entropy
    left_out = (*(ENTROPIES if signed else ()), *(("distance",) if grid else ()))  # along a line
    shown_stats = [x for x in STATS if x not in left_out]
    if scene.attention.frame.needles is not None:
        shown_stats.append("needle_mass")
    if scene.attention.row_kind != "stochastic":
        shown_stats.append("kept_mass")
    cells = [
        (t("head.name", head=h), [_figure(stat, float(means[stat][h])) for stat in shown_stats])
        for h in range(scene.attention.frame.heads)
    ]
    top = "".join(
        f'<th title="{html.escape(t(f"stat.{stat}.help"))}">{html.escape(t(f"stat.{stat}"))}</th>'
        for stat in shown_stats
    )
    body = "".join(
        f'<tr class="{"chosen" if h == scene.head else ""}"><th>{html.escape(head)}</th>'
        + "".join(f"<td>{value}</td>" for value in values)
        + "</tr>"
        for h, (head, values) in enumerate(cells)
    )
    table = f"<thead><tr><th></th>{top}</tr></thead><tbody>{body}</tbody>"
    table = f'<table class="figures">{table}</table>'
    if signed:
        st.html(table)
        return
    left, right = st.columns([2, 1] if len(shown_stats) > 6 else [3, 2], gap="large")
    left.html(table)

    def make() -> Figure:
        return rows(
            scene.summary.rows.effective_tokens, scene.summary.rows.visible, head=scene.head,
            query=scene.query, theme=frame.theme(), t=t,
        )  # fmt: skip

    with right:
        chart("rows", scene.drawn("rows", make), t)


def _figure(stat: str, value: float) -> str:
    if value != value:
        return "–"
    if stat in ("effective_tokens", "distance"):
        return f"{value:,.1f}"
    return f"{value:.2f}" if stat in ("normalised_entropy", "kept_mass") else f"{value:.1%}"


def cost(scene: Scene) -> None:
    """Time, memory and operations that the result took."""
    st.subheader(t("explore.cost"), anchor=False)
    lines = [t("cost.seconds", seconds=quantities.duration(scene.cost.seconds))]
    if scene.cost.bytes:
        lines.append(t("cost.memory", memory=quantities.memory(scene.cost.bytes)))
    if scene.cost.flops and not scene.weights_only:
        made = engine.make(scene.spec.mechanism, **scene.spec.arguments())
        order = grown(made.order, made.key, locale(language()))
        said = "cost.flops" if order else "cost.flops.alone"
        flops = quantities.operations(scene.cost.flops)
        lines.append(t(said, flops=flops, complexity=order))
    st.text(" · ".join(lines))


def grown(order: str, mechanism: str, words: Mapping[str, str]) -> str:
    """How a cost grows, each quantity in words of the person's language; one that a person's own
    mechanism names is as they call it.

    Args:
        order: as `Mechanism.order` says it. mechanism: its key. words: of the language.
    """

    def named(found: re.Match[str]) -> str:
        shared = words.get(f"cost.order.{found[0]}", found[0])
        return words.get(f"cost.order.{mechanism}.{found[0]}", shared)

    return QUANTITY.sub(named, order)
