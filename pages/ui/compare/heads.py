"""Heads side by side: of one layer or of several, under one mechanism."""

import re
from collections.abc import Sequence

import streamlit as st

from engine.measure.comparison import difference, shared
from engine.spec.spelling import Field
from pages.ui.compare.closer import HEIGHTS, difference_map
from pages.ui.compare.closer import row as rows_beside
from pages.ui.components.heatmap import heatmap
from pages.ui.explore import picture, sentences
from pages.ui.explore.scene import Scene, colour_of, scene
from pages.ui.explore.sentences import taken_away
from pages.ui.server.waiting import obtain
from pages.ui.shared.strings import keyed, t
from pages.ui.shared.terms import say
from pages.ui.url import linked, state
from pages.ui.url.linked import Fields, number, one_of

MOST = 4
HEADS = re.compile(rf"\d+\.\d+(,\d+\.\d+){{0,{MOST - 2}}}")
COMPARED = Fields(
    "compare-",
    {
        "what": one_of(("mechanisms", "heads"), "mechanisms"),
        "heads": Field(
            str, "", fits=lambda text: bool(HEADS.fullmatch(text)), said="layer.head,layer.head"
        ),
        "closer": number(2, MOST, 2),
    },
)
"""What stands side by side; the heads beside the page's own."""

Head = tuple[int, int]
"""A layer and a head of it."""


def choice() -> str:
    """Whether mechanisms or heads are compared."""
    return linked.segments(
        COMPARED, "what", t("compare.what"), lambda what: t(f"compare.what.{what}")
    )


def page() -> None:
    """The heads, their maps, and where they differ."""
    spec = state.spec()
    first = scene(spec.replace(head=None) if spec.head == "all" else spec)
    every = [
        (layer, head)
        for layer in first.layer_names or (0,)
        for head in range(first.attention.frame.heads)
    ]
    chosen = [(first.layer or 0, first.head), *beside(first, every)]
    scenes = [first] + [
        scene(first.spec.replace(
            layer=None if first.layer is None else layer, head=head, query=first.query
        ))
        for layer, head in chosen[1:]
    ]  # fmt: skip
    with st.container(key="comparing", horizontal=True, vertical_alignment="center"):
        picture.toolbar(first)
        if len(chosen) < MOST:
            st.button(
                t("compare.add_head"), key="add-head", type="tertiary", on_click=put,
                args=([*chosen[1:], after(chosen[-1], every)],),
            )  # fmt: skip
    names = [name(first, head) for head in chosen]
    maps(first, scenes, chosen, names, every)
    sentences.badge(first)
    if len(chosen) > 1:
        left, right = st.columns([3, 2], gap="large")
        with left:
            closer(first, scenes, names)
        with right:
            row(first, scenes, names)


def beside(first: Scene, every: Sequence[Head]) -> list[Head]:
    """The heads beside the page's own: those chosen that are there, else the one that follows."""
    text = COMPARED["heads"]
    found = [tuple(map(int, one.split("."))) for one in text.split(",")] if text else []
    there = [(layer, head) for layer, head in found if (layer, head) in every]
    own = (first.layer or 0, first.head)
    return there or ([after(own, every)] if len(every) > 1 else [])


def after(head: Head, every: Sequence[Head]) -> Head:
    """The head that follows, the first after the last."""
    return every[(every.index(head) + 1) % len(every)]


def put(heads: Sequence[Head]) -> None:
    """Choose the heads beside the page's own."""
    COMPARED.choose("heads", ",".join(f"{layer}.{head}" for layer, head in heads))


def name(first: Scene, head: Head) -> str:
    """What a head is called."""
    if first.layer is None:
        return t("head.name", head=head[1])
    return t("dilution.head", layer=first.layer_names[head[0]], head=head[1])


def maps(
    first: Scene, scenes: Sequence[Scene], chosen: Sequence[Head], names: Sequence[str],
    every: Sequence[Head],
) -> None:  # fmt: skip
    """The maps side by side: one scale, one window, one query; under each what the head does."""
    spec = first.spec
    signed = first.attention.row_kind == "signed"
    top = max(float(s.summary.maps[spec.pool][s.head].abs().max()) for s in scenes)
    for i, (place, shown) in enumerate(
        zip(st.columns(len(scenes), gap="medium"), scenes, strict=True)
    ):
        with place:
            header(i, first, chosen, every)
            heatmap(
                f"head-{i}", shown.attention, t, name=shown.spec.attention_key(), head=shown.head,
                pool=spec.pool, colour=spec.colour, window=spec.zoom, query=first.query,
                height=HEIGHTS[len(scenes)], about=taken_away(shown), link="heads",
                lead=i == 0, top=top,
                on_query=lambda row: first.pin(query=row),
                on_window=lambda window: state.change(zoom=window),
            )  # fmt: skip
            with st.container(key=f"verdict-{i}"):
                say(verdict(first, shown, names[i], None if i == 0 or signed else names[0]))


