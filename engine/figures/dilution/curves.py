"""How attention thins out: curves over length, measured and in closed form; rows that flatten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from engine.dilution import noisy, theory
from engine.dilution.closed_forms import Setting, closed_form, limits
from engine.figures.base.theme import POWERS, Theme, Words, figure, scale
from engine.figures.lessons.grid import numbers
from engine.spec.spelling import spell_choice
from engine.text.tokens import escaped

NEEDLE = ("needle_mass", "output_error", "needle_hit")
"""Of these, what only a source with needles has."""
METRICS = (
    "needle_mass", "effective_tokens", "normalised_entropy", "max_weight", "participation",
    "output_error", "needle_hit", "entropy", "kept_mass", "seconds",
)  # fmt: skip
LOG = ("effective_tokens", "participation", "max_weight", "seconds")
ANY = ("entropy", "seconds", "output_error")
"""Of those that are not on a logarithmic axis, the ones that are no shares."""
POINTS, PLACES = 96, 200
"""Lengths of a curve; places of a row that are drawn, at most."""
DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class Curve:
    """One line over lengths.

    Attributes:
        name: in the legend. n, y: its points. low, high: its band, if it has one.
        points: drawn as points, not as a line (draws beside a closed form).
        pen: which of the theme's lines; −1 for the accent.
    """

    name: str
    n: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    points: bool = False
    pen: int = 0


def pen(theme: Theme, i: int) -> dict[str, Any]:
    """Colour and dash of the i-th line."""
    if i < 0:
        return {"color": theme.accent, "width": 3}
    return {
        "color": theme.lines[i % len(theme.lines)],
        "dash": DASHES[i // len(theme.lines) % len(DASHES)],
        "width": 2.2,
    }


def covers(line: Curve, below: Curve) -> bool:
    """Whether a line lies on another one, within a hundredth, at three of four lengths of both."""
    known = {n: y for n, y in zip(below.n, below.y, strict=True) if y is not None}
    pairs = [
        (y, known[n]) for n, y in zip(line.n, line.y, strict=True) if y is not None and n in known
    ]
    near = sum(abs(y - other) <= 0.01 * max(abs(y), abs(other)) for y, other in pairs)
    return bool(pairs) and 4 * near >= 3 * len(pairs)


def curves(
    lines: Sequence[Curve],
    *,
    metric: str,
    theme: Theme,
    t: Words,
    height: int = 460,
    log: bool | None = None,
    limits: bool = True,
    span: tuple[float, float] | None = None,
    at: float | None = None,
    legend: bool = True,
    causal: bool = False,
    trained: int | None = None,
) -> go.Figure:
    """One metric over length, three traces a line (band below, band above, line), so that a
    picture that moves keeps its traces.

    Args:
        metric: its words are `stat.<metric>`. log: the vertical axis; by the metric if None.
        limits: draw what an even row and a row on one key would be.
        span: lengths that the axis shows. at: a length to mark.
        causal: rows see the keys up to their own, and values are means over rows.
        trained: what lies beyond this many keys is shaded; that the model was not trained on it
            is for words beside the picture.
    """
    shape = figure(theme, height)
    log = metric in LOG if log is None else log
    known = [n for line in lines for n in line.n]
    first, last = span or ((min(known), max(known)) if known else (1, 10))
    if limits:
        for name, y in limit_lines(metric, first, last, causal):
            words = escaped(t(f"dilution.limit.{name}"))
            shape.add_trace(
                go.Scatter(
                    x=between(first, last), y=y, mode="lines", name=words,
                    line={"color": theme.faint, "width": 1, "dash": "dot"}, hoverinfo="skip",
                    showlegend=False,
                )
            )  # fmt: skip
            falls = y[0] > y[-1]  # where it is low, other lines are, too
            x, high = (first, y[0]) if falls else (last, y[-1])
            shape.add_annotation(
                x=np.log10(x), y=np.log10(max(high, 1e-12)) if log else high, text=words,
                showarrow=False, xanchor="left" if falls else "right", yanchor="bottom",
                font={"size": 12, "color": theme.faint},
            )  # fmt: skip
    for i, line in enumerate(lines):
        style, x = pen(theme, line.pen), list(line.n)
        if any(covers(line, below) for below in lines[:i]):
            style["dash"] = "8px,8px"
        hover = f"{escaped(line.name)}<br>n = %{{x:,.0f}}<br>%{{y:.4g}}<extra></extra>"
        common = {"x": x, "mode": "lines", "hoverinfo": "skip", "showlegend": False}
        clear = {"width": 0, "color": style["color"]}
        shape.add_trace(go.Scatter(y=list(line.low), line=clear, **common))
        shape.add_trace(
            go.Scatter(
                y=list(line.high), line=clear, fill="tonexty", **common,
                fillcolor=_faded(style["color"], 0.14),
            )
        )  # fmt: skip
        shape.add_trace(
            go.Scatter(
                x=x, y=list(line.y), name=escaped(line.name), line=style,
                mode="markers" if line.points else "lines+markers" if len(x) < 24 else "lines",
                marker={"size": 9 if line.points else 6, "color": style["color"],
                        "symbol": "circle-open" if line.points else "circle",
                        "line": {"width": 2, "color": style["color"]}},
                hovertemplate=hover, cliponaxis=False,
            )
        )  # fmt: skip
    if at is not None:
        shape.add_vline(x=at, line={"color": theme.accent, "width": 1.5, "dash": "dot"})
    if trained is not None and trained < last:
        shade(shape, trained, last, theme)
    ticks = powers(first, last)
    axis = "tokens" if causal else "n"
    shape.update_xaxes(
        type="log", title_text=escaped(t(f"dilution.axis.{axis}")), tickvals=ticks,
        ticktext=[f"{n:,}" for n in ticks],
        range=[np.log10(first) - 0.02, np.log10(last) + 0.02],
    )  # fmt: skip
    shape.update_yaxes(title_text=escaped(t(f"stat.{metric}")), type="log" if log else "linear")
    if log:
        shape.update_yaxes(POWERS)
    elif metric not in ANY:
        shape.update_yaxes(range=[-0.02, 1.04], tickformat=".0%")
    shape.update_layout(
        showlegend=legend, margin={"t": 12, "r": 24}, legend={"traceorder": "normal"}
    )
    return shape


def shade(shape: go.Figure, trained: int, last: float, theme: Theme, words: str = "") -> None:
    """Shade the lengths that a model was not trained on, and say so in the legend."""
    shape.add_vrect(
        x0=trained, x1=last, fillcolor=theme.grid, opacity=0.45, line_width=0, layer="below"
    )
    if words:
        shape.add_trace(
            go.Scatter(
                x=[None], y=[None], mode="markers", name=escaped(words), hoverinfo="skip",
                marker={"symbol": "square", "size": 13, "color": theme.grid},
            )
        )  # fmt: skip


def powers(first: float, last: float) -> list[int]:
    """Powers of two along a logarithmic axis, eight at most."""
    low, high = int(np.ceil(np.log2(max(first, 1)))), int(np.floor(np.log2(max(last, 1))))
    step = max(1, -(-(high - low) // 8))
    return [2**i for i in range(low, high + 1, step)] or [round(first)]


def between(first: float, last: float) -> list[float]:
    """Lengths close enough that a curve through them is a curve on any axes."""
    return np.geomspace(first, last, 60).tolist()


def limit_lines(
    metric: str, first: float, last: float, causal: bool = False
) -> list[tuple[str, list[float]]]:
    """What an even row and a row on one key have, at the lengths `between` these."""
    found = limits(metric, np.array(between(first, last)), causal)
    return [(name, y.tolist()) for name, y in found.items()]


def _faded(colour: str, share: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{share})"


def measured(
    records: Sequence[Mapping[str, Any]], names: Mapping[str, str], metric: str
) -> list[Curve]:
    """A curve a mechanism: the mean over seeds and heads, with a band from least to most.

    Args:
        names: spelling of the mechanism (`spelling.spell_choice`) -> what it is called, in their
            order; every one gets a curve, also before it has records.
    """
    found = []
    for i, (spelling, name) in enumerate(names.items()):
        by_length: dict[int, list[float]] = {}
        for r in records:
            value = r[metric]
            if (
                value is not None
                and spell_choice((r["mechanism"], tuple(r["params"].items()))) == spelling
            ):
                by_length.setdefault(r["n"], []).append(value)
        lengths = sorted(by_length)
        values = [by_length[n] for n in lengths]
        found.append(
            Curve(
                name, lengths, [float(np.mean(v)) for v in values],
                [min(v) for v in values], [max(v) for v in values], pen=i,
            )
        )  # fmt: skip
    return found


def theoretical(
    metric: str, setting: Setting, last: float, names: Mapping[str, str]
) -> list[Curve]:
    """A smooth curve a mechanism, from the first length that holds more than needles to `last`."""
    first = max(4, setting.needles + 1)
    n = np.geomspace(first, max(last, first + 1), POINTS)
    return [
        Curve(names[key], n.tolist(), closed_form(key, metric, n, setting), pen=i)
        for i, key in enumerate(setting.mechanisms)
    ]


def threshold(
    setting: Setting, last: float, at: float, *, theme: Theme, t: Words, height: int = 360
) -> go.Figure:
    """The gap needed over length for half the mass, and for being first in half of the rows."""
    n = np.geomspace(max(4, setting.needles + 1), last, POINTS // 2)
    shape = figure(theme, height)
    rank = theory.rank_gap(n, setting.noise)
    mass = noisy.gap_needed(n, 0.5, setting.noise, setting.needles)
    for y, key, i, fill in ((rank, "rank", 2, None), (mass, "mass", 1, "tonexty")):
        shape.add_trace(
            go.Scatter(
                x=n, y=y, mode="lines", name=escaped(t(f"dilution.threshold.{key}")),
                line=pen(theme, i), fill=fill, fillcolor=_faded(theme.lines[1], 0.10),
                hovertemplate="n = %{x:,.0f}<br>%{y:.2f}<extra></extra>",
            )
        )  # fmt: skip
    shape.add_hline(y=setting.gap, line={"color": theme.accent, "width": 2})
    shape.add_annotation(
        x=np.log10(n[0]), y=setting.gap, text=escaped(t("dilution.threshold.gap")),
        showarrow=False, xanchor="left", yanchor="bottom",
        font={"size": 12, "color": theme.accent},
    )  # fmt: skip
    shape.add_vline(x=at, line={"color": theme.accent, "width": 1.5, "dash": "dot"})
    ticks = powers(n[0], last)
    shape.update_xaxes(
        type="log", title_text=escaped(t("dilution.axis.n")), tickvals=ticks,
        ticktext=[f"{x:,}" for x in ticks],
    )  # fmt: skip
    shape.update_yaxes(title_text=escaped(t("dilution.axis.gap")), rangemode="tozero")
    shape.update_layout(margin={"t": 12, "r": 24})
    return shape


def noise_map(
    values: np.ndarray, lengths: Sequence[int], noises: Sequence[float], *, title: str,
    theme: Theme, t: Words, holds: np.ndarray | None = None, height: int = 360,
) -> go.Figure:  # fmt: skip
    """Shares 0 … 1 over length (across) and noise (up), with their values written in.

    Args:
        holds: cells in which they hold; the others are hatched and left without a value.
    """
    shape = figure(theme, height)
    names = [[f"n = {n:,}<br>s = {s:g}" for n in lengths] for s in noises]
    holds = np.full(values.shape, True) if holds is None else holds
    shape.add_trace(
        go.Heatmap(
            z=np.where(holds, values, np.nan), zmin=0, zmax=1, colorscale=scale(theme.weight),
            showscale=False, text=names, hoverongaps=False,
            hovertemplate="%{text}<br>%{z:.1%}<extra></extra>",
        )
    )  # fmt: skip
    shape.add_trace(numbers(values, ".0%", 1.0, theme=theme, shown=holds))
    if not holds.all():
        x, y = hatching(np.argwhere(~holds))
        shape.add_trace(
            go.Scatter(
                x=x, y=y, mode="lines", line={"color": theme.faint, "width": 1}, hoverinfo="skip",
                showlegend=False,
            )
        )  # fmt: skip
    for axis, key, ticks in (
        (shape.update_xaxes, "n", [f"{n:,}" for n in lengths]),
        (shape.update_yaxes, "noise", [f"{s:g}" for s in noises]),
    ):
        axis(
            title_text=escaped(t(f"dilution.axis.{key}")), tickvals=list(range(len(ticks))),
            ticktext=ticks, range=[-0.5, len(ticks) - 0.5], showgrid=False, zeroline=False,
        )  # fmt: skip
    shape.update_layout(title_text=escaped(title), margin={"t": 36})
    return shape


def hatching(cells: np.ndarray) -> tuple[list[float | None], list[float | None]]:
    """Diagonals across cells (row, column), as x and y of one line with gaps."""
    x: list[float | None] = []
    y: list[float | None] = []
    for row, col in cells.tolist():
        for shift in (-0.5, 0.0, 0.5):
            low, high = max(-0.5, shift - 0.5), min(0.5, shift + 0.5)
            x += [col + low, col + high, None]
            y += [row + low - shift, row + high - shift, None]
    return x, y


def rank_row(
    rows: Mapping[str, Sequence[float]], *, theme: Theme, t: Words, longest: int, least: float,
    ghosts: Mapping[str, Sequence[float]] | None = None, height: int = 420,
) -> go.Figure:  # fmt: skip
    """One row's weights from largest to smallest, a line a mechanism, on logarithmic axes that
    stay as n grows.

    Args:
        ghosts: the same rows of a shorter text, faint.
    """
    shape = figure(theme, height)
    for i, (name, y) in enumerate(rows.items()):
        places = ranks(len(y))
        shape.add_trace(
            go.Scatter(
                x=places, y=[y[i - 1] or None for i in places], mode="lines+markers",
                name=escaped(name), line=pen(theme, i),
                marker={"size": [7] + [0] * PLACES, "opacity": 1},  # a row on one key is a point
                hovertemplate="%{x:,}: %{y:.2g}<extra></extra>",
            )
        )  # fmt: skip
    for i, y in enumerate((ghosts or {}).values()):
        places = ranks(len(y))
        shape.add_trace(
            go.Scatter(
                x=places, y=[y[i - 1] or None for i in places], mode="lines", opacity=0.4,
                line=pen(theme, i) | {"width": 1.4}, hoverinfo="skip", showlegend=False,
            )
        )  # fmt: skip
    ticks = powers(1, longest)
    shape.update_xaxes(
        type="log", range=[-0.02, np.log10(longest) + 0.02], tickvals=ticks,
        ticktext=[f"{x:,}" for x in ticks], title_text=escaped(t("dilution.axis.rank")),
    )  # fmt: skip
    shape.update_yaxes(
        POWERS, type="log", range=[np.log10(least), 0.05], title_text=escaped(t("stat.weight"))
    )  # fmt: skip
    shape.update_layout(margin={"t": 12, "r": 24})
    return shape


def ranks(count: int) -> list[int]:
    """1 … count, thinned out to about PLACES even on a logarithmic axis."""
    return np.unique(np.geomspace(1, count, min(count, PLACES)).round().astype(int)).tolist()
