"""Three laws as pictures: the first token takes over, the phase change, the spectral gap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from engine.dilution import laws
from engine.figures.base.theme import Theme, Words, figure
from engine.figures.dilution.curves import pen
from engine.text.tokens import escaped

KEYS, LAYERS = 256, 32
"""Tokens, and layers, of the first picture."""
WINDOW, SLOPE = 32, 2.0**-4
"""What delays the first token there."""
LIKENESS = 0.5
"""Cosine of the tokens of the second."""
LENGTHS = (10**2, 10**4, 10**6)
NOISE = 1.0
"""Of the scores of random maps."""


def first_token(theme: Theme, t: Words) -> go.Figure:
    """What the last row holds of the first token, by layers."""
    layers = np.arange(1, LAYERS + 1)
    shape = figure(theme, 340, hovermode="x unified")
    ways = {
        "even": laws.first_token(KEYS, LAYERS),
        "window": laws.first_token(KEYS, LAYERS, window=WINDOW),
        "alibi": laws.first_token(KEYS, LAYERS, slope=SLOPE),
    }
    for i, (name, y) in enumerate(ways.items()):
        shape.add_trace(
            go.Scatter(
                x=layers, y=y.tolist(), mode="lines",
                name=escaped(t(f"dilution.laws.{name}")), line=pen(theme, i),
                hovertemplate="%{y:.1%}",
            )
        )  # fmt: skip
    shape.update_xaxes(title_text=escaped(t("dilution.laws.layers")), range=[1, LAYERS])
    shape.update_yaxes(
        title_text=escaped(t("dilution.laws.first")), tickformat=".0%", range=[0, 1.02]
    )
    return shape.update_layout(margin={"t": 12})


def takes_over() -> int:
    """The layer from which on the last row has more of the first token than of all others."""
    return int((laws.first_token(KEYS, LAYERS) > 0.5).argmax()) + 1


def phase(theme: Theme, t: Words) -> go.Figure:
    """A row's weight on its own token, by the factor on its scores, at several lengths."""
    critical = 1 / (1 - LIKENESS)
    gamma = np.linspace(0, 2 * critical, 161)
    shape = figure(theme, 340, hovermode="x unified")
    for i, n in enumerate(LENGTHS):
        y = [laws.kept_by_itself(n, float(g), LIKENESS) for g in gamma]
        shape.add_trace(
            go.Scatter(
                x=gamma, y=y, mode="lines", name=f"n = {n:,}", line=pen(theme, i),
                hovertemplate="%{y:.1%}",
            )
        )  # fmt: skip
    shape.add_vline(x=critical, line={"color": theme.accent, "width": 1.5, "dash": "dot"})
    shape.update_xaxes(title_text=escaped(t("dilution.laws.gamma")), range=[0, 2 * critical])
    shape.update_yaxes(
        title_text=escaped(t("dilution.laws.itself")), tickformat=".0%", range=[0, 1.02]
    )
    return shape.update_layout(margin={"t": 12})


def spectrum(found: Sequence[tuple[int, float, float]], theme: Theme, t: Words) -> go.Figure:
    """The two largest singular values of random maps over their length.

    Args:
        found: length, first and second of each.
    """
    n = np.array([x for x, *_ in found])
    shape = figure(theme, 340, hovermode="x unified")
    for i, name in enumerate(("largest", "second")):
        shape.add_trace(
            go.Scatter(
                x=n, y=[one[i + 1] for one in found], mode="lines+markers",
                name=escaped(t(f"dilution.laws.{name}")), line=pen(theme, i),
                hovertemplate="%{y:.3f}",
            )
        )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=n, y=[laws.bulk(int(x), NOISE) for x in n], mode="lines", line=pen(theme, 2),
            name=escaped(t("dilution.laws.edge")), hovertemplate="%{y:.3f}",
        )
    )  # fmt: skip
    shape.update_xaxes(
        type="log", title_text=escaped(t("dilution.axis.n")), tickvals=n,
        ticktext=[f"{x:,}" for x in n],
    )  # fmt: skip
    shape.update_yaxes(
        type="log", title_text=escaped(t("dilution.laws.singular")), tickvals=[0.1, 0.2, 0.5, 1],
        ticktext=["0.1", "0.2", "0.5", "1"],
    )  # fmt: skip
    return shape.update_layout(margin={"t": 12})
