"""Models trained with each mechanism, over positions and lengths: one chosen, beside the reference
and, faint, all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import plotly.graph_objects as go

from engine.dilution import trained as findings
from engine.dilution.trained import REFERENCE, Cards
from engine.figures.base.theme import Theme, Words, figure
from engine.figures.dilution.curves import LOG, powers, shade
from engine.models.zoo.recipes import KINDS
from engine.text.tokens import escaped

Role = Literal["other", "reference", "applied", "chosen"]
ORDER: tuple[Role, ...] = ("other", "reference", "applied", "chosen")
"""What is drawn later lies above."""
LEGEND: tuple[Role, ...] = ("reference", "chosen", "applied", "other")
FAINT = 0.55
"""Opacity of what is neither chosen nor the reference."""


@dataclass(frozen=True)
class Line:
    """One model's curve.

    Attributes:
        name: in the legend and on hover. at: positions or lengths -> values. role: how it is
            drawn.
        ends: lowest and highest over seeds, at the same places; none if there is one seed.
    """

    name: str
    at: Mapping[int, float]
    role: Role
    ends: tuple[Sequence[float], Sequence[float]] | None = None


def role(name: str, chosen: str) -> Role:
    """How a model's curve is drawn."""
    return "chosen" if name == chosen else "reference" if name == REFERENCE else "other"


def by_position(cards: Cards, book: str, chosen: str, named: Callable[[str], str]) -> list[Line]:
    """Every model's loss, by its position in the text.

    Args:
        named: what a model is called, by its name in the zoo.
    """
    drawn = []
    for name in (name for name in KINDS if name in cards):
        of = [findings.losses(card, book) for card in findings.seeds(cards, name)]
        ends = None
        if len(of) > 1:
            low, high = ([pick(one[n] for one in of) for n in of[0]] for pick in (min, max))
            ends = low, high
        drawn.append(Line(named(name), of[0], role(name, chosen), ends))
    return drawn


def lines(
    drawn: Sequence[Line], *, trained: int, theme: Theme, t: Words, metric: str = "",
    height: int = 440,
) -> go.Figure:  # fmt: skip
    """Curves over positions (loss) or over the text's length (a statistic of attention).

    Args:
        trained: tokens that all were trained at; what lies beyond is shaded. metric: of
            `stat.<metric>`; the loss by position if "", whose legend says more.
    """
    shape, known = figure(theme, height), sorted({n for line in drawn for n in line.at})
    first, last = (known[0], known[-1]) if known else (trained, 2 * trained)
    log = metric in LOG
    if metric == "effective_tokens":
        even = {"color": theme.faint, "width": 1, "dash": "dot"}
        shape.add_trace(
            go.Scatter(
                x=known, y=known, mode="lines", line=even, hoverinfo="skip",
                name=escaped(t("dilution.limit.even")),
            )
        )  # fmt: skip
    for line in sorted(drawn, key=lambda line: ORDER.index(line.role)):
        style = pen(line.role, theme)
        if line.ends is not None:
            shape.add_trace(_band(line, style["color"]))
        number = "%{y:,.1f}" if log else "%{y:.1%}" if metric else "%{y:.2f}"
        shape.add_trace(
            go.Scatter(
                x=list(line.at), y=list(line.at.values()), mode="lines+markers", line=style,
                name=escaped(line.name), showlegend=line.role != "other", cliponaxis=False,
                legendrank=LEGEND.index(line.role),
                opacity=FAINT if line.role == "other" else 1,
                marker={"size": 4 if line.role == "other" else 7},
                hovertemplate=f"{escaped(line.name)}<br>{number}<extra></extra>",
            )
        )  # fmt: skip
    if not metric and any(line.role == "other" for line in drawn):
        shape.add_trace(
            go.Scatter(
                x=[None], y=[None], mode="lines", name=escaped(t("zoo.others")),
                line=pen("other", theme), opacity=FAINT,
            )
        )  # fmt: skip
    if trained < last:
        words = "" if metric else t("dilution.beyond", trained=trained)
        shade(shape, trained, last, theme, words)
    ticks = powers(first, last)
    axis = "zoo.axis.length" if metric else "zoo.axis.position"
    shape.update_xaxes(
        type="log", tickvals=ticks, ticktext=[f"{n:,}" for n in ticks],
        title_text=escaped(t(axis)),
    )  # fmt: skip
    title = f"stat.{metric}" if metric else "zoo.axis.loss"
    shape.update_yaxes(title_text=escaped(t(title)), type="log" if log else "linear")
    if log:
        shape.update_yaxes(dtick=1, exponentformat="power")
    elif metric:
        shape.update_yaxes(tickformat=".0%", rangemode="tozero")
    shape.update_layout(margin={"t": 12, "r": 24}, legend={"traceorder": "normal"})
    return shape


def pen(role: Role, theme: Theme) -> dict[str, Any]:
    """Colour, width and dash of a role."""
    if role == "other":
        return {"color": theme.quiet, "width": 1.2}
    if role == "reference":
        return {"color": theme.ink, "width": 2.2}
    dash = "dash" if role == "applied" else "solid"
    return {"color": theme.accent, "width": 2.2 if role == "applied" else 3, "dash": dash}


def _band(line: Line, colour: str) -> go.Scatter:
    """From the lowest to the highest seed."""
    assert line.ends is not None
    low, high = line.ends
    x = list(line.at)
    return go.Scatter(
        x=[*x, *reversed(x)], y=[*low, *reversed(list(high))], fill="toself", mode="lines",
        line={"width": 0, "color": colour}, opacity=0.3, hoverinfo="skip", showlegend=False,
    )  # fmt: skip
