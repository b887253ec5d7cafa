"""Statistics by position, one line a head: how attention thins out along the text."""

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from engine.figures.base.theme import Theme, Words, array, figure
from engine.text.tokens import escaped

POINTS = 256
"""Points of a line; longer texts are averaged in as many stretches."""


def stretches(values: np.ndarray, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """(h n) values averaged over at most `points` stretches: their middles, and (h stretches)."""
    n = values.shape[-1]
    edges = np.unique(np.linspace(0, n, min(n, points) + 1).astype(int))
    sums = np.add.reduceat(values, edges[:-1], axis=-1)
    return (edges[:-1] + edges[1:] - 1) / 2, sums / np.diff(edges)


def rows(
    effective: Tensor | np.ndarray,
    visible: Tensor | np.ndarray,
    *,
    head: int | None,
    query: int | None,
    theme: Theme,
    t: Words,
) -> go.Figure:
    """Effective tokens by position, beside as many as there are.

    Args:
        effective: (h n) effective tokens. visible: (h n) keys that each row may see.
        head, query: what the person chose.
    """
    at, lines = stretches(array(effective).astype(float))
    _, limit = stretches(array(visible)[:1].astype(float))
    shape = figure(theme, 300)
    shape.add_trace(
        go.Scatter(
            x=at, y=limit[0], mode="lines", line={"color": theme.faint, "width": 1, "dash": "dot"},
            name=escaped(t("rows.visible")), hovertemplate="%{y:,.0f}",
        )
    )  # fmt: skip
    order = sorted(range(len(lines)), key=lambda h: h == head)
    for h in order:
        chosen = h == head
        shape.add_trace(
            go.Scatter(
                x=at, y=lines[h], mode="lines", name=escaped(t("head.name", head=h)),
                opacity=1 if chosen or head is None else 0.55, hovertemplate="%{y:,.1f}",
                line={
                    "color": theme.accent if chosen else theme.quiet,
                    "width": 2 if chosen else 1,
                },
            )
        )  # fmt: skip
    if query is not None:
        shape.add_vline(x=query, line={"color": theme.accent, "width": 1, "dash": "dot"})
    shape.update_layout(hovermode="x unified", showlegend=False, margin={"t": 12})
    shape.update_xaxes(title_text=escaped(t("axis.position")), showgrid=False)
    shape.update_yaxes(title_text=escaped(t("stat.effective_tokens")), type="log", dtick=1)
    return shape
