"""Lines from tokens to those that they look at: of several heads, each in its own colour."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import streamlit as st

from engine.structure.edges import Lines
from engine.text.tokens import direction, flowing, joining, shown
from pages.ui.components import taking
from pages.ui.components.looks import LOOKS, registered, script, styles, words

component = registered(
    "attention_edges",
    html=styles("edges.html"),
    css=styles("taking.css", "edges.css"),
    js=script("edges.js"),
    isolate_styles=False,
)

WORDS = ("from", "to", "hint", "none", "each", "join", "tip_from", "tip_to", "aside", "outside")
Layout = Literal["down", "across"]


def token_lines(
    key: str,
    queries: Sequence[str],
    keys: Sequence[str],
    heads: Sequence[str],
    made: Sequence[Lines],
    t: Callable[..., str],
    *,
    layout: Layout = "down",
    chosen: int | None = None,
    note: str = "",
    height: int = 480,
    on_choose: Callable[[int], None] | None = None,
) -> None:
    """The lines.

    Args:
        queries, keys: the two sides' tokens or words, as they stand in the text.
        heads: what they are called. made: of each its lines, by number on each side.
        t: words, `component.edges.*`.
        layout: "down", a token a line; "across", two lines of running text.
        chosen: the query whose lines alone are shown. note: beside the heads' colours.
        height: in pixels, beyond which it scrolls. on_choose: called with the query clicked.
    """

    def chose() -> None:
        event: Any = st.session_state[key].choose
        if event and on_choose:
            on_choose(int(event["token"]))

    def side(tokens: Sequence[str]) -> list[str | None]:
        if layout == "down":
            return [*joining(map(shown, tokens))]
        return [one if one is None else one.replace("\n", "↵") for one in map(flowing, tokens)]

    component(
        key=key,
        data={
            "from": side(queries),
            "to": side(keys),
            "names": {"from": list(map(shown, queries)), "to": list(map(shown, keys))},
            "heads": [
                {
                    "name": name,
                    "lines": [
                        x
                        for (q, k), w in zip(one.ends.tolist(), one.weights.tolist(), strict=True)
                        for x in (q, k, float(f"{w:.3g}"))
                    ],
                    "aside": [float(f"{x:.3g}") for x in one.aside.tolist()],
                    "outside": [float(f"{x:.3g}") for x in one.outside.tolist()],
                }
                for name, one in zip(heads, made, strict=True)
            ],
            "layout": layout,
            "direction": direction("".join(queries)),
            "chosen": chosen,
            "height": height,
            "looks": LOOKS,
            "words": words(t, "edges", WORDS, "token said head x")
            | {"note": note}
            | taking.said(t),
            **taking.about(key),
        },
        on_choose_change=chose,
    )
