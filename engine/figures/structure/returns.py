"""What a memory of fixed size still gives back of each piece of the text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go

from engine.contract.views import Returns
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import array, figure, scale
from engine.text.tokens import escaped


def pictures(view: Returns, context: Context) -> Iterator[Picture]:
    """Pieces across, and down the moments at which the memory is asked for them."""
    alike = array(view.alike[context.head])
    if len(alike) < 2:
        return
    t, theme = context.t, context.theme
    numbers = np.arange(1, len(alike) + 1)
    shape = figure(theme, 400)
    shape.add_trace(
        go.Heatmap(
            z=alike, x=numbers, y=numbers, zmin=0, zmax=1, colorscale=scale(theme.weight),
            hoverongaps=False,
            colorbar={"title": {"text": escaped(t("memory.alike")), "side": "right"},
                      "thickness": 10, "outlinewidth": 0, "len": 0.7},
            hovertemplate="%{y} → %{x}<br>%{z:.2f}<extra></extra>",
        )
    )  # fmt: skip
    for axis, name in ((shape.update_xaxes, "piece"), (shape.update_yaxes, "since")):
        axis(title_text=escaped(t(f"memory.axis.{name}")), showgrid=False, zeroline=False)
    shape.update_yaxes(autorange="reversed")
    facts = {
        "head": context.head, "size": view.size, "new": float(np.nanmean(alike.diagonal())),
        "end": float(np.nanmean(alike[-1])),
    }  # fmt: skip
    yield Picture("memory_returns", shape, facts)
