"""A row's past by powers of two: what each bucket gets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go

from engine.contract.views import Octaves
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import figure
from engine.structure.octaves import buckets
from engine.text.tokens import escaped


def pictures(view: Octaves, context: Context) -> Iterator[Picture]:
    """The chosen row's buckets, the nearest first; nothing where it sees no key."""
    if context.qkv is None:
        return
    found, t, theme = buckets(view, context), context.t, context.theme
    if not len(found.mass):
        return
    place = context.row + context.att.frame.offset
    back = [(place - a, place - b) for a, b in zip(found.first, found.last, strict=True)]
    names = [f"{a:,}" if a == b else f"{a:,}–{b:,}" for a, b in back]
    x = list(range(len(names)))
    shape = figure(theme, 340, bargap=0.15, hovermode="x unified")
    shape.add_trace(
        go.Bar(
            x=x, y=found.mass, name=escaped(t("memory.here")), customdata=found.factor,
            marker={"color": theme.quiet, "line": {"width": 0}},
            hovertemplate="%{y:.2%} (λ %{customdata:.3g})",
        )
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=x, y=found.full, name=escaped(t("memory.full")), mode="lines+markers",
            line={"color": theme.ink, "width": 1.5, "dash": "dot"}, marker={"size": 5},
            hovertemplate="%{y:.2%}",
        )
    )  # fmt: skip
    shape.update_xaxes(
        title_text=escaped(t("memory.axis.age")), showgrid=False, tickvals=x, ticktext=names,
        range=[-0.5, len(x) - 0.5], tickfont={"size": 11},
    )  # fmt: skip
    shape.update_yaxes(title_text=escaped(t("memory.axis.row_mass")), tickformat=".0%")
    most = int(np.abs(found.mass).argmax())
    facts = {
        "row": context.row, "head": context.head, "buckets": len(x), "keys": place + 1,
        "far": names[most], "mass": float(found.mass[most]), "full": float(found.full[most]),
        "total": float(found.mass.sum()),
    }  # fmt: skip
    yield Picture("octaves_row", shape, facts)
