"""A closer look at what stands side by side: where two differ, and the chosen row in each."""

from collections.abc import Sequence
from typing import Any

import streamlit as st
from torch import Tensor

from engine.figures.attention.difference import difference
from engine.figures.attention.strips import strips
from engine.measure.comparison import Difference
from pages.ui.components.chart import chart
from pages.ui.explore.scene import Scene
from pages.ui.shared import frame
from pages.ui.shared.strings import t

HEIGHTS = {1: 560, 2: 540, 3: 470, 4: 420}
"""Of a map in pixels, by the number of columns."""
SHORTEST = 16
"""Keys that a row shows at least."""


def difference_map(first: Scene, found: Difference, **more: Any) -> None:
    """Where one gives more weight than the first, and where less; more as of the figure."""
    att = first.attention.frame
    behind = att.m - att.n
    figure = difference(
        found, theme=frame.theme(), t=t, keys=att.tokens, colour=first.spec.colour,
        queries=att.tokens[behind:] if att.tokens and behind >= 0 else None,
        query=first.query, **more,
    )  # fmt: skip
    chart("difference", figure, t)


def row(first: Scene, rows: Sequence[tuple[str, Tensor]], **more: Any) -> tuple[int, int]:
    """The first one's chosen row, beside the same row of each; more as of the figure.

    Returns the keys that are drawn.
    """
    st.subheader(t("compare.row"), anchor=False)
    att, spec = first.attention.frame, first.spec
    at = first.query + att.m - att.n
    # of a whole causal text, the part that the row may see
    _, _, c0, c1 = spec.zoom or (0, 0, 0, max(at + 1, SHORTEST) if att.causal else att.m)
    cols = min(c0, att.m - 1), min(c1, att.m)
    figure = strips(
        rows, first.weights, theme=frame.theme(), t=t, keys=att.tokens, cols=cols,
        query=at if at >= 0 else None, log=spec.colour in ("log", "uniform"), **more,
    )  # fmt: skip
    chart("strips", figure, t)
    return cols
