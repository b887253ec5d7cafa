"""The parts of the Compare page, each of one comparison."""

import html
import math
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine.figures.attention.strips import POINTS
from engine.mechanisms import MECHANISMS
from engine.spec.fields import MOST_COLUMNS
from engine.spec.picture import Spec
from engine.spec.spelling import declarations
from engine.text import quantities
from pages.ui.compare import trained
from pages.ui.compare.closer import HEIGHTS, difference_map
from pages.ui.compare.closer import row as rows_beside
from pages.ui.compare.compared import Column, Compared, differing, end_of_scale
from pages.ui.components.heatmap import heatmap
from pages.ui.explore import picture, sentences
from pages.ui.explore.scene import Scene
from pages.ui.explore.sentences import taken_away
from pages.ui.shared import controls
from pages.ui.shared.settings import setting
from pages.ui.shared.strings import t
from pages.ui.shared.terms import say
from pages.ui.url import state

LONGEST = 56
"""Columns of text that fit side by side over the difference map."""
SAME = 0.0005
"""Differences below this are none, in a sentence."""
SHARES = ("captured_mass", "total_variation", "output_error")


@dataclass(frozen=True)
class Place:
    """Where a column's settings and its picture go."""

    settings: DeltaGenerator
    picture: DeltaGenerator


def headers() -> list[Place]:
    """Each column's mechanism, drawn before anything is computed, and room for the rest."""
    columns = state.spec().columns
    places = []
    for i, place in enumerate(st.columns(len(columns), gap="medium")):
        with place:
            header(i, columns[i][0], len(columns))
            places.append(Place(st.container(), st.container()))
    return places


def header(place: int, mechanism: str, columns: int) -> None:
    """One column's mechanism."""
    with st.container(horizontal=True, vertical_alignment="bottom", key=f"heading-{place}"):
        controls.choose(
            t("explore.mechanism"), "mechanism", tuple(MECHANISMS), mechanism,
            lambda key: t(f"mechanism.{key}.name"), key=f"column-{place}", segments=False,
            hide_label=True, on_choose=lambda key: state.switch_column(place, key),
        )  # fmt: skip
        if columns > 1:
            st.button(
                "✕", key=f"remove-{place}", type="tertiary", help=t("compare.remove"),
                on_click=_remove, args=(place,),
            )  # fmt: skip


def settings(place: int, spec: Spec) -> None:
    """One column's settings, as they are used."""
    mechanism, values = spec.mechanism, spec.arguments()
    declared = declarations(MECHANISMS, mechanism)
    with st.popover(
        " · ".join(setting(mechanism, *pair) for pair in values.items()) or t("compare.plain"),
        key=f"settings-{place}",
        type="tertiary", width="stretch", disabled=not declared,
    ):  # fmt: skip
        for name, parameter in declared.items():
            controls.parameter(
                mechanism, "mechanism", f"column-{place}", name, parameter, values[name],
                change=lambda _, name, value: state.change_column_param(
                    place, mechanism, name, value
                ),
            )  # fmt: skip


def _remove(place: int) -> None:
    columns = list(state.spec().columns)
    del columns[place]
    state.change_columns(columns)


def _add() -> None:
    columns = state.spec().columns
    shown = {key for key, _ in columns}
    fresh = next((key for key in MECHANISMS if key not in shown), columns[-1][0])
    state.change_columns([*columns, (fresh, ())])


def toolbar(shown: Compared) -> None:
    """How maps are coloured and pooled, and one column more."""
    with st.container(key="comparing", horizontal=True, vertical_alignment="center"):
        picture.toolbar(shown.scene)
        trained.choice(shown)
        if len(shown.columns) < MOST_COLUMNS:
            st.button(t("compare.add"), key="add-column", type="tertiary", on_click=_add)


def columns(shown: Compared, places: list[Place]) -> None:
    """The maps side by side: one scale, one window, one query; under each what differs."""
    spec = shown.spec
    height = HEIGHTS[len(shown.columns)]
    ends = {signed: end_of_scale(shown, signed) for signed in (False, True)}
    leads = next((column.place for column, _ in shown.drawn), None)
    for column, place in zip(shown.columns, places, strict=True):
        with place.settings:
            settings(column.place, column.spec)
        with place.picture:
            if column.scene is None:
                with st.container(key=f"trouble-{column.place}"):
                    st.text(column.trouble)
                continue
            att = column.scene.attention
            heatmap(
                f"map-{column.place}", att, t, name=column.spec.attention_key(),
                head=shown.scene.head, pool=spec.pool, colour=spec.colour, window=spec.zoom,
                query=shown.scene.query, height=height, about=taken_away(column.scene),
                link="compare", lead=column.place == leads, top=ends[att.row_kind == "signed"],
                on_query=lambda row: shown.scene.pin(query=row),
                on_window=lambda window: state.change(zoom=window),
            )  # fmt: skip
            with st.container(key=f"verdict-{column.place}"):
                say(verdict(shown, column))
            door(shown, column)
    trained.twins(shown, height, ends)
    if note := scale_note(shown):
        with st.container(key="caption"):
            st.text(note)


