"""One row under several mechanisms: a strip each, full attention's outline behind it."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from engine.figures.attention.heatmap import ticks
from engine.figures.base.theme import Theme, Words, array, figure
from engine.measure.cells import Cells
from engine.text.tokens import escaped, isolated

POINTS = 512
"""Bars of a strip; of a longer text a bar stands for several keys."""
STRIP, AROUND = 88, 64
"""Heights in pixels, of a strip with its name, and of what surrounds them."""
NAME = 23
"""Pixels of a strip that its name takes."""


def furthest(values: np.ndarray, cells: Cells) -> np.ndarray:
    """Of the values in each cell, the one furthest from 0."""
    starts = np.arange(0, cells.stop - cells.start, cells.width)
    low, high = (f.reduceat(values, starts) for f in (np.minimum, np.maximum))
    return np.where(-low > high, low, high)


def strips(
    rows: Sequence[tuple[str, Tensor | np.ndarray]],
    reference: Tensor | np.ndarray,
    *,
    theme: Theme,
    t: Words,
    keys: Sequence[str] | None = None,
    cols: tuple[int, int] | None = None,
    query: int | None = None,
    log: bool = False,
    named: str | None = None,
    height: int = STRIP,
) -> go.Figure:
    """Weights of one query along the text.

    Args:
        rows: each mechanism's name and the row's weights, (m). reference: the same under full
            attention. keys: all tokens' names. cols: the stretch that is shown; all if None.
        query: the key at the query's own position, marked.
        log: a logarithmic height, where no weight is below 0. named: what the reference is called,
            if it is not full attention. height: of a strip, in pixels.
    """
    given = array(reference)
    start, stop = cols or (0, len(given))
    cells = Cells(start, stop, POINTS)
    at = [(a + b - 1) / 2 for a, b in _spans(cells)]
    outline = furthest(given[start:stop], cells)
    lines = [(name, furthest(array(w)[start:stop], cells)) for name, w in rows]
    top = max([float(outline.max(initial=0)), *(float(w.max(initial=0)) for _, w in lines)]) or 1.0
    low = min(0.0, *(float(w.min(initial=0)) for _, w in lines))
    log = log and low == 0
    shape = figure(theme, height * len(lines) + AROUND, bargap=0, showlegend=False)
    for i, (name, w) in enumerate(lines):
        axis = "y" if i == 0 else f"y{i + 1}"
        base = 1 - (i + 1) / len(lines)
        shape.add_trace(
            go.Bar(
                x=at, y=w, yaxis=axis, marker={"color": theme.quiet, "line": {"width": 0}},
                customdata=_names(cells, keys), text=[f"{v:.3g}" for v in outline],
                textposition="none",
                hovertemplate="%{customdata}<br>%{y:.3g} · "
                + escaped(named or t("strips.reference")) + " %{text}<extra></extra>",
            )
        )  # fmt: skip
        shape.add_trace(
            go.Scatter(
                x=at, y=outline, yaxis=axis, mode="lines", hoverinfo="skip",
                line={"shape": "hvh", "width": 1, "color": theme.faint},
            )
        )  # fmt: skip
        shape.add_annotation(
            text=escaped(name), xref="paper", yref="paper", x=0, y=base + 1 / len(lines),
            xanchor="left", yanchor="top", yshift=-4, showarrow=False,
            font={"size": 13, "color": theme.ink},
        )  # fmt: skip
        shape.update_layout(
            {
                "yaxis" + ("" if i == 0 else str(i + 1)): {
                    "domain": [base, base + (1 - NAME / height) / len(lines)],
                    "anchor": "x",
                    "range": [np.log10(top) - 4, np.log10(top)] if log else [low, top * 1.02],
                    "type": "log" if log else "linear",
                    "nticks": 3,
                    "dtick": 2 if log else None,
                    "tickformat": "~g",
                    "zeroline": low < 0,
                }
            }
        )
    if len(lines) == 1:
        shape.update_yaxes(title_text=escaped(t("colour.weight.bar")))
    shape.update_xaxes(
        title_text=escaped(t("axis.keys")), range=[start - 0.5, stop - 0.5], showgrid=False,
        anchor="y" if len(lines) == 1 else f"y{len(lines)}", **ticks(keys, start, stop),
    )  # fmt: skip
    if query is not None and start <= query < stop:
        shape.add_vline(x=query, line={"color": theme.accent, "width": 1.5, "dash": "dot"})
    return shape


def _spans(cells: Cells) -> list[tuple[int, int]]:
    edges = cells.edges().tolist()
    return list(pairwise(edges))


def _names(cells: Cells, keys: Sequence[str] | None) -> list[str]:
    """What a bar stands for: one key by name, several by their positions."""
    if keys is None or cells.width > 1:
        return [f"{a:,}" + (f"–{b - 1:,}" if b - a > 1 else "") for a, b in _spans(cells)]
    return [f"{escaped(isolated(keys[a]))} {a:,}" for a, _ in _spans(cells)]
