"""A remedy as a function: one key's weight by its lead and by length, a row's sum by a shift."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go

from engine.dilution import theory
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import Theme, Words, figure
from engine.mechanisms.base import Mechanism
from engine.structure import remedies
from engine.text.tokens import escaped

POINTS = 400
LONGEST = 2**20
"""Tokens to which growth is drawn."""

SHARES = {"tickformat": ".0%", "range": [-0.02, 1.16], "tickvals": [k / 5 for k in range(6)]}
"""A vertical axis of shares, with room for words above."""


def lines(t: Words, mechanism: Mechanism) -> tuple[str, str]:
    """Names of the two lines: softmax, and this one."""
    return t("remedy.softmax"), t(f"mechanism.{mechanism.key}.name")


def pictures(found: remedies.Row, context: Context, mechanism: Mechanism) -> Iterator[Picture]:
    """One key's weight in closed form where its lead alone decides it, and the row's sum where a
    shift of all scores changes it."""
    theme, t, names = context.theme, context.t, lines(context.t, mechanism)
    if (shifted := remedies.row_sum(context)) is not None:
        sums, total = shifted
        here, lower, higher = sums(np.array([0.0, -5.0, 2.0])).tolist()
        yield Picture(
            "remedy_shift", shift(sums, float(np.clip(total, 0, 30)), names, theme, t),
            {"row": context.row, "here": here, "lower": lower, "higher": higher},
        )  # fmt: skip
    n = int(found.seen.sum())
    by_length = mechanism.inverse_temperature([2, LONGEST], 0.0)
    if by_length is not None and not mechanism.follows_entropy and np.ptp(by_length) > 0:
        here, far = np.asarray(mechanism.inverse_temperature([max(n, 1), LONGEST], 0.0)).tolist()
        yield Picture(
            "remedy_length", sharpness(mechanism, max(n, 1), theme, t),
            {"row": context.row, "n": n, "here": here, "far": far, "longest": LONGEST},
        )  # fmt: skip
    if n < 2 or mechanism.needle_mass(n, 0.0) is None:
        return
    share = found.largest_share
    gap = max(0.0, float(theory.gap_needed(n, share)))  # an even row's is 0 but for rounding
    after, far = (float(np.asarray(mechanism.needle_mass(x, gap))) for x in (n, LONGEST))
    facts = {"others": n - 1, "gap": gap, "before": share, "after": after}
    yield Picture(
        "remedy_response", response(mechanism, n, gap, names, theme, t),
        facts | {"half_before": np.log(n - 1), "half_after": remedies.crossing(mechanism, n)},
    )  # fmt: skip
    yield Picture(
        f"remedy_growth_{mechanism.key}", growth(mechanism, n, gap, names, theme, t),
        facts | {"far_before": float(theory.needle_mass(LONGEST, gap)), "far_after": far,
                 "longest": LONGEST, "threshold": mechanism.holding_gap},
    )  # fmt: skip


def response(
    mechanism: Mechanism, n: int, gap: float, names: tuple[str, str], theme: Theme, t: Words
) -> go.Figure:
    """Weight of one key as its logit rises over n − 1 equal others."""
    x = np.linspace(0, max(np.log(n) + 5, gap + 1), POINTS)
    shape = figure(theme, 320, hovermode="x unified")
    for f, name, line in zip(
        (theory.needle_mass, mechanism.needle_mass), names, pens(theme), strict=True
    ):
        shape.add_trace(
            go.Scatter(
                x=x, y=f(n, x), mode="lines", name=escaped(name), line=line,
                hovertemplate="%{y:.2%}",
            )
        )  # fmt: skip
    mark(shape, gap, t("remedy.here"), theme)
    shape.update_xaxes(title_text=escaped(t("remedy.gap")), showgrid=False, hoverformat=".2f")
    return shape.update_yaxes(title_text=escaped(t("remedy.weight")), **SHARES)


def growth(
    mechanism: Mechanism, n: int, gap: float, names: tuple[str, str], theme: Theme, t: Words
) -> go.Figure:
    """The same key's weight as more equal others come."""
    x = np.unique(np.geomspace(2, LONGEST, POINTS).round())
    shape = figure(theme, 320, hovermode="x unified")
    for f, name, line in zip(
        (theory.needle_mass, mechanism.needle_mass), names, pens(theme), strict=True
    ):
        shape.add_trace(
            go.Scatter(
                x=x, y=f(x, gap), mode="lines", name=escaped(name), line=line,
                hovertemplate="%{y:.3%}",
            )
        )  # fmt: skip
    by_length(shape, n, theme, t)
    return shape.update_yaxes(title_text=escaped(t("remedy.weight")), **SHARES)


