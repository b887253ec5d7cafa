"""The mechanism's own pictures, each with its title and a sentence."""

import html

import streamlit as st

from engine.contract import QKV
from engine.figures.base.moving import film
from engine.figures.base.theme import Figure
from engine.figures.structure.pictures import Context, Picture, pictures
from engine.mechanisms import MECHANISMS
from engine.text.tokens import MARKS, shown
from pages.ui.components.chart import chart
from pages.ui.components.moving import moving
from pages.ui.explore.scene import Scene
from pages.ui.server.waiting import kept, obtain
from pages.ui.shared import frame
from pages.ui.shared.strings import formula, language, t

TINTS = 8
ACROSS = 32  # keys without names in a line
LONGEST = 62 * ACROSS  # keys of a tinted text


def structure(scene: Scene) -> None:
    """What the mechanism built: buckets, factors, levels, memory, routes, biases."""
    spec, theme = scene.spec, frame.theme()
    if scene.weights_only:
        return
    context = Context(
        att=scene.attention, head=scene.head, row=scene.query, theme=theme, t=t,
        qkv=scene.given if isinstance(scene.given, QKV) else None,
        mechanism=MECHANISMS[spec.mechanism](**spec.arguments()),
    )  # fmt: skip
    key = f"structure:{spec.attention_key()}:{scene.head}:{scene.query}:{theme.name}:{language()}"
    made = obtain(
        key, t("gate.structure"), lambda report: pictures(context),
        lambda made: 2**18 * len(made), kind="picture",
    )  # fmt: skip
    fidelity(scene)
    if not made:
        return
    titles = [t(f"picture.{picture.key}.title") for picture in made]
    for tab, picture in zip(st.tabs(titles), made, strict=True):
        with tab:
            draw(picture, context, scene)


def fidelity(scene: Scene) -> None:
    """How near a stand-in comes to full attention, beside random weights."""
    found = scene.attention.fidelity
    if found is None:
        return
    value, chance = float(found.value[scene.head]), float(found.random[scene.head])
    with st.container(key="fidelity"):
        st.text(t(f"fidelity.{found.measure}", value=value, random=chance, head=scene.head))


def draw(picture: Picture, context: Context, scene: Scene) -> None:
    """One picture with its words: beside it, or under a wide one."""
    stem = f"picture.{picture.key}"
    aside = {"spec": [3, 2], "gap": "large", "vertical_alignment": "center"}
    where = [st.container()] if picture.wide else st.columns(**aside)
    with where[0]:
        if picture.figure is not None and picture.figure.frames:
            moves = film(picture.figure)
            moving(
                f"picture-{picture.key}", moves.figure, t, alt=t(f"{stem}.title"),
                frames=moves.frames, labels=moves.labels, at=moves.at,
                height=picture.figure.layout.height or 420,
            )  # fmt: skip
        elif picture.figure is not None:
            side_by_side([picture.figure, *picture.beside], f"picture-{picture.key}", scene)
        elif picture.labels is not None:
            name = f"tinted:{picture.key}:{scene.name}"
            st.html(kept(name, lambda: tinted(picture, context), len))
        for name in picture.formulas:
            st.latex(formula(f"{stem}.{name}.formula"))
    with where[-1], st.container(key=f"caption-{picture.key}"):
        st.text(t(f"{stem}.caption", **picture.facts))


def side_by_side(figures: list[Figure], key: str, scene: Scene) -> None:
    """Figures two in a row, which stand under one another on a narrow page."""
    made = [scene.drawn(f"{key}-{i}", lambda one=one: one) for i, one in enumerate(figures)]
    if len(figures) == 1:
        chart(key, made[0], t)
        return
    for first in range(0, len(figures), 2):
        pair = made[first : first + 2]
        for i, (column, figure) in enumerate(zip(st.columns(2), pair, strict=False), first):
            with column:
                chart(f"{key}-{i}", figure, t)


def tinted(picture: Picture, context: Context) -> str:
    """The text around the chosen query, each token in its group's tint; names of groups above."""
    tokens, m, grid = context.tokens, context.att.frame.m, context.att.frame.grid
    here = min(max(0, context.row + max(0, m - context.att.frame.n)), m - 1)
    start = max(0, min(here - LONGEST // 2, m - LONGEST)) // ACROSS * ACROSS
    labels = list(picture.labels or ())[start : start + LONGEST]

    def mark(words: str, group: int, at: int | None = None) -> str:
        kind = f"tint tint-{group % TINTS}" if group >= 0 else "tint"
        kind += " own" * (group >= 0 and group == picture.own) + " chosen" * (at == here)
        name = picture.names[group] if 0 <= group < len(picture.names) else ""
        tip = "" if at is None else f' title="{html.escape(f"{at:,} {name}".strip())}"'
        return f'<span class="{kind}"{tip}>{html.escape(words)}</span>'

    legend = "".join(mark(name, i) for i, name in enumerate(picture.names[:24]))
    legend += mark(t("tinted.chosen"), -1, here)
    lines = ""
    if grid:  # the patches where they stand
        order = (grid.place[:, 0] * grid.cols + grid.place[:, 1]).argsort().tolist()
        whole = [] if picture.labels is None else list(picture.labels)
        body = "".join(
            f"<i>{i // grid.cols + 1}</i>" * (i % grid.cols == 0) + mark("", whole[at], at)
            for i, at in enumerate(order)
        )
        lines = f' style="grid-template-columns: max-content repeat({grid.cols}, 1fr)"'
    elif tokens:  # a tint shows its spaces
        body = "".join(
            mark(shown(tokens[i]).replace(MARKS[" "], " "), group, i)
            for i, group in enumerate(labels, start)
        )
    else:
        body = "".join(
            f"<i>{i:,}</i>" * (i % ACROSS == 0) + mark("", group, i)
            for i, group in enumerate(labels, start)
        )
    before, after = ("…" if cut and not grid else "" for cut in (start > 0, start + LONGEST < m))
    kind = "words" if tokens and not grid else "cells"
    return (
        f'<div class="tinted"><p class="legend">{legend}</p>{before}'
        f'<p class="{kind}"{lines}>{body}</p>{after}</div>'
    )
