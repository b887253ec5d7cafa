"""A Plotly picture that moves in place: through frames with a slider, or as a job goes on.

A change is {"traces": [{…}, …], "layout": {…}, "note": "…"}: what is different of each trace (by
its place, {} for none) and of the layout, and a line of words under the picture. `st.plotly_chart`
would mount the picture anew at every change.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from engine.figures.base.theme import Figure
from pages.ui.components import taking
from pages.ui.components.looks import LOOKS, registered, script, styles, words
from pages.ui.server.windows import PLOTLY

Change = dict[str, Any]
WORDS = ("play", "pause", "stop", "stopped", "gone", "frame")

HTML = """
<div class="mv">
  <div class="mv-plot" role="img"></div>
  <div class="mv-save sv"></div>
  <div class="mv-note" aria-live="polite"></div>
  <div class="mv-hands" hidden>
    <button class="mv-play"></button>
    <input class="mv-slider" type="range" min="0" step="1">
    <span class="mv-label"></span>
  </div>
  <div class="mv-working" hidden>
    <progress class="mv-progress" max="1"></progress><button class="mv-stop"></button>
  </div>
</div>
"""

component = registered(
    "attention_moving",
    html=HTML,
    css=styles("taking.css", "chart.css", "moving.css"),
    js=script("moving.js"),
    isolate_styles=False,
)


def moving(
    key: str,
    figure: Figure,
    t: Callable[..., str],
    *,
    alt: str,
    frames: Sequence[Change] = (),
    labels: Sequence[str] = (),
    at: int = 0,
    job: str | None = None,
    slot: str = "",
    height: int = 420,
    on_done: Callable[[], None] | None = None,
) -> None:
    """Draw it.

    Args:
        t: words, `component.moving.*`. alt: what the picture shows, for those who don't see it.
        frames: changes to the figure, with a slider and a play button; each is of the figure as
            given, not of the frame before. labels: what the slider says at each. at: the first.
        job: token of a job (`jobs.JOBS`) whose states are changes, with "share" (0 … 1) for the
            progress; a stop button stands by it. slot: where several pictures follow one job, the
            name under which its states hold this picture's changes; the stop button is not here.
        on_done: called once when the job has ended.
    """

    def ended() -> None:
        if st.session_state[key].done and on_done:
            on_done()

    component(
        key=key,
        data={
            "figure": json.loads(figure.to_json() or "{}"),
            "plotly": PLOTLY,
            "live": "api/live",
            "frames": list(frames),
            "labels": list(labels),
            "at": at,
            "job": job,
            "slot": slot,
            "height": height,
            "alt": alt,
            "looks": LOOKS,
            "words": words(t, "moving", WORDS) | taking.said(t),
            **taking.about(key, alt),
        },
        on_done_change=ended,
    )
