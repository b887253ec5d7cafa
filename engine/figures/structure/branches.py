"""A row that is a sum of attentions, each under a gate: the branches, and their gates."""

from __future__ import annotations

from collections.abc import Iterator

import plotly.graph_objects as go

from engine.contract.views import Parts
from engine.figures.attention.strips import strips
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import figure
from engine.figures.structure.routes import mark_row
from engine.structure import branches
from engine.text.tokens import escaped


def pictures(view: Parts, context: Context) -> Iterator[Picture]:
    """The chosen row's branches, and the gates along the text; nothing where there are no
    gates."""
    if view.shares is None or context.qkv is None:
        return
    theme, t = context.theme, context.t
    found = branches.row(view, context)
    names = {name: t(f"part.{name}") for name in found}
    rows = [(f"{names[name]} × {one.share:.2f}", one.weights) for name, one in found.items()]
    full = context.full().weights(context.here())[0, 0]
    most = max(found, key=lambda name: found[name].mass)
    facts = {
        "row": context.row, "head": context.head, "branch": names[most],
        "mass": found[most].mass, "total": sum(one.mass for one in found.values()),
    }  # fmt: skip
    drawn = strips(rows, full, theme=theme, t=t, keys=context.tokens, query=context.row)
    yield Picture("branches_row", drawn, facts, wide=True)
    if (view.shares - view.shares[:, :1]).abs().max() < 1e-6:  # the same for every row
        return
    shape = figure(theme, 320, hovermode="x unified")
    at, values = branches.along(view, context)
    colours = (theme.weight[5], theme.accent, theme.quiet)
    for (name, said), line, colour in zip(names.items(), values, colours, strict=False):
        shape.add_trace(
            go.Scatter(
                x=at, y=line, mode="lines", name=escaped(said), hovertemplate="%{y:.1%}",
                line={"color": colour, "width": 2}, meta=name,
            )
        )  # fmt: skip
    mark_row(shape, context)
    shape.update_xaxes(title_text=escaped(t("axis.queries")), showgrid=False)
    shape.update_yaxes(title_text=escaped(t("gate.open")), tickformat=".0%", range=[-0.02, 1.04])
    yield Picture("branches_gates", shape, facts)
