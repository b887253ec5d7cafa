"""Attention pooling, in general: one picture from queries to output."""

from typing import Any

import streamlit as st

from engine.figures.lessons import pooling as pictures
from engine.lessons import pooling
from engine.lessons.pooling import SCORINGS
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
)
from pages.ui.shared import frame as page
from pages.ui.shared.strings import t
from pages.ui.url.linked import number, one_of

PART = "pooling"
declare(
    PART,
    scoring=one_of(tuple(SCORINGS), next(iter(SCORINGS))),
    temperature=number(0.1, 5.0, 1.0, 0.1),
    hidden=number(1, 32, 8),
    width=number(0.1, 5.0, 1.0, 0.1),
    x=number(-3.0, 3.0, 1.5, 0.1),
    y=number(-3.0, 3.0, 1.0, 0.1),
    queries=number(1, 4, 3),
    keys=number(1, 6, 4),
    row=number(1, 4, 1),
    seed=number(0, 50, 0),
)


def draw() -> None:
    """Controls, the two products of matrices, one row in words and in numbers."""
    opening(PART)
    params: dict[str, Any] = {}
    kind = choice(PART, "scoring")
    with st.sidebar:
        if kind == "dot":
            params["temperature"] = slider(PART, "temperature")
        elif kind == "additive":
            params["hidden"] = slider(PART, "hidden")
        else:
            params["width"] = slider(PART, "width")
        first = slider(PART, "x"), slider(PART, "y")
        queries = slider(PART, "queries")
        keys = slider(PART, "keys")
        row = slider(PART, "row", queries) - 1 if queries > 1 else 0
        seed = slider(PART, "seed")
    qkv = pooling.drawn(queries, keys, seed, first)
    found = pooling.pool(qkv, kind, **params)
    left, right = st.columns(2, gap="large")
    with left:
        moves(PART, "scores", pictures.scoring(found, row, theme=page.theme(), t=t))
    with right:
        moves(PART, "sum", pictures.summing(found, row, theme=page.theme(), t=t))
    best = int(found.weights[row].argmax())
    notice(
        PART, row=row + 1, key=best + 1, score=signed(float(found.scores[row, best]), ".2f"),
        weight=float(found.weights[row, best]), output=pair(found.output[row], ".2f"),
        value=pair(found.v[best], ".1f"),
    )  # fmt: skip
    width = params.get("width", 1)
    shown = {
        "dot": rf"\frac{{q_i^\top k_j}}{{\sqrt 2 \cdot {params.get('temperature', 1):g}}}",
        "additive": r"w_v^\top \tanh(W_q q_i + W_k k_j + b)",
        "gaussian": rf"-\frac{{\lVert q_i - k_j \rVert^2}}{{2 \cdot {width:g}^2}}",
    }[kind]
    weights = [
        rf"{w:.2f}\,v_{j + 1}" for j, w in enumerate(found.weights[row].tolist()) if w >= 0.005
    ]
    said = ", ".join(f"{name}={value}" for name, value in params.items())
    closing(
        PART,
        stacked(
            rf"s_{{ij}} = {shown}",
            r"\alpha_{ij} = \frac{e^{s_{ij}}}{\sum_{j'} e^{s_{ij'}}}",
            rf"o_{{{row + 1}}} = {' + '.join(weights)}",
            rf"\phantom{{o_{{{row + 1}}}}} = {pair(found.output[row], '.2f')}",
            *shapes(queries, keys, pooling.WIDTH, pooling.WIDTH),
        ),
        f"from engine.lessons import pooling\n"
        f"qkv = pooling.drawn({queries}, {keys}, seed={seed}, first={first})\n"
        f'pooling.attend(qkv, "{kind}", {said}).output',
        Spec(mechanism=SCORINGS[kind], params=tuple(params.items())),
    )  # fmt: skip


def pair(numbers: Any, form: str) -> str:
    """A point of the plane."""
    return f"({', '.join(signed(x, form) for x in numbers.tolist())})"
