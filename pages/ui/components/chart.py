"""A Plotly picture, drawn when it comes into view or the browser has nothing better to do.

`st.plotly_chart` draws every picture of a page before the first can be seen, by a second copy of
Plotly, and mounts it anew at every change.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from engine.figures.base.theme import Figure
from pages.ui.components.looks import registered, script, words
from pages.ui.server.windows import PLOTLY

HTML = """
<div class="ct">
  <div class="ct-plot"></div>
  <div class="ct-save"><button data-do="png"></button><button data-do="svg"></button></div>
</div>
"""

HEIGHT = 450
"""Of a figure that says none, in pixels."""

component = registered(
    "attention_chart",
    html=HTML,
    css=Path(__file__).with_name("chart.css").read_text("utf-8"),
    js=script("chart.js"),
    isolate_styles=False,
)


def chart(
    key: str,
    figure: Figure,
    t: Callable[..., str],
    *,
    alt: str = "",
    on_pick: Callable[[Any], None] | None = None,
) -> None:
    """Draw it, with a way to save it. Its height is said beforehand, so that its room is kept.

    Args:
        t: words, `component.heatmap.*`. alt: what it shows, where its axes have no titles.
        on_pick: called with the `customdata` of a point that was clicked.
    """
    height = int(figure.layout.height or HEIGHT)

    def picked() -> None:
        event: Any = st.session_state[key].pick
        if event and on_pick:
            on_pick(event["data"])

    component(
        key=key,
        data={
            "figure": figure.to_json(),
            "plotly": PLOTLY,
            "height": height,
            "file": f"attention-{key}",
            "alt": alt,
            "picks": on_pick is not None,
            "words": words(t, "heatmap", ("png", "png_help", "svg", "svg_help", "failed")),
        },
        height=height,
        on_pick_change=picked,
    )
