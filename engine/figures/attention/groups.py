"""Mass by group: how much of its attention one group of tokens gives to another."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from engine.figures.base.theme import Theme, Words, array, figure, scale
from engine.text.tokens import escaped, isolated, shortened

MOST_NAMES = 40
MOST_TICKS = 8
LONGEST = {False: 9, True: 16}
"""Characters of a name on an axis; those of patches are never cut."""
STEPS = [base * 10**power for power in range(6) for base in (1, 2, 5)]
"""Round numbers from tick to tick."""


def groups(
    mass: Tensor | np.ndarray,
    *,
    names: Sequence[str],
    row: int | None,
    theme: Theme,
    t: Words,
    signed: bool = False,
    patches: bool = False,
) -> go.Figure:
    """Groups of queries down, groups of keys across.

    Args:
        mass: (a b) mean mass that a query of group a gives to group b.
        names: what the groups are called. row: the group that holds the chosen query.
        patches: they are groups of an image's patches, called by their rows and columns.
    """
    mass = array(mass)
    top = float(np.abs(mass).max(initial=0)) or 1.0
    places = _apart([escaped(isolated(name)) for name in names])
    shape = figure(theme, 430)
    shape.add_trace(
        go.Heatmap(
            z=mass.astype(np.float32), x=places, y=places, zmin=-top if signed else 0, zmax=top,
            colorscale=scale(theme.signed if signed else theme.weight),
            colorbar={"thickness": 10, "outlinewidth": 0, "len": 0.6, "nticks": 6,
                      "tickformat": ".0%" if top >= 0.05 else ".2~%"},
            hovertemplate="%{y} → %{x}<br>%{z:.1%}<extra></extra>",
        )
    )  # fmt: skip
    numbers = all(name.replace(",", "").isdigit() for name in names)
    few = len(names) <= MOST_NAMES and not numbers
    if few:
        marks = {
            "tickvals": list(range(len(names))),
            "ticktext": [escaped(shortened(name, LONGEST[patches])) for name in names],
        }
    elif len(names) <= 16:
        marks = {"dtick": 1}
    else:  # their numbers: names would leave the picture no room
        step = next(size for size in STEPS if len(names) <= size * MOST_TICKS)
        told = list(range(0, len(names), step))
        marks = {"tickvals": told, "ticktext": [f"{i:,}" for i in told]}
    of = ".patches" if patches and few else ""
    common = {"type": "category", "showgrid": False, **marks}
    upright = {"tickangle": -90} if few else {}
    shape.update_xaxes(
        title_text=escaped(t(f"axis.key_groups{of}")), side="top", **upright, **common
    )
    shape.update_yaxes(
        title_text=escaped(t(f"axis.query_groups{of}")), range=[len(names) - 0.5, -0.5], **common
    )
    if row is not None:
        shape.add_shape(
            type="rect", x0=-0.5, x1=len(names) - 0.5, y0=row - 0.5, y1=row + 0.5,
            line={"color": theme.accent, "width": 1.5},
        )  # fmt: skip
    return shape


def _apart(names: Sequence[str]) -> list[str]:
    """Names of which no two are the same to Plotly: to those that were there before, what nobody
    sees is added."""
    seen: Counter[str] = Counter()
    made = []
    for name in names:
        made.append(name + "\u2060" * seen[name])
        seen[name] += 1
    return made
