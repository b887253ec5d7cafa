"""An image, each patch tinted by what one query gives it; a click chooses another query."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from engine.contract import Grid
from pages.ui.components import taking
from pages.ui.components.looks import LOOKS, registered, script, styles, words

HTML = """
<div class="pc">
  <div class="pc-legend"></div>
  <div class="pc-save sv"></div>
  <div class="pc-apart" hidden></div>
  <div class="pc-frame" tabindex="0" role="group">
    <img class="pc-image" alt="" draggable="false">
    <canvas class="pc-tints"></canvas>
    <div class="pc-chosen"></div>
    <div class="pc-at" hidden></div>
  </div>
  <div class="pc-tip" aria-live="polite" hidden></div>
</div>
"""

component = registered(
    "attention_patches",
    html=HTML,
    css=styles("taking.css", "patches.css"),
    js=script("patches.js"),
    isolate_styles=False,
)

WORDS = ("aria", "aria_plain", "weight", "weight_log", "unseen", "tip", "tip_plain", "tip_unseen")


def patches(
    key: str,
    image: tuple[str, bytes],
    grid: Grid,
    weights: Sequence[float] | None,
    names: Sequence[str],
    t: Callable[..., str],
    *,
    chosen: int,
    seen: Sequence[bool] | None = None,
    signed: bool = False,
    log: bool = False,
    height: int = 440,
    on_choose: Callable[[int], None],
) -> None:
    """The image in grey under its tints; or as it is, without weights.

    Args:
        image: media type and bytes. names: of the positions that stand on no patch, from the
            first on; shown beside the image, each with its weight. weights: what the chosen query
            gives each position.
        t: words, `component.patches.*`. chosen: the query's position.
        seen: False where the query may not look. signed: weights may be negative.
        log: tint by the logarithm. height: in pixels, at most.
        on_choose: called with the position of the patch that was clicked.
    """

    def chose() -> None:
        event: Any = st.session_state[key].choose
        if event:
            on_choose(int(event["position"]))

    kind, data = image
    component(
        key=key,
        data={
            "image": f"data:{kind};base64,{base64.b64encode(data).decode()}",
            "rows": grid.rows,
            "cols": grid.cols,
            "place": grid.place.tolist(),
            "weights": weights and [float(f"{weight:.4g}") for weight in weights],
            "names": list(names),
            "seen": None if seen is None or all(seen) else [bool(s) for s in seen],
            "chosen": chosen,
            "signed": signed,
            "log": log,
            "height": height,
            "looks": LOOKS,
            "words": words(t, "patches", WORDS, "r c x") | taking.said(t),
            **taking.about(key),
        },
        on_choose_change=chose,
    )
