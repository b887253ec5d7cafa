"""A row's weights from the largest down, under softmax and under a remedy."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from engine.figures.base.theme import Theme, Words, figure
from engine.figures.structure.remedy_curves import POINTS, pens
from engine.text.tokens import escaped

FLOOR = 1e-8
"""Least weight that is drawn as such; smaller ones lie on it."""


def ranks(
    before: np.ndarray,
    after: np.ndarray,
    names: tuple[str, str],
    theme: Theme,
    t: Words,
    *,
    zeros: int = 0,
) -> go.Figure:
    """Weights from the largest down, both axes logarithmic; zeros on a line of their own.

    Args:
        before, after: weights of the keys that the row may see. zeros: how many of `after` are 0.
    """
    n = len(before)
    at = np.unique(np.geomspace(1, n, POINTS).round().astype(int))
    low = max(FLOOR, min(x[x > 0].min(initial=1.0) for x in (before, after)))
    floor = 10 ** (np.floor(np.log10(low)))
    shape = figure(theme, 320, hovermode="x unified")
    for weights, name, line in zip((before, after), names, pens(theme), strict=True):
        falling = np.sort(weights)[::-1]
        falling = falling[falling >= floor]
        here = np.union1d(at[at <= len(falling)], [len(falling)] if len(falling) else [])
        here = here.astype(int)
        shape.add_trace(
            go.Scatter(
                x=here, y=falling[here - 1], mode="lines", name=escaped(name), line=line,
                hovertemplate="%{y:.3g}",
            )
        )  # fmt: skip
    bottom = np.log10(floor) - 0.15
    powers = range(int(np.log10(floor)), 1)
    marks = {
        "tickvals": [10.0**k for k in powers],
        "ticktext": [f"{10.0**k:.{max(0, -k - 2)}%}" if k > -5 else f"10<sup>−{-k}</sup>"
                     for k in powers],
    }  # fmt: skip
    if zeros:
        nought = 10 ** (np.log10(floor) - 0.9)
        bottom = np.log10(nought) - 0.5
        marks["tickvals"].append(nought)
        marks["ticktext"].append("0")
        shape.add_trace(
            go.Scatter(
                x=[n - zeros + 1, n], y=[nought, nought], mode="lines+markers", showlegend=False,
                line={"color": theme.accent, "width": 6}, marker={"size": 6},
                hovertemplate=escaped(t("remedy.zeros", zeros=zeros)) + "<extra></extra>",
            )
        )  # fmt: skip
        shape.add_annotation(
            x=np.log10(max(n - zeros + 1, 1)), y=np.log10(nought), text=escaped(
                t("remedy.zeros", zeros=zeros)
            ),
            showarrow=False, font={"size": 13, "color": theme.accent}, bgcolor=theme.paper,
            **({"xanchor": "right", "yanchor": "middle", "xshift": -10} if n - zeros > n**0.5
               else {"xanchor": "left", "yanchor": "bottom", "yshift": 4}),
        )  # fmt: skip
    largest = max(before.max(), after.max())
    shape.update_xaxes(
        type="log", title_text=escaped(t("remedy.rank", n=n)), showgrid=False,
        range=[-0.03, np.log10(max(n, 2)) + 0.03], dtick=1, tickformat=",d",
    )  # fmt: skip
    shape.update_yaxes(
        type="log", title_text=escaped(t("remedy.weight")),
        range=[bottom, max(0, np.log10(largest)) + 0.15], **marks,
    )  # fmt: skip
    return shape


def signed_ranks(
    before: np.ndarray, after: np.ndarray, names: tuple[str, str], theme: Theme, t: Words
) -> go.Figure:
    """Sizes of weights from the largest down, positive and negative ones apart."""
    shape = ranks(before, after.clip(0), names, theme, t)
    shape.data[1].name = escaped(f"{names[1]}: {t('remedy.above')}")
    sizes = np.sort((-after).clip(0))[::-1]
    sizes = sizes[sizes >= FLOOR]
    at = np.unique(np.geomspace(1, max(1, len(sizes)), POINTS).round().astype(int))[: len(sizes)]
    shape.add_trace(
        go.Scatter(
            x=at, y=sizes[at - 1], mode="lines", line={"color": theme.signed[2], "width": 2.2,
                                                       "dash": "dot"},
            name=escaped(f"{names[1]}: {t('remedy.below')}"), hovertemplate="−%{y:.3g}",
        )
    )  # fmt: skip
    return shape
