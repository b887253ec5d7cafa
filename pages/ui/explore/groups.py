"""Mass that groups of tokens give to groups of tokens."""

import streamlit as st
from torch import Tensor

from engine.contract import QKV
from engine.figures.attention.groups import groups
from engine.figures.base.theme import Figure
from engine.figures.structure.levels import icicle
from engine.spec.fields import GROUPINGS
from engine.structure import highlights
from engine.text.tree import Tree
from pages.ui.components.chart import chart
from pages.ui.explore.scene import Scene
from pages.ui.server import waiting
from pages.ui.server.desk import Report
from pages.ui.shared import controls, frame
from pages.ui.shared.strings import t
from pages.ui.url import state


def by_group(scene: Scene) -> None:
    """Mass that groups of tokens give to groups of tokens."""
    att, spec = scene.attention, scene.spec
    st.subheader(t("explore.group"), anchor=False)
    given = scene.given if isinstance(scene.given, QKV) else None
    ways = highlights.groupings(att, given)
    kind = spec.group if spec.group in ways else ways[0]
    block = max(spec.block, highlights.smallest_block(att.frame.m))
    if att.row_kind != "signed":  # a share is nothing below 0
        controls.choose(
            t("explore.grouping"), "grouping", GROUPINGS, spec.grouping,
            lambda way: t(f"grouping.{way}"), hide_label=True,
        )  # fmt: skip
        if spec.grouping == "icicle":
            unit_by_unit(scene)
            return
    grouping_choice(ways, kind, block, att.frame.m)
    by_head = kind in highlights.FOUND
    own = scene.head if by_head else None

    def work(report: Report) -> tuple[highlights.Grouping, Tensor, int]:
        found = highlights.grouping(att, kind, block, scene.head, given)
        count = len(found.names)
        return found, *highlights.group_mass(att, found.keys, found.queries, count)

    found, mass, sampled = waiting.obtain(
        f"groups:{spec.attention_key()}:{kind}:{block}:{own}", t("gate.grouping"), work,
        lambda made: made[1].numel() * 4 + att.frame.m * 16, kind="picture",
    )  # fmt: skip
    mass = mass.mean(0) if spec.head == "all" and not by_head else mass[scene.head]
    row = int(found.queries[scene.query])

    def make() -> Figure:
        return groups(
            mass, names=found.names, row=row if row >= 0 else None, theme=frame.theme(), t=t,
            signed=att.row_kind == "signed", patches=att.frame.grid is not None,
        )  # fmt: skip

    chart("groups", scene.drawn("groups", make), t)
    if by_head:
        st.text(t(f"groups.{kind}", head=scene.head))
    if sampled < att.frame.n:
        st.text(t("groups.sampled", rows=sampled, n=att.frame.n))


def grouping_choice(ways: list[str], kind: str, block: int, m: int) -> None:
    """By what keys are grouped, and how many tokens make a block."""
    with st.container(key="grouping", horizontal=True, vertical_alignment="bottom"):
        controls.choose(
            t("explore.group_by"), "group", ways, kind, lambda way: t(f"group.{way}"),
            hide_label=True, segments=len(ways) <= 5,
        )  # fmt: skip
        if kind == "blocks":
            controls.follow("block", block)
            st.number_input(
                t("explore.block"), highlights.smallest_block(m), 131_072, key="block", width=140,
                label_visibility="collapsed", help=t("explore.block"),
                on_change=lambda: state.change(block=st.session_state["block"]),
            )  # fmt: skip


def unit_by_unit(scene: Scene) -> None:
    """The chosen query's weight, units inside units."""
    whole = scene.attention.frame

    def make() -> Figure:
        return icicle(
            scene.weights, Tree.of(whole), whole.tokens, theme=frame.theme(), t=t,
            query=min(max(0, scene.query + whole.m - whole.n), whole.m - 1),
        )  # fmt: skip

    chart("icicle", scene.drawn("icicle", make), t)
    st.text(t("groups.icicle"))