def by_length(shape: go.Figure, n: int, theme: Theme, t: Words) -> None:
    """An axis of how many keys a row sees, with this text's length marked."""
    mark(shape, np.log10(n), t("remedy.now", n=n), theme, at=n)
    powers = [2**k for k in range(1, 21, 3)]
    shape.update_xaxes(
        type="log", title_text=escaped(t("remedy.length")), showgrid=False,
        tickvals=powers, ticktext=[f"{p:,}" for p in powers], hoverformat=",d",
    )  # fmt: skip


def sharpness(mechanism: Mechanism, n: int, theme: Theme, t: Words) -> go.Figure:
    """β against how many keys a row sees."""
    x = np.unique(np.geomspace(1, LONGEST, POINTS).round())
    shape = figure(theme, 320, hovermode="x unified", showlegend=False)
    beta = np.asarray(mechanism.inverse_temperature(x, np.zeros_like(x)))
    for y, name, line in zip(
        (np.ones_like(x), beta), lines(t, mechanism), pens(theme), strict=True
    ):
        shape.add_trace(
            go.Scatter(x=x, y=y, mode="lines", name=escaped(name), line=line,
                       hovertemplate="%{y:.2f}")
        )  # fmt: skip
    by_length(shape, n, theme, t)
    return shape.update_yaxes(title_text=escaped(t("remedy.beta")), rangemode="tozero")


def shift(
    sums: Callable[[np.ndarray], np.ndarray],
    total: float,
    names: tuple[str, str],
    theme: Theme,
    t: Words,
) -> go.Figure:
    """A row's sum as all its logits rise or fall together, which softmax doesn't notice."""
    x = np.linspace(-total - 5, 3, 120)
    y = sums(x)
    shape = figure(theme, 320, hovermode="x unified")
    for values, name, line in zip((np.ones_like(x), y), names, pens(theme), strict=True):
        shape.add_trace(
            go.Scatter(
                x=x, y=values, mode="lines", name=escaped(name), line=line,
                hovertemplate="%{y:.2f}",
            )
        )  # fmt: skip
    mark(shape, 0, t("remedy.as_is"), theme)
    shape.update_xaxes(title_text=escaped(t("remedy.shift")), showgrid=False, hoverformat=".2f")
    return shape.update_yaxes(
        title_text=escaped(t("remedy.sum")), range=[0, 1.16 * max(1.0, float(y.max()))]
    )


def pens(theme: Theme) -> tuple[dict[str, Any], dict[str, Any]]:
    """Softmax wide and pale, so that it shows where both are the same; this one over it."""
    return {"color": theme.weight[3], "width": 5}, {"color": theme.accent, "width": 2.2}


def mark(shape: go.Figure, x: float, words: str, theme: Theme, at: float | None = None) -> None:
    """A dotted line with words at its head; x in the axis's own (logarithmic) terms."""
    shape.add_vline(
        x=x if at is None else at, line={"color": theme.ink, "width": 1, "dash": "dot"}
    )
    shape.add_annotation(
        x=x, y=1, yref="paper", text=escaped(words), showarrow=False, xanchor="left",
        yanchor="top", xshift=5, font={"size": 12, "color": theme.ink}, bgcolor=theme.paper,
        opacity=0.9,
    )  # fmt: skip
