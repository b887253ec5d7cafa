"""All heads of the model at once: a map or a tint each; a click opens one in Explore."""

from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine.figures.attention.layers import layers
from engine.models.finder import Head, ranked
from engine.models.overview import Layer, heads_of
from engine.text import quantities
from pages.ui.models.fields import MODELS, SHARES, SHOWS
from pages.ui.models.shown import Shown
from pages.ui.shared import frame
from pages.ui.shared.strings import t
from pages.ui.shared.terms import say
from pages.ui.url import linked

TOLD = ("previous", "induction", "sink")  # of every head, to the pointer, and of the best beneath
STANDS_OUT = ("previous", "induction", "duplicate", "sink", "separator", "retrieval")
TALLEST = 1_400  # px
PLACE = 92  # px of a head's place where they are few
WIDTH = 680  # px that the picture has on a usual screen
EDGES = 60  # px for the names around it


def number(score: str, value: float) -> str:
    """A score as people read it."""
    if value != value:
        return "–"
    return quantities.share(value) if score in SHARES else f"{value:,.1f}"


def draw(found: Shown, bar: DeltaGenerator) -> None:
    """The picture, what stands out beside it, and the sentence."""
    with bar:
        shows = linked.select(
            MODELS, "shows", t("models.shows"), shown_as, SHOWS, width=230,
            label_visibility="collapsed",
        )  # fmt: skip
    left, right = st.columns([3, 2], gap="large")
    with left:
        picture(found, shows)
    with right:
        stands_out(found)
    with st.container(key="sentence"):
        say(sentence(found))
    with st.container(key="caption"):
        if shows == "map":
            st.text(t("models.map.caption"))
        else:
            st.text(t("models.tint.caption", score=t(f"pattern.{shows}")))
            st.text(t(f"pattern.{shows}.help"))


def shown_as(shows: str) -> str:
    """What a place shows, in words."""
    if shows == "map":
        return t("models.shows.map")
    return t("models.shows.score", score=t(f"pattern.{shows}"))


def picture(found: Shown, shows: str) -> None:
    """Every head in its place."""
    spec = found.spec
    drawn = found.layers

    def picked() -> None:
        points = st.session_state["models-picture"].selection.points
        if points:
            layer, head = points[0]["customdata"]
            found.leave(int(layer), int(head))

    tints = None if shows == "map" else [tinted(drawn, layer, shows) for layer in drawn]
    chosen = None
    if spec.layer is not None and spec.layer < len(drawn) and isinstance(spec.head, int):
        chosen = spec.layer, spec.head
    several = len(set(found.trace.parts)) > 1
    across = max(layer.heads for layer in drawn)
    place = max(14, min(PLACE, WIDTH // across))
    figure = layers(
        [layer.maps for layer in drawn],
        names=[found.layer_name(i) if several else layer.name for i, layer in enumerate(drawn)],
        theme=frame.theme(), axes=(t("axis.heads"), "" if several else t("axis.layers")),
        signed=[layer.signed for layer in drawn], groups=[layer.groups for layer in drawn],
        facts=[[fact(found, i, h) for h in range(layer.heads)] for i, layer in enumerate(drawn)],
        tints=tints,
        numbers=[] if shows == "map" else [[number(shows, x) for x in layer.scores[shows]]
                                           for layer in drawn],
        chosen=chosen, height=min(TALLEST, place * len(drawn) + EDGES),
    )  # fmt: skip
    frame.chart(figure, "models-picture", on_select=picked, selection_mode="points")


def tinted(drawn: Sequence[Layer], layer: Layer, score: str) -> list[float]:
    """Each head's score, 0 … 1; one that is no share, of the largest there is."""
    values = layer.scores[score]
    if score in SHARES:
        return [min(1.0, max(0.0, x)) for x in values]
    top = max((x for one in drawn for x in one.scores[score] if x == x), default=0.0) or 1.0
    return [x / top for x in values]


def fact(found: Shown, layer: int, head: int) -> str:
    """A line about a head, for the pointer."""
    scores = found.layers[layer].scores
    parts = [found.head_name(layer, head)]
    parts += [
        f"{t(f'pattern.{name}')} {number(name, scores[name][head])}"
        for name in (*TOLD, "effective")
        if scores[name][head] == scores[name][head]
    ]
    return " · ".join(parts)


def best(heads: Sequence[Head], pattern: str) -> Head | None:
    """The head with the highest score, if there is one above 0."""
    found = ranked(heads, pattern)
    return found[0] if found and found[0].scores[pattern] > 0 else None


def stands_out(found: Shown) -> None:
    """For each thing that heads are known to do, the one that does most of it, with a door."""
    heads = heads_of(found.layers)
    with st.container(key="stands-out", gap="xxsmall"):
        st.text(t("models.stands_out"))
        for pattern in STANDS_OUT:
            head = best(heads, pattern)
            if head is None:
                continue
            named = found.head_name(head.layer, head.head)
            words = t(
                "models.stands_out.one", pattern=t(f"pattern.{pattern}"), head=named,
                score=number(pattern, head.scores[pattern]),
            )  # fmt: skip
            st.button(
                words, key=f"open-{pattern}", type="tertiary", help=t(f"pattern.{pattern}.help"),
                disabled=not found.opens(head.layer), on_click=found.leave,
                args=(head.layer, head.head),
            )  # fmt: skip


def sentence(found: Shown) -> str:
    """What is seen, with its numbers."""
    facts = {"heads": found.heads, "layers": len(found.layers)}
    parts = [t("models.says.all", **facts)]
    heads = heads_of(found.layers)
    for pattern in TOLD:
        if (head := best(heads, pattern)) is not None:
            parts.append(
                t(
                    f"models.says.{pattern}",
                    head=found.head_name(head.layer, head.head),
                    share=quantities.share(head.scores[pattern]),
                )
            )
    if not heads:
        parts.append(t("models.says.signed"))
    return t("sentence.join").join(parts)
