"""A gate on each row: how far it is open, beside the sink that it makes needless."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go

from engine.contract.views import Gate
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import figure
from engine.figures.structure.routes import mark_row
from engine.structure.gate import Sink, sink
from engine.text.tokens import escaped


def pictures(view: Gate, context: Context) -> Iterator[Picture]:
    """The gate and the first key's weight, row by row."""
    found = sink(view, context)
    here = int(np.searchsorted(found.rows, context.row))
    yield Picture(
        "gate_sink", _drawn(found, context),
        {"head": context.head, "row": context.row, "open": float(found.open[here]),
         "mean": float(found.open.mean()), "before": float(found.before.mean()),
         "after": float(found.after.mean())},
    )  # fmt: skip


def _drawn(found: Sink, context: Context) -> go.Figure:
    theme, t = context.theme, context.t
    shape = figure(theme, 340, hovermode="x unified")
    for name, values, fill, line in (
        ("open", found.open, "tozeroy", {"color": theme.quiet, "width": 1}),
        ("before", found.before, None, {"color": theme.weight[3], "width": 2, "dash": "dot"}),
        ("after", found.after, None, {"color": theme.accent, "width": 2.2}),
    ):
        shape.add_trace(
            go.Scatter(
                x=found.rows, y=values, mode="lines", name=escaped(t(f"gate.{name}")), line=line,
                fill=fill, fillcolor=theme.grid, hovertemplate="%{y:.1%}",
            )
        )  # fmt: skip
    mark_row(shape, context)
    shape.update_xaxes(title_text=escaped(t("axis.queries")), showgrid=False)
    return shape.update_yaxes(
        title_text=escaped(t("route.axis.share")), tickformat=".0%", range=[-0.02, 1.04]
    )