def scale_note(shown: Compared) -> str:
    """What the maps' colours share."""
    signed = [scene.attention.row_kind == "signed" for scene, _ in shown.maps]
    plain = signed.count(False)
    words = []
    if plain > 1:
        words.append(t("compare.scale", count=plain))
    if any(signed):
        words.append(t("compare.scale_signed"))
    return t("sentence.join").join(words)


def door(shown: Compared, column: Column) -> None:
    """The same settings on the Explore page."""
    spec = shown.spec.first(column.place).replace(
        head=shown.scene.head,
        query=shown.scene.query,
        layer=shown.scene.layer,
        model=shown.scene.spec.model,
        trained="same",
    )
    st.page_link("explore.py", label=t("compare.back"), query_params=state.query_params(spec))


def means(column: Column, head: int) -> dict[str, float]:
    """A column's numbers for one head."""
    assert column.comparison is not None and column.scene is not None
    rows = column.scene.summary.rows.means()
    found = column.comparison.means() | {
        name: rows[name]
        for name in ("effective_tokens", "max_weight", "kept_mass", "negative_mass")
    }
    return {name: float(value[head]) for name, value in found.items()}


def verdict(shown: Compared, column: Column) -> str:
    """What differs from full attention, in a sentence."""
    head = shown.scene.head
    found = means(column, head)
    if column.full:
        return t("verdict.reference", effective=f"{found['effective_tokens']:,.1f}")
    signed = column.scene is not None and column.scene.attention.row_kind == "signed"
    captured, moved, error = (found[name] for name in SHARES)
    usual = means(shown.reference, head)["kept_mass"]
    if signed:
        words = t("verdict.signed", name=column.name, negative=f"−{found['negative_mass']:.3g}")
    elif captured < 1 - SAME:
        words = t("verdict.keeps", name=column.name, captured=_share(captured, down=True))
    elif moved > SAME:
        words = t("verdict.moves", name=column.name, moved=_share(moved))
    elif abs(found["kept_mass"] - usual) > SAME:
        words = t("verdict.scaled", name=column.name, kept=_share(found["kept_mass"]))
    else:
        words = t("verdict.same", name=column.name)
    if error == error and (error > SAME or moved > SAME):
        words += t("verdict.output", error=_share(error))
    assert column.effort is not None and shown.reference.effort is not None
    share = column.effort.flops / max(1, shown.reference.effort.flops)
    if abs(share - 1) < 0.005:
        return words + t("verdict.cost_same")
    if share > 1:
        return words + t("verdict.cost_more", times=f"{share:.2g}")
    return words + t("verdict.cost", share=_share(share))


def _share(value: float, down: bool = False) -> str:
    """Per cent, with a decimal where it is small; `down` never rounds up to all."""
    if math.isnan(value):
        return "–"
    if 0 < value < SAME:
        return "< 0.05%"
    if down and value < 1:
        value = min(value, 0.999)
    whole = value == 0 or 0.1 <= value < 0.99 or value >= 1
    return f"{value:.0%}" if whole else f"{value:.1%}"


def _width(text: str) -> int:
    """Columns that a text takes; a Chinese character takes two."""
    return sum(2 if ord(character) > 0x2E7F else 1 for character in text)


def closer(shown: Compared, column: Column) -> None:
    """One column's difference map."""
    st.subheader(t("compare.difference"), anchor=False)
    drawn = {c.place + 1: c.name for c, _ in shown.drawn}
    if len(drawn) > 1:
        controls.choose(
            t("compare.difference_of"), "column", list(drawn), column.place + 1,
            drawn.__getitem__, hide_label=True,
            segments=sum(map(_width, drawn.values())) <= LONGEST,
        )  # fmt: skip
    found = differing(shown, column)
    difference_map(shown.scene, found)
    up, down = float(found.cells.max()), -float(found.cells.min())
    if max(up, down) <= 0:
        words = [t("compare.difference_none", name=column.name)]
    else:
        ends = {"up": f"{max(up, 0):.2g}", "down": f"{max(down, 0):.2g}"}
        words = [t("compare.difference_caption", name=column.name, **ends)]
    if found.cell != (1, 1):
        facts = {"rows": found.cell[0], "cols": found.cell[1]}
        words.append(t(f"compare.pooled.{shown.spec.pool}", **facts))
    if found.sampled:
        r0, r1, _, _ = found.span
        words.append(t("compare.sampled_rows", rows=len(found.rows), n=r1 - r0))
    with st.container(key="caption-difference"):
        st.text(t("sentence.join").join(words))


