"""All heads of the model at once: a map or a tint each; a click opens one in Explore."""

from collections.abc import Callable, Collection, Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine.figures.attention.layers import layers
from engine.models.finder import Head, ranked
from engine.models.overview import heads_of
from engine.models.view import View
from engine.text import quantities
from pages.ui.components.chart import chart
from pages.ui.models.fields import MODELS, SHARES, SHOWS
from pages.ui.models.shown import Heads
from pages.ui.shared import frame
from pages.ui.shared.strings import t
from pages.ui.shared.terms import say
from pages.ui.url import linked

TOLD = ("previous", "induction", "sink")  # of every head, to the pointer, and of the best beneath
STANDS_OUT = ("previous", "induction", "duplicate", "sink", "separator", "retrieval")
OF_PATCHES = ("sink", "entropy", "distance")
TALLEST = 1_400  # px
PLACE = 120  # px of a head's place at the most
LOW = 56  # px of it, though there are many layers, if there is room across
HEIGHT = 300  # px that the picture has where the sentence is to be seen under it
WIDTH = 680  # px that the picture has on a usual screen
EDGES = 60  # px for the names around it


def number(score: str, value: float) -> str:
    """A score as people read it."""
    if value != value:
        return "–"
    return f"{value:.0%}" if score in SHARES else f"{value:,.1f}"


def draw(found: Heads, bar: DeltaGenerator) -> None:
    """The picture, what stands out beside it, and the sentence."""
    with bar:
        shows = linked.select(
            MODELS, "shows", t("models.shows"), shown_as, told(found), width=230,
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


def told(found: Heads) -> list[str]:
    """What a place can show: of an image, nothing that is told of words."""
    image = isinstance(found.trace, View)
    return [one for one in SHOWS if not image or one in ("map", "effective", *OF_PATCHES)]


def shown_as(shows: str) -> str:
    """What a place shows, in words."""
    if shows == "map":
        return t("models.shows.map")
    return t("models.shows.score", score=t(f"pattern.{shows}"))


def picture(found: Heads, shows: str) -> None:
    """Every head in its place; a click opens one."""
    spec, tints = found.spec, None
    if shows != "map":
        tints = [layer.scores[shows] for layer in found.layers]
    chosen = None
    if spec.layer is not None and isinstance(spec.head, int):
        chosen = spec.layer, spec.head
    mosaic(found, "models-picture", found.leave, shows, tints, chosen)


def mosaic(
    found: Heads,
    key: str,
    on_pick: Callable[[int, int], None],
    score: str = "",
    values: Sequence[Sequence[float]] | None = None,
    chosen: tuple[int, int] | None = None,
    off: Collection[tuple[int, int]] = (),
) -> None:
    """Every head in its place, as a map or a tint.

    Args:
        on_pick: called with the layer and the head that was clicked. score: what `values` are.
        values: of each head, drawn in the place of its map. chosen, off: as the figure marks them.
    """
    drawn = found.layers

    def picked(place: list[int]) -> None:
        layer, head = place
        on_pick(int(layer), int(head))

    several = len(set(found.trace.parts)) > 1
    across = WIDTH // max(layer.heads for layer in drawn)
    place = max(14, min(PLACE, across, max(LOW, HEIGHT // len(drawn))))
    numbers = [[number(score, x) for x in line] for line in values or ()]
    figure = layers(
        [layer.maps for layer in drawn],
        names=[found.layer_name(i) if several else layer.name for i, layer in enumerate(drawn)],
        theme=frame.theme(), axes=(t("axis.heads"), "" if several else t("axis.layers")),
        signed=[layer.signed for layer in drawn], groups=[layer.groups for layer in drawn],
        facts=[
            [f"{found.head_name(i, h)} · {x}" for h, x in enumerate(numbers[i])]
            if values else [fact(found, i, h) for h in range(layer.heads)]
            for i, layer in enumerate(drawn)
        ],
        tints=values and tinted(values, score), numbers=numbers, chosen=chosen, off=off,
        height=min(TALLEST, place * len(drawn) + EDGES),
    )  # fmt: skip
    # where it is narrow, the picture keeps its shape at the top of its room: the rest is cut off
    ratio = len(drawn) / max(layer.heads for layer in drawn)
    st.html(f"<style>.st-key-{key} {{ --ratio: {ratio:.3f}; }}</style>")
    chart(key, figure, t, on_pick=picked)


def tinted(values: Sequence[Sequence[float]], score: str) -> list[list[float]]:
    """Scores as tints, 0 … 1; those that are no shares, of the largest there is."""
    top = 1.0
    if score not in SHARES:
        top = max((x for line in values for x in line if x == x), default=0.0) or 1.0
    return [[x if x != x else min(1.0, max(0.0, x / top)) for x in line] for line in values]


def fact(found: Heads, layer: int, head: int) -> str:
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


def stands_out(found: Heads) -> None:
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
                on_click=found.leave, args=(head.layer, head.head),
            )  # fmt: skip


def sentence(found: Heads) -> str:
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
