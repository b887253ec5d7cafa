"""Capsules: couplings as agreement proceeds, and how present each capsule is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import plotly.graph_objects as go

from engine.contract.views import Routing
from engine.figures.attention.rows import stretches
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import array, figure, scale
from engine.figures.structure.routes import (
    CELLS,
    along,
    called,
    colour_bar,
    mark_row,
    route_names,
    tinted,
)
from engine.structure import routing
from engine.structure.routing import cut
from engine.text.tokens import escaped


def couplings(steps: np.ndarray, names: Sequence[str], context: Context) -> go.Figure:
    """Couplings of one token's heads to capsules, a frame an iteration.

    Args:
        steps: (t h capsules), each row sums to 1.
    """
    theme, t = context.theme, context.t
    heads = [escaped(t("head.name", head=i)) for i in range(steps.shape[1])]
    few = steps[0].size <= 160

    def cells(step: np.ndarray) -> go.Heatmap:
        return go.Heatmap(
            z=step.astype(np.float32), zmin=0, zmax=1, colorscale=scale(theme.weight),
            x=list(map(escaped, names)), y=heads,
            text=np.round(step * 100).astype(int) if few else None,
            texttemplate="%{text}%" if few else None,
            colorbar={**colour_bar(t("route.axis.coupling")), "len": 0.8, "tickformat": ".0%"},
            hovertemplate="%{y} → %{x}<br>%{z:.1%}<extra></extra>",
        )  # fmt: skip

    shape = figure(theme, 400)
    shape.add_trace(cells(steps[-1]))
    words = [f"{i + 1}" for i in range(len(steps))]
    shape.frames = [
        go.Frame(data=[cells(step)], name=w) for w, step in zip(words, steps, strict=True)
    ]
    quick = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}}
    slow = {"frame": {"duration": 900, "redraw": True}, "transition": {"duration": 0}}
    shape.update_layout(
        sliders=[
            {
                "active": len(steps) - 1, "pad": {"t": 34}, "x": 0.14, "len": 0.86,
                "currentvalue": {"prefix": escaped(t("route.iteration")) + " ", "xanchor": "left"},
                "font": {"color": theme.ink}, "bgcolor": theme.grid, "activebgcolor": theme.accent,
                "bordercolor": theme.grid, "tickcolor": theme.faint,
                "steps": [
                    {"label": w, "method": "animate", "args": [[w], quick]} for w in words
                ],
            }
        ],
        updatemenus=[
            {
                "type": "buttons", "x": 0, "y": 0, "xanchor": "left", "yanchor": "top",
                "pad": {"t": 58, "r": 8}, "showactive": False, "bgcolor": theme.paper,
                "bordercolor": theme.faint, "font": {"color": theme.ink},
                "buttons": [
                    {"label": escaped(t("route.play")), "method": "animate",
                     "args": [words, {**slow, "fromcurrent": False}]}
                ],
            }
        ],
    )  # fmt: skip
    shape.update_xaxes(showgrid=False, side="top")
    shape.update_yaxes(showgrid=False, autorange="reversed")
    return shape


def entropies(values: np.ndarray, limit: float, context: Context) -> go.Figure:
    """Mean entropy of each head's couplings by iteration.

    Args:
        values: (t h) nats. limit: that of even couplings.
    """
    theme, t = context.theme, context.t
    shape = figure(theme, 400, showlegend=False, margin={"t": 12})
    at = list(range(1, len(values) + 1))
    shape.add_hline(y=limit, line={"color": theme.ink, "width": 1.5, "dash": "dash"})
    shape.add_annotation(
        text=escaped(t("route.even_entropy", limit=limit)), x=at[-1], y=limit, showarrow=False,
        xanchor="right", yanchor="bottom", font={"color": theme.faint, "size": 13},
    )  # fmt: skip
    for h in sorted(range(values.shape[1]), key=lambda h: h == context.head):
        mine = h == context.head
        shape.add_trace(
            go.Scatter(
                x=at, y=values[:, h], mode="lines+markers", name=escaped(t("head.name", head=h)),
                line={
                    "color": theme.accent if mine else theme.quiet,
                    "width": 2.5 if mine else 1.5,
                },
                marker={"size": 8 if mine else 5},
                hovertemplate="%{fullData.name} %{y:.3f}<extra></extra>",
            )
        )  # fmt: skip
    shape.update_xaxes(title_text=escaped(t("route.iteration")), dtick=1, showgrid=False)
    shape.update_yaxes(
        title_text=escaped(t("route.axis.entropy")),
        rangemode="tozero",
        range=[0, limit * 1.12 or 1],
    )
    return shape


def presence(lengths: np.ndarray, names: Sequence[str], context: Context) -> go.Figure:
    """Lengths of capsules along the text.

    Args:
        lengths: (n capsules), 0 … 1.
    """
    theme = context.theme
    starts, stops = cut(len(lengths))
    at, lines = stretches(lengths.T, CELLS)
    shape = figure(theme, max(200, min(400, 90 + 34 * len(names))), margin={"t": 12})
    shape.add_trace(
        go.Heatmap(
            z=lines.astype(np.float32), x=at, y=list(range(len(names))), zmin=0, zmax=1,
            colorscale=scale(theme.weight),
            customdata=np.array([called(context, starts, stops)] * len(names)),
            colorbar={**colour_bar(context.t("route.axis.length")), "nticks": 3},
            hovertemplate="%{customdata}<br>%{z:.2f}<extra></extra>",
        )
    )  # fmt: skip
    mark_row(shape, context)
    shape.update_xaxes(title_text=along(context, len(lengths)), showgrid=False)
    shape.update_yaxes(
        tickvals=list(range(len(names))), ticktext=list(map(escaped, names)),
        autorange="reversed", showgrid=False,
    )  # fmt: skip
    return shape


def pictures(view: Routing, context: Context) -> Iterator[Picture]:
    assert view.iterations is not None and view.presence is not None
    names, head = route_names(view, context), context.head
    limit = float(np.log(len(names)))
    steps = array(view.iterations[:, :, context.row]).astype(float)
    here = steps[-1, head]
    yield Picture(
        "capsule_couplings", couplings(steps, names, context),
        {
            "row": context.row, "head": head, "capsule": names[int(here.argmax())],
            "share": float(here.max()), "even": 1 / len(names), "iterations": len(steps),
        },
    )  # fmt: skip
    values = routing.entropy(array(view.iterations).astype(float)).mean(-1)
    yield Picture(
        "capsule_entropy", entropies(values, limit, context),
        {"first": float(values[0, head]), "last": float(values[-1, head]), "head": head,
         "iterations": len(values)},
    )  # fmt: skip
    lengths = array(view.presence).astype(float)
    most = int(lengths.mean(0).argmax())
    kept = (array(view.iterations[-1, head]).astype(float) * lengths).sum(-1)
    yield Picture(
        "capsule_presence", presence(lengths, names, context), wide=True,
        facts={"capsule": names[most], "mean": float(lengths.mean(0)[most]), "head": head,
               "kept": float(kept.mean())},
    )  # fmt: skip
    yield from tinted("capsule_text", view, context, names, head=head)
