"""A Plotly picture, drawn when it comes into view or the browser has nothing better to do.

`st.plotly_chart` draws every picture of a page before the first can be seen, by a second copy of
Plotly, and mounts it anew at every change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from engine.figures.base.theme import Figure
from pages.ui.components import taking
from pages.ui.components.looks import LOOKS, registered, script, styles, words
from pages.ui.server.windows import PLOTLY

HTML = """
<div class="ct">
  <div class="ct-plot"></div>
  <div class="ct-save sv"></div>
</div>
"""

HEIGHT = 450
"""Of a figure that says none, in pixels."""


@dataclass(frozen=True)
class Drawn:
    """A figure as it is sent: making it takes Plotly longer than sending it."""

    json: str
    height: int

    @classmethod
    def of(cls, figure: Figure) -> Drawn:
        return cls(str(figure.to_json()), int(figure.layout.height or HEIGHT))


component = registered(
    "attention_chart",
    html=HTML,
    css=styles("taking.css", "chart.css"),
    js=script("chart.js"),
    isolate_styles=False,
)


def chart(
    key: str,
    figure: Figure | Drawn,
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
    drawn = figure if isinstance(figure, Drawn) else Drawn.of(figure)

    def picked() -> None:
        event: Any = st.session_state[key].pick
        if event and on_pick:
            on_pick(event["data"])

    component(
        key=key,
        data={
            "figure": drawn.json,
            "plotly": PLOTLY,
            "height": drawn.height,
            "alt": alt,
            "picks": on_pick is not None,
            "looks": LOOKS,
            "words": words(t, "heatmap", ("failed",)) | taking.said(t),
            **taking.about(key, alt),
        },
        height=drawn.height,
        on_pick_change=picked,
    )
