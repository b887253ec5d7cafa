"""The parts of the Explore page, each of one scene."""

import html
import math

import streamlit as st
from torch import Tensor

import engine
from engine.contract import QKV
from engine.figures.attention.groups import groups
from engine.figures.attention.mosaic import mosaic
from engine.figures.attention.rows import rows
from engine.figures.attention.steps import numbers, steps
from engine.figures.structure.levels import icicle
from engine.mechanisms import MECHANISMS
from engine.spec.fields import COLOURS, GROUPINGS, POOLS, SIGHTS
from engine.spec.spelling import wholes
from engine.structure import highlights
from engine.structure.highlights import Look
from engine.text import quantities
from engine.text.tokens import isolated, shown
from engine.text.tree import Tree
from pages.ui.components.heatmap import heatmap
from pages.ui.components.tokens import token_text
from pages.ui.explore import vision
from pages.ui.explore.scene import Scene
from pages.ui.server import waiting
from pages.ui.server.desk import Report
from pages.ui.shared import contents, controls, frame
from pages.ui.shared.strings import formula, t
from pages.ui.url import state

PLAIN = {"displayModeBar": False}
CHOSEN = ("layout", "sample")  # parameters of sources whose values are words
STATS = (
    "effective_tokens",
    "normalised_entropy",
    "max_weight",
    "top_mass",
    "sink_mass",
    "distance",
)


def name(scene: Scene, position: int, role: str) -> str:
    """A token in a sentence, by its position where tokens have no names."""
    if grid := scene.attention.frame.grid:
        return vision.name(grid, position, role)
    tokens = scene.attention.frame.tokens
    if not tokens:
        return t(f"sentence.{role}_unnamed", position=position)
    return t(f"sentence.{role}", token=f"“{isolated(tokens[position])}”", position=position)


def provenance(scene: Scene) -> str:
    """Where Q, K and V came from, in words."""
    spec = scene.spec
    if spec.textual:
        return t("badge.model", model=scene.model, layer=scene.layer)
    if spec.source == "arrays":
        kept = contents.get(spec.content)
        return t("badge.arrays", name=shown(kept[1]) if kept else t("source.arrays.name"))
    stem = f"source.{spec.source}"
    values = [
        f"{t(f'{stem}.param.{k}')} {t(f'{stem}.param.{k}.{v}') if k in CHOSEN else _plain(v)}"
        for k, v in spec.source_params
        if k != "upload"
    ]
    return " · ".join([t(f"{stem}.name"), *values])


def _plain(value: int | float | bool | str) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def badge(scene: Scene) -> None:
    """Where Q, K and V came from, and what about them is not the model's own."""
    att, spec = scene.attention, scene.spec
    words = t(
        "badge.text", source=provenance(scene), dtype=scene.dtype, device=att.device,
        n=att.frame.n, heads=att.frame.heads,
    )  # fmt: skip
    trained = att.frame.origin.trained_length
    notes = []
    if trained:
        words += " · " + t("badge.trained", trained=trained)
        if att.frame.m > trained:
            notes.append(t("badge.beyond", trained=trained))
    if scene.total_tokens and scene.total_tokens > att.frame.m:
        notes.append(t("badge.cut", total=scene.total_tokens, kept=att.frame.m))
    if scene.weights_only:
        notes.append(t("explore.weights_only"))
    if spec.textual and spec.by == "characters":
        notes.append(t("badge.characters"))
    if spec.textual and spec.mechanism != "softmax":
        notes.append(t("badge.applied", mechanism=t(f"mechanism.{spec.mechanism}.name")))
    if spec.sight == "both":
        notes.append(t("badge.both"))
    if spec.hide:
        notes.append(t("badge.hidden", count=len(spec.hide)))
    if att.frame.m == 1:
        notes.append(t("badge.one"))
    with st.container(key="badge", gap=None):
        st.text(words)
        for note in notes:
            st.text(note)


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