def header(i: int, first: Scene, chosen: Sequence[Head], every: Sequence[Head]) -> None:
    """Which head stands in a column."""
    key = keyed(f"column-head-{i}")

    def picked() -> None:
        new = st.session_state[key]
        if i == 0:
            first.pin(layer=None if first.layer is None else new[0], head=new[1])
            put(chosen[1:])
        else:
            put([new if j == i else head for j, head in enumerate(chosen)][1:])

    with st.container(horizontal=True, vertical_alignment="bottom", key=f"heading-{i}"):
        linked.follow(key, chosen[i])
        st.selectbox(
            t("explore.head"), every, format_func=lambda head: name(first, head), key=key,
            on_change=picked, label_visibility="collapsed",
        )  # fmt: skip
        if i > 0 and len(chosen) > 2:
            rest = [head for j, head in enumerate(chosen) if j not in (0, i)]
            st.button(
                "✕", key=f"remove-head-{i}", type="tertiary", help=t("compare.remove"),
                on_click=put, args=(rest,),
            )  # fmt: skip


def verdict(first: Scene, shown: Scene, called: str, reference: str | None) -> str:
    """What a head does on average, and how much of its weight lies where the first one's does."""
    means = shown.summary.rows.means()
    effective = float(means["effective_tokens"][shown.head])
    sink = float(means["sink_mass"][shown.head])
    words = [t("compare.head", name=called, largest=float(means["max_weight"][shown.head]))]
    if effective == effective:
        words = [t("compare.head_says", name=called, effective=effective, sink=sink)]
    if reference is not None:
        share = obtain(
            f"shared:{shown.spec.attention_key()}:{shown.head}"
            f":{first.spec.attention_key()}:{first.head}",
            t("gate.structure"),
            lambda report: shared(shown.attention, shown.head, first.attention, first.head),
            lambda made: 8,
        )  # fmt: skip
        words.append(t("compare.head_shares", name=reference, share=share))
    return t("sentence.join").join(words)


def closer(first: Scene, scenes: Sequence[Scene], names: Sequence[str]) -> None:
    """Where one head gives more than the first, and where less."""
    st.subheader(t("compare.difference"), anchor=False)
    places = list(range(2, len(scenes) + 1))
    at = min(COMPARED["closer"], len(scenes)) - 1
    if len(places) > 1:
        linked.stops(
            COMPARED,
            "closer",
            t("compare.difference_of"),
            lambda i: str(names[i - 1]),
            places,
            at + 1,
        )
    shown, spec, att = scenes[at], first.spec, first.attention.frame
    r0, r1, c0, c1 = spec.zoom or (0, att.n, 0, att.m)
    found = obtain(
        f"difference:{shown.spec.attention_key()}:{shown.head}:{first.spec.attention_key()}"
        f":{first.head}:{spec.zoom}:{spec.pool}:{colour_of(spec)}",
        t("gate.structure"),
        lambda report: difference(
            shown.attention, first.attention, shown.head, other=first.head,
            rows=slice(r0, r1), cols=slice(c0, c1), pool=spec.pool, colour=colour_of(spec),
            progress=report,
        ),
        lambda made: 4 * made.cells.numel(),
    )  # fmt: skip
    difference_map(first, found, bar="heads")
    up, down = (max(0.0, float(x)) for x in (found.cells.max(), -found.cells.min()))
    with st.container(key="caption-difference"):
        st.text(
            t("compare.heads_caption", name=names[at], other=names[0], up=f"{up:.2g}",
              down=f"{down:.2g}")
        )  # fmt: skip


def row(first: Scene, scenes: Sequence[Scene], names: Sequence[str]) -> None:
    """The chosen row in every head."""
    rows = [(called, shown.weights) for called, shown in zip(names, scenes, strict=True)]
    rows_beside(first, rows, named=names[0])
    with st.container(key="caption-strips"):
        st.text(t("compare.heads_row", query=sentences.asked(first), name=names[0]))
