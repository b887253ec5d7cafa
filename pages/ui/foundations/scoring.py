"""Scoring functions: additive beside scaled dot product, and what 1/√d is for."""

import streamlit as st

from engine.contract import QKV
from engine.figures.lessons import scoring as pictures
from engine.lessons import scoring
from engine.lessons.scoring import WIDTHS
from engine.measure.attention import Attention
from engine.spec.picture import Spec
from pages.ui.foundations.frame import (
    choice,
    closing,
    declare,
    moves,
    notice,
    opening,
    shapes,
    signed,
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
    bias=one_of(("with", "without"), "with"),
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
    left, right = st.columns(2, gap="large")
    with left:
        view = choice(PART, "view")
    if view == "scale":
        return scale()
    with right:
        bias = choice(PART, "bias") == "with"
    functions(bias)


def functions(bias: bool) -> None:
    """Additive and scaled dot product on the same queries and keys."""
    with st.sidebar:
        d = slider(PART, "query")
        dk = slider(PART, "key")
        hidden = slider(PART, "hidden")
        seed = slider(PART, "seed")
    qkv = scoring.drawn(d, dk, seed)
    additive, dot = scoring.both(qkv, hidden, bias)
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader(words(PART, "dot"), anchor=False)
        if dot is None:
            trouble(PART, "widths", query=d, key=dk)
        else:
            moves(PART, "maps", pictures.weights(dot.weights()[0], theme=page.theme(), t=t))
    with right:
        st.subheader(words(PART, "additive"), anchor=False)
        moves(PART, "additive", pictures.weights(additive.weights()[0], theme=page.theme(), t=t))
    if dot is None:
        notice(PART, "notice.apart", query=d, key=dk, hidden=hidden)
    else:
        followed(qkv, additive, dot, hidden, bias)
    extra = 2 if bias else 1
    count = hidden * (d + dk + extra)
    lines = [
        rf"s_{{\text{{add}}}} = w_v^\top \tanh(W_q q + W_k k{' + b' if bias else ''})",
        rf"|\theta_{{\text{{add}}}}| = {hidden}\,({d} + {dk} + {extra}) = {count}",
    ]
    if dot is not None:
        n, m, v = scoring.QUERIES, scoring.KEYS, scoring.VALUES
        lines = [
            rf"s_{{\text{{dot}}}} = \frac{{q^\top k}}{{\sqrt{{{d}}}}}", *lines,
            rf"O = \operatorname{{softmax}}\left(\frac{{QK^\top}}{{\sqrt{{{d}}}}}\right) V",
            *shapes(n, m, d, v),
        ]  # fmt: skip
    without = "" if bias else ", bias=False"
    paragraphs = ["functions", "odd", "batch"] if dot is not None else ["functions"]
    closing(
        PART, stacked(*lines),
        f"from engine.lessons import scoring\nqkv = scoring.drawn({d}, {dk}, seed={seed})\n"
        f"additive, dot = scoring.both(qkv, hidden={hidden}{without})\nadditive.weights()",
        Spec(mechanism="additive", params=(("hidden", hidden),)), more=paragraphs,
    )  # fmt: skip


def followed(qkv: QKV, additive: Attention, dot: Attention, hidden: int, bias: bool) -> None:
    """How near the network comes to the product, where it was fitted and where it was not, and
    what turning every sign does to both."""
    apart = scoring.apart(qkv, additive, dot)
    mirror = scoring.mirrored(qkv, scoring.additive(qkv, hidden, bias))
    names = {
        name: words(PART, "list").join(map(str, found)) for name, found in
        (("learned", apart.learned), ("held", apart.held))
    }  # fmt: skip
    notice(
        PART, "notice.same" if bias else "notice.odd", **names, on_learned=apart.on_learned,
        on_held=apart.on_held, enough=2 * qkv.q.shape[-1] + 1, query=mirror.query,
        ahead=mirror.ahead, behind=mirror.behind,
        **{x: signed(getattr(mirror, x), ".2f") for x in ("product", "score", "turned")},
    )  # fmt: skip
    with st.container(key="caption-mirror"):
        st.text(
            words(PART, f"mirror.{'with' if bias else 'without'}", r2=signed(mirror.r2, ".2f"))
        )


def scale() -> None:
    """What 1/√d does to scores, and so to weights."""
    with st.sidebar:
        d = stops(PART, "d")
        keys = slider(PART, "keys")
        seed = slider(PART, "seed")
    found = scoring.spreads(keys, seed)
    one = next(s for s in found if s.d == d)
    theme = page.theme()
    moves(PART, "histograms", pictures.histograms(one, theme=theme, t=t))
    notice(
        PART, "notice", d=d, keys=keys, raw=one.variance[0], scaled=one.variance[1],
        without=one.largest[0], largest=one.largest[1],
    )  # fmt: skip
    for column, what in zip(st.columns(3), ("variance", "largest", "entropy"), strict=True):
        with column:
            moves(PART, what, pictures.growth(found, what, d, theme=theme, t=t))
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