def picture(scene: Scene, height: int = 600) -> None:
    """One head large, or all of them small."""
    spec, att = scene.spec, scene.attention
    if spec.head == "all" and att.frame.heads > 1:
        heads(scene, height)
        return
    heatmap(
        "picture", scene.attention, t, name=spec.attention_key(), head=scene.head, pool=spec.pool,
        colour=spec.colour, window=spec.zoom, query=scene.query, height=height,
        on_query=lambda row: state.change(query=row, head=scene.head),
        on_window=lambda window: state.change(zoom=window),
    )  # fmt: skip


def heads(scene: Scene, height: int, columns: int | None = None) -> None:
    """All heads at a glance; a click makes one large.

    Args:
        columns: heads in a row of small ones; about a square of large ones if None.
    """
    att, spec = scene.attention, scene.spec
    means = scene.summary.rows.means()
    facts = [
        f"{t('head.name', head=h)}: {mean:,.1f} {t('stat.effective_tokens')}"
        for h, mean in enumerate(means["effective_tokens"].tolist())
    ]

    def picked() -> None:
        points = st.session_state["heads"].selection.points
        if points:
            state.change(head=int(points[0]["customdata"]))

    figure = mosaic(
        scene.summary.maps[spec.pool], look=frame.look(), t=t, colour=spec.colour,
        signed=att.row_kind == "signed", facts=facts, height=height, columns=columns,
        most=512 if columns is None else 96, chosen=None if spec.head == "all" else scene.head,
    )  # fmt: skip
    st.plotly_chart(
        figure, theme=None, key="heads", config=PLAIN, on_select=picked, selection_mode="points"
    )
    words = {"colour": t(f"colour.{spec.colour}.bar"), "pool": t(f"pool.{spec.pool}")}
    with st.container(key="caption"):
        st.text(t("heads.caption", **words))


