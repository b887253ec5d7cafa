"""A text whose tokens are tinted by what one query gives them; a click chooses another query."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import streamlit as st

from engine.text.tokens import PART_OF, flowing, shown
from pages.ui.components import taking
from pages.ui.components.looks import LOOKS, registered, script, styles, words

component = registered(
    "attention_tokens",
    html=styles("tokens.html"),
    css=styles("taking.css", "tokens.css"),
    js=script("tokens.js"),
    isolate_styles=False,
)

WORDS = ("aria", "weight", "weight_log", "unseen", "tip", "tip_unseen")


@lru_cache(maxsize=16)
def _spelt(tokens: tuple[str, ...]) -> tuple[list[str | None], dict[int, str]]:
    """Tokens as running text, and the names of those that are a part of one character."""
    names = {i: shown(one) for i, one in enumerate(tokens) if PART_OF.fullmatch(one)}
    return [flowing(token) for token in tokens], names


def token_text(
    key: str,
    tokens: Sequence[str],
    weights: Sequence[float],
    t: Callable[..., str],
    *,
    chosen: int | None = None,
    seen: Sequence[bool] | None = None,
    top: float | None = None,
    log: bool = False,
    height: int | None = None,
    size: float = 1.05,
    place: str = "tokens",
    on_choose: Callable[[int], None] | None = None,
) -> None:
    """The text, tinted.

    Args:
        weights: what the chosen query gives each token. t: words, `component.<place>.*`.
        chosen: the query. seen: False where the query may not look; those are grey.
        top: the weight with the darkest tint; None = the largest there is.
        log: tint by the logarithm, over powers of ten below top.
        height: in pixels, beyond which the text scrolls. size: of the type, in rem.
        on_choose: called with the position of the token that was clicked.
    """

    def chose() -> None:
        event: Any = st.session_state[key].choose
        if event and on_choose:
            on_choose(int(event["token"]))

    running, names = _spelt(tuple(tokens))
    component(
        key=key,
        data={
            "tokens": running,
            "names": names,
            "weights": [float(f"{weight:.4g}") for weight in weights],
            "seen": None if seen is None or all(seen) else [bool(s) for s in seen],
            "chosen": chosen,
            "top": top,
            "log": log,
            "height": height,
            "size": size,
            "looks": LOOKS,
            "words": words(t, place, WORDS, "i token x") | taking.said(t),
            **taking.about(key),
        },
        on_choose_change=chose,
    )
