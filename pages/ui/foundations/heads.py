"""Multi-head attention: each head's map, the concatenation, W_o, and a head switched off."""

import streamlit as st

from engine.figures.lessons import heads as pictures
from engine.lessons import heads
from engine.spec.picture import Spec
from engine.spec.spelling import Field
from engine.text.tokens import isolated
from pages.ui.foundations.frame import (
    choice,
    closing,
    declare,
    notice,
    opening,
    picture,
    slider,
    stops,
    words,
)
from pages.ui.shared import frame
from pages.ui.shared.reading import reading
from pages.ui.shared.strings import t
from pages.ui.url import linked
from pages.ui.url.linked import number, one_of

PART = "heads"
COUNTS = (1, 2, 3, 4, 6, 8, 12)
NONE = "none"
CHOSEN = declare(
    PART,
    weights=one_of(("model", "random"), "model"),
    inside=one_of(("softmax", "additive"), "softmax"),
    layer=number(0, None, 1),
    count=one_of(COUNTS),
    seed=number(0, 20, 0),
    off=Field(str, NONE, fits=lambda head: head == NONE or head.isdecimal(), said="none, ≥ 0"),
)


def draw() -> None:
    """The part."""
    opening(PART)
    left, right = st.columns(2)
    with left:
        weights = choice(PART, "weights")
    with right:
        inside = choice(PART, "inside")
    spec = Spec(source="text", content=words(PART, "sample"))
    trace = reading(spec)
    count, seed = None, 0
    with st.sidebar:
        layer = slider(PART, "layer", trace.layers - 1)
        given = trace.layer(layer)
        if weights == "random":
            width = heads.count(given).width
            counts = [n for n in COUNTS if width % n == 0]
            count = stops(PART, "count", options=counts, default=given.heads)
            seed = slider(PART, "seed")
            given = heads.drawn(given, count, seed)
        off = linked.select(
            CHOSEN, "off", words(PART, "off"),
            lambda head: words(PART, "off.none") if head == NONE else head,
            [NONE, *map(str, range(given.heads))],
        )  # fmt: skip
    out = None if off == NONE else int(off)
    found = heads.parts(given, inside)
    theme, tokens = frame.theme(), trace.tokens
    left, right = st.columns([3, 2], gap="large")
    with left:
        figure = pictures.maps(found, out, theme=theme, t=t)
        across, down = figure.layout.xaxis.range[1], figure.layout.yaxis.range[0]
        ratio = figure.layout.yaxis.scaleratio * down / across  # as on the Models page
        st.html(f"<style>.st-key-{PART}-picture-maps {{ --ratio: {ratio:.3f}; }}</style>")
        picture(PART, "maps", figure)
        with st.container(key=f"caption-{PART}"):
            st.text(words(PART, "maps", text=spec.content))
    with right:
        picture(PART, "distance", pictures.distances(found, out, theme=theme, t=t))
    near, far = int(found.distance.argmin()), int(found.distance.argmax())
    facts = {
        "near": near, "far": far, "short": float(found.distance[near]),
        "long": float(found.distance[far]),
    }  # fmt: skip
    if out is None:
        notice(PART, **facts)
    else:
        change = found.without(out)
        most = int(change.argmax())
        notice(
            PART, "notice.off", head=out, distance=float(found.distance[out]),
            mean=float(change.mean()), most=float(change[most]), token=isolated(tokens[most]),
        )  # fmt: skip
    if found.fidelity is not None:
        st.text(words(PART, "fidelity", low=float(found.fidelity.min())))
    flow = pictures.flow(found, out, tokens, theme=theme, t=t)
    for column, name, figure in zip(
        st.columns(3, gap="medium"), ("concat", "w_o", "output"), flow, strict=True
    ):
        with column:
            picture(PART, name, figure)
    picture(PART, "changes", pictures.changes(found, out, tokens, theme=theme, t=t))
    counted = heads.count(given)
    door = spec.replace(mechanism=inside, layer=layer, head=out if weights == "model" else None)
    code = heads.code(spec.content, layer, inside, count, seed, out)
    closing(PART, counted.formula(words(PART, "parameters")), code, door)
