"""Scoring functions: additive beside scaled dot product, and what 1/√d is for."""

import streamlit as st

from engine.figures.lessons import scoring as pictures
from engine.lessons import scoring
from engine.lessons.scoring import WIDTHS
from engine.spec.picture import Spec
from pages.ui.foundations.frame import (
    choice,
    closing,
    declare,
    moves,
    notice,
    opening,
    slider,
    stacked,
    stops,
    trouble,
    words,
)
from pages.ui.shared import frame as page
from pages.ui.shared.strings import t
from pages.ui.url.linked import number, one_of

PART = "scoring"
declare(
    PART,
    view=one_of(("scale", "functions"), "scale"),
    query=number(1, 16, 4),
    key=number(1, 16, 4),
    hidden=number(1, 64, 16),
    seed=number(0, 50, 0),
    d=one_of(WIDTHS, 64),
    keys=number(2, 128, 32),
)


def draw() -> None:
    """One of two pictures: the functions on the same vectors, or the spread of their scores."""
    opening(PART)
    functions() if choice(PART, "view") == "functions" else scale()


def functions() -> None:
    """Additive and scaled dot product on the same queries and keys."""
    with st.sidebar:
        d = slider(PART, "query")
        dk = slider(PART, "key")
        hidden = slider(PART, "hidden")
        seed = slider(PART, "seed")
    qkv = scoring.drawn(d, dk, seed)
    additive, dot = scoring.both(qkv, hidden)
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader(words(PART, "dot"), anchor=False)
        if dot is None:
            trouble(PART, "widths", query=d, key=dk)
        else:
            moves(PART, "maps", pictures.weights(dot.weights()[0], look=page.look(), t=t))
    with right:
        st.subheader(words(PART, "additive"), anchor=False)
        moves(PART, "additive", pictures.weights(additive.weights()[0], look=page.look(), t=t))
    if dot is None:
        notice(PART, "notice.apart", query=d, key=dk, hidden=hidden)
    else:
        gap = float((dot.weights() - additive.weights()).abs().max())
        notice(PART, "notice.same", gap=gap, hidden=hidden, enough=2 * d + 1)
    count = hidden * (d + dk + 2)
    product = rf"\frac{{q^\top k}}{{\sqrt{{{d}}}}}" if dot is not None else r"\text{–}"
    closing(
        PART,
        stacked(
            rf"s_{{\text{{dot}}}} = {product}",
            r"s_{\text{add}} = w_v^\top \tanh(W_q q + W_k k + b)",
            rf"|\theta_{{\text{{add}}}}| = {hidden}\,({d} + {dk} + 2) = {count}",
        ),
        f"from engine.lessons import scoring\nqkv = scoring.drawn({d}, {dk}, seed={seed})\n"
        f"additive, dot = scoring.both(qkv, hidden={hidden})\nadditive.weights()",
        Spec(mechanism="additive", params=(("hidden", hidden),)), more=("functions",),
    )  # fmt: skip


def scale() -> None:
    """What 1/√d does to scores, and so to weights."""
    with st.sidebar:
        d = stops(PART, "d")
        keys = slider(PART, "keys")
        seed = slider(PART, "seed")
    found = scoring.spreads(keys, seed)
    one = next(s for s in found if s.d == d)
    look = page.look()
    moves(PART, "histograms", pictures.histograms(one, look=look, t=t))
    notice(
        PART, "notice", d=d, keys=keys, raw=one.variance[0], scaled=one.variance[1],
        without=one.largest[0], largest=one.largest[1],
    )  # fmt: skip
    for column, what in zip(st.columns(3), ("variance", "largest", "entropy"), strict=True):
        with column:
            moves(PART, what, pictures.growth(found, what, d, look=look, t=t))
    closing(
        PART,
        stacked(
            rf"q, k \sim \mathcal N(0, I_{{{d}}})",
            rf"\operatorname{{Var}}(q^\top k) = {d}, "
            rf"\quad \widehat{{\operatorname{{Var}}}} = {one.variance[0]:.1f}",
            rf"\operatorname{{Var}}\left(\frac{{q^\top k}}{{\sqrt{{{d}}}}}\right) = 1, "
            rf"\quad \widehat{{\operatorname{{Var}}}} = {one.variance[1]:.2f}",
        ),
        "from engine.lessons import scoring\n"
        f"one = scoring.spread({d}, keys={keys}, seed={seed})\n"
        "one.variance, one.largest, one.entropy",
        unscaled(d, keys), more=("scale", "limit"),
    )  # fmt: skip


def unscaled(d: int, keys: int) -> Spec:
    """As many random keys, with scores that are not divided by √d."""
    return Spec(
        source="planted", mechanism="softmax", params=(("temperature", d**-0.5),),
        source_params=(("n", keys), ("dim", d), ("needles", 0), ("gap", 0.0)),
    )  # fmt: skip
