"""What changes in a picture that moves, so that the browser can move it in place."""

import html
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go


def change(figure: go.Figure, note: str = "", share: float | None = None) -> dict[str, Any]:
    """A figure's x, y and names, trace by trace, for one of the same traces; plain lists."""
    data: Any = figure.data
    traces = [
        {"x": _plain(trace.x), "y": _plain(trace.y)} | ({"name": trace.name} if trace.name else {})
        for trace in data
    ]
    found: dict[str, Any] = {"traces": traces, "note": note}
    return found if share is None else found | {"share": share}


def _plain(values: Any) -> list[Any]:
    return [] if values is None else np.asarray(values, dtype=object).tolist()


@dataclass(frozen=True)
class Film:
    """A figure with frames, apart: what stands still, and what each frame changes.

    Attributes:
        figure: without frames, slider and buttons. frames: changes. labels: of the slider's steps.
        at: the frame that is shown first.
    """

    figure: go.Figure
    frames: list[dict[str, Any]]
    labels: list[str]
    at: int


def film(figure: go.Figure) -> Film:
    """Take a figure's frames and slider apart. Plotly's own animation leaves a rejected promise
    behind when it is interrupted, and its slider looks like no other on the page."""
    whole = json.loads(figure.to_json() or "{}")
    layout = whole["layout"]
    (slider,) = layout.pop("sliders")
    layout.pop("updatemenus", None)
    frames = []
    for frame in whole.get("frames", ()):
        places = frame.get("traces") or range(len(frame["data"]))
        traces: list[dict[str, Any]] = [{} for _ in whole["data"]]
        for place, trace in zip(places, frame["data"], strict=True):
            traces[place] = trace
        frames.append({"traces": traces})
    still = go.Figure(whole["data"], layout)
    labels = [step["label"] for step in slider["steps"]]
    prefix = slider.get("currentvalue", {}).get("prefix", "")
    words = [html.unescape(prefix + label) for label in labels]  # not read as HTML any more
    return Film(still, frames, words, slider.get("active", 0))