def beside(scene: Scene, height: int = 640) -> None:
    """What stands beside the picture: the text, and under it every head at a glance."""
    att = scene.attention
    grid = att.frame.grid
    named = att.frame.tokens is not None
    across = min(att.frame.heads, 3 if att.frame.heads in (5, 6, 9) else 4)
    if not named:  # no text beside them: about a square
        across = math.ceil(math.sqrt(att.frame.heads))
    down = -(-att.frame.heads // across)
    strip = min(height, down * (400 // across + 20))
    if att.frame.heads == 1 or scene.spec.head == "all":
        strip = 0
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
        on_choose=lambda token: state.change(query=max(0, token - behind), head=scene.spec.head),
    )  # fmt: skip


def head_choice(scene: Scene) -> None:
    """One head, or all."""
    heads = scene.attention.frame.heads
    shown_head = "all" if scene.spec.head == "all" else scene.head
    words = str
    if scene.spec.source == "image":
        words = lambda head: t(f"image.head.{head}")  # noqa: E731
    controls.choose(
        t("explore.head"), "head", ["all", *range(heads)], shown_head,
        lambda head: t("head.all") if head == "all" else words(head), segments=heads <= 8,
    )  # fmt: skip


def sight() -> None:
    """What a row may see: as the layer has it, or both ways."""
    controls.choose(
        t("explore.sight"), "sight", SIGHTS, state.spec().sight, lambda key: t(f"sight.{key}"),
        help=t("explore.sight.help"),
    )  # fmt: skip


def refused(trouble: str) -> None:
    """Why nothing is shown; and a way out for mechanisms that can't look back only."""
    with st.container(key="trouble"):
        st.text(trouble)
    spec = state.spec()
    if spec.sight == "own" and not MECHANISMS[spec.mechanism].causal_ok:
        st.text(t("explore.sight.help"))
        st.button(t("explore.sight.try"), on_click=lambda: state.change(sight="both"))


def hiding() -> None:
    """Keys that are set aside."""
    spec = state.spec()
    controls.follow("hide-first", 0 in spec.hide)
    controls.follow("hide", ", ".join(str(i) for i in spec.hide if i))

    def changed() -> None:
        first = (0,) if st.session_state["hide-first"] else ()
        words = st.session_state["hide"].replace("，", ",").replace(" ", "").strip(",")
        try:
            others = wholes(words) if words else ()
            state.change(hide=first + others)
        except ValueError:
            st.session_state["unhidden"] = t("error.positions")

    st.toggle(
        t("explore.hide_first"), key="hide-first", help=t("explore.hide_first.help"),
        on_change=changed,
    )  # fmt: skip
    st.text_input(t("explore.hide"), key="hide", help=t("explore.hide.help"), on_change=changed)
    if refused := st.session_state.pop("unhidden", None):
        st.text(refused)


def sentence(scene: Scene, seen: Look) -> None:
    """What the chosen row does, with its numbers."""
    att = scene.attention
    query = name(scene, scene.query + max(0, att.frame.m - att.frame.n), "query")
    facts = {"weight": quantities.share(seen.weight), "back": abs(seen.back)}
    if seen.key < 0:
        words = t("sentence.nothing", query=query)
    elif att.row_kind == "signed":
        key = name(scene, seen.key, "key")
        words = t("sentence.signed", query=query, key=key, weight=seen.weight)
    elif seen.even:
        words = t("sentence.even", query=query, visible=seen.visible, **facts)
    else:
        kind = {0: "self", 1: "previous"}.get(seen.back, "back" if seen.back > 0 else "ahead")
        if att.frame.grid and kind != "self":
            kind = "patch"
        parts = [
            t(f"sentence.{kind}", query=query, key=name(scene, seen.key, "key"), **facts),
            t("sentence.spread", effective=seen.effective, visible=seen.visible),
        ]
        if seen.key > 0 and seen.first >= 0.005 and not att.frame.grid:
            parts.append(t("sentence.first", first=quantities.share(seen.first)))
        if att.hidden_keys is not None:
            removed = float(att.removed(slice(scene.query, scene.query + 1))[scene.head])
            parts.append(t("sentence.removed", removed=removed))
        words = t("sentence.join").join(parts)
    with st.container(key="sentence"):
        st.text(words)


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
    figure = steps(row, keys=scene.attention.frame.tokens, look=frame.look(), t=t)
    st.plotly_chart(figure, theme=None, key="steps", config=PLAIN)


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
    head = None if spec.head == "all" and not by_head else scene.head

    def work(report: Report) -> tuple[highlights.Grouping, Tensor, int]:
        found = highlights.grouping(att, kind, block, scene.head, given)
        count = len(found.names)
        return found, *highlights.group_mass(att, found.keys, head, found.queries, count)

    found, mass, sampled = waiting.obtain(
        f"groups:{spec.attention_key()}:{kind}:{block}:{head}", t("gate.grouping"), work,
        lambda made: made[1].numel() * 4 + att.frame.m * 16,
    )  # fmt: skip
    row = int(found.queries[scene.query])
    figure = groups(
        mass, names=found.names, row=row if row >= 0 else None, look=frame.look(), t=t,
        signed=att.row_kind == "signed",
    )  # fmt: skip
    st.plotly_chart(figure, theme=None, key="groups", config=PLAIN)
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
    figure = icicle(
        scene.weights, Tree.of(whole), whole.tokens, look=frame.look(), t=t,
        query=min(max(0, scene.query + whole.m - whole.n), whole.m - 1),
    )  # fmt: skip
    st.plotly_chart(figure, theme=None, key="icicle", config=PLAIN)
    st.text(t("groups.icicle"))


def statistics(scene: Scene) -> None:
    """What each head does on average, and along the text."""
    st.subheader(t("explore.heads"), anchor=False)
    means = scene.summary.rows.means()
    grid = scene.attention.frame.grid
    shown_stats = [x for x in STATS if not (grid and x == "distance")]  # which is along a line
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
    left, right = st.columns([3, 2], gap="large")
    head = f"<thead><tr><th></th>{top}</tr></thead>"
    left.html(f'<table class="figures">{head}<tbody>{body}</tbody></table>')
    figure = rows(
        scene.summary.rows.effective_tokens, scene.summary.rows.visible, head=scene.head,
        query=scene.query, look=frame.look(), t=t,
    )  # fmt: skip
    right.plotly_chart(figure, theme=None, key="rows", config=PLAIN)


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
        complexity = engine.make(scene.spec.mechanism, **scene.spec.arguments()).order
        flops = quantities.operations(scene.cost.flops)
        lines.append(t("cost.flops", flops=flops, complexity=complexity))
    st.text(" · ".join(lines))
