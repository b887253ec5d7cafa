"""What thinning out costs a small probe: right answers over the number of items; a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from engine.dilution.probes import CLASSES, METRICS
from engine.figures.base.theme import Theme, Words, figure
from engine.figures.dilution.curves import Curve, curves, shade
from engine.text.tokens import escaped

Point = tuple[int, float, float]
"""Step, loss, accuracy."""


def lengths(
    records: Sequence[Mapping[str, Any]],
    metric: str,
    names: Mapping[str, str],
    *,
    trained: int,
    theme: Theme,
    t: Words,
    own: Sequence[Mapping[str, Any]] = (),
    own_name: str = "",
    height: int = 460,
) -> go.Figure:
    """A line a mechanism, the mean over seeds with a band from least to most, with what pure
    chance would give; what lies beyond the training shaded.

    Args:
        records: of one task. names: key of the mechanism -> what it is called, in their order.
        own: records of a person's own probe, dashed. trained: most items in training.
    """
    lines = [
        _curve([r for r in records if r["mechanism"] == key], metric, name, i)
        for i, (key, name) in enumerate(names.items())
    ]
    if own:
        lines.append(_curve(own, metric, own_name, -1))
    known = [n for line in lines for n in line.n]
    first, last = min(known, default=1), max(known, default=2 * trained)
    shape = curves(lines, metric=metric, theme=theme, t=t, height=height, limits=False, log=False,
                   span=(first, last))  # fmt: skip
    if own:
        shape.update_traces(selector=-1, line_dash="dash")
    n = np.geomspace(first, last, 60)
    chance = np.full_like(n, 1 / CLASSES) if metric == METRICS[0] else 1 / n
    shape.add_trace(
        go.Scatter(
            x=n, y=chance, mode="lines", hoverinfo="skip", name=escaped(t("probes.chance")),
            line={"color": theme.faint, "width": 1.2, "dash": "dot"},
        )
    )  # fmt: skip
    if trained < last:
        shade(shape, trained, last, theme, t("probes.beyond", trained=trained))
    shape.update_xaxes(title_text=escaped(t("probes.axis.n")))
    shape.update_yaxes(title_text=escaped(t(f"probes.metric.{metric}")))
    return shape


def _curve(records: Sequence[Mapping[str, Any]], metric: str, name: str, pen: int) -> Curve:
    by_length: dict[int, list[float]] = {}
    for r in records:
        by_length.setdefault(r["n"], []).append(r[metric])
    values = [by_length[n] for n in sorted(by_length)]
    return Curve(
        name, sorted(by_length), [float(np.mean(v)) for v in values],
        [min(v) for v in values], [max(v) for v in values], pen=pen,
    )  # fmt: skip


def points(history: Sequence[Point]) -> dict[str, Any]:
    """What changes in the picture of a training as it goes on; made without Plotly, so that a
    training is not slowed."""
    step = [point[0] for point in history]
    return {"traces": [{"x": step, "y": [point[i] for point in history]} for i in (1, 2)]}


def training(
    history: Sequence[Point], steps: int, *, theme: Theme, t: Words, height: int = 380
) -> go.Figure:
    """Loss above, right answers below, over the steps of a training; axes that stay as it goes."""
    shape = figure(theme, height, showlegend=False)
    drawn = points(history)["traces"]
    panels = (
        ("loss", "y", theme.lines[1], float(np.log(CLASSES))),
        ("accuracy", "y2", theme.accent, 1.0 / CLASSES),
    )
    for (name, axis, colour, chance), xy in zip(panels, drawn, strict=True):
        shape.add_trace(
            go.Scatter(
                **xy, yaxis=axis, mode="lines", line={"color": colour, "width": 2.4},
                name=escaped(t(f"probes.train.{name}")),
                hovertemplate="%{x:,}: %{y:.3g}<extra></extra>",
            )
        )  # fmt: skip
        shape.add_shape(
            type="line", x0=0, x1=steps, y0=chance, y1=chance, yref=axis, layer="below",
            line={"color": theme.faint, "width": 1, "dash": "dot"},
        )  # fmt: skip
    shape.update_layout(
        xaxis={"range": [0, steps], "title": {"text": escaped(t("probes.train.step"))},
               "tickformat": ",d", "anchor": "y2"},
        yaxis={"range": [0, 1.1 * np.log(CLASSES)], "domain": [0.55, 1],
               "title": {"text": escaped(t("probes.train.loss"))}},
        yaxis2={"range": [-0.02, 1.05], "domain": [0, 0.45], "tickformat": ".0%",
                "title": {"text": escaped(t("probes.train.accuracy"))}},
    )  # fmt: skip
    return shape