def row(shown: Compared) -> None:
    """The chosen row under every mechanism."""
    full = shown.scene
    cols = rows_beside(full, [(column.name, scene.weights) for column, scene in shown.drawn])
    words = [t("compare.row_caption", query=sentences.asked(full))]
    if (wide := -(-(cols[1] - cols[0]) // POINTS)) > 1:
        words.append(t("compare.row_pooled", cols=wide))
    with st.container(key="caption-strips"):
        st.text(t("sentence.join").join(words))


def numbers(shown: Compared) -> None:
    """Every figure of every column, full attention's first."""
    st.subheader(t("compare.numbers"), anchor=False)
    listed = [column for column, _ in shown.drawn]
    if not any(column.full for column in listed):
        listed.insert(0, shown.reference)
    kinds = {scene.attention.row_kind for _, scene in shown.drawn}
    stats = ["effective_tokens", "max_weight"] + (["kept_mass"] if kinds != {"stochastic"} else [])
    names = [f"compare.{name}" for name in ("captured_mass", "total_variation", "kl",
             "output_error", "top_recall")]  # fmt: skip
    names += [f"stat.{name}" for name in stats]
    names += [f"compare.{name}" for name in ("seconds", "memory", "flops")]
    head = "".join(
        f'<th title="{html.escape(t(f"{name}.help"))}">{html.escape(t(name))}</th>'
        for name in names
    )
    body = "".join(
        f"<tr><th>{html.escape(column.name)}</th>"
        + "".join(f"<td>{html.escape(value)}</td>" for value in figures(column, shown, stats))
        + "</tr>"
        for column in listed
    )
    st.html(
        f'<table class="figures many"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )
    comparison, n = shown.reference.comparison, shown.scene.attention.frame.n
    assert comparison is not None
    facts = {"head": shown.scene.head, "n": n}
    with st.container(key="caption-numbers", gap=None):
        if len(comparison.rows) < n:
            st.text(t("compare.numbers_sampled", rows=len(comparison.rows), **facts))
        else:
            st.text(t("compare.numbers_caption", **facts))
        st.text(t("compare.cost_caption"))


def figures(column: Column, shown: Compared, stats: list[str]) -> list[str]:
    """One line of the table."""
    assert column.scene is not None and column.effort is not None
    found, head = means(column, shown.scene.head), shown.scene.head
    signed = column.scene.attention.row_kind == "signed"
    moved = found["total_variation"]
    values = [
        _share(found["captured_mass"], down=True),
        f"{moved:.3g}" if signed else _share(moved if moved > 1e-6 else 0.0),
        "∞" if math.isinf(found["kl"]) else _plain("kl", found["kl"]),
        _share(found["output_error"]),
        _share(found["top_recall"], down=True),
    ]
    rows = column.scene.summary.rows.means()
    values += [_plain(name, float(rows[name][head]), signed) for name in stats]
    effort = column.effort
    cost = quantities.duration(effort.seconds), quantities.memory(effort.bytes)
    return [*values, *cost, quantities.operations(effort.flops)]


def _plain(name: str, value: float, signed: bool = False) -> str:
    """A statistic; NaN is a dash."""
    if math.isnan(value):
        return "–"
    if name == "effective_tokens":
        return f"{value:,.1f}"
    if name == "kl":
        return f"{value:.3f}" if value >= SAME else "0"
    return f"{value:.3g}" if signed or name == "kept_mass" else f"{value:.1%}"


def badge(shown: Compared) -> None:
    """Where Q, K and V came from."""
    applied = next((scene for column, scene in shown.drawn if not column.full), shown.scene)
    sentences.badge(applied)


def explore_door(scene: Scene) -> None:
    """From the Explore page: the same beside full attention."""
    if scene.weights_only:
        return
    spec = scene.spec.replace(
        head=scene.head, query=scene.query, layer=scene.layer, others=None, column=None
    )
    if (asked := state.spec()).model != spec.model:  # of the model that was trained so
        spec = asked.replace(others=None, column=None, layer=None, head=None, query=scene.query)
    words = "compare.door_full" if spec.mechanism == "softmax" else "compare.door"
    st.page_link("compare.py", label=t(words), query_params=state.query_params(spec))
