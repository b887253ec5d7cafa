"""Keys chosen by an index: the index beside the true map, and what it misses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go

from engine.contract.views import Index
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import figure, scale
from engine.figures.structure.routes import colour_bar, mark_row
from engine.structure.index import Beside, beside
from engine.text.tokens import escaped


def pictures(view: Index, context: Context) -> Iterator[Picture]:
    """The index beside full attention's map, and its misses row by row; nothing without a QKV."""
    if context.qkv is None:
        return
    found, t, n = beside(view, context), context.t, context.att.frame.n
    read = int((view.chosen[context.head, context.row] >= 0).sum())
    notes = t("segments.sampled", rows=len(found.rows), n=n) if len(found.rows) < n else ""
    facts = {
        "head": context.head, "read": read, "row": context.row, "notes": notes,
        "found": float(found.found.mean()), "lost": float(found.lost.mean()),
    }  # fmt: skip
    drawn = [
        _map(cells, found, name, view, context)
        for name, cells in (("full", found.full), ("index", found.index))
    ]
    yield Picture("index_map", drawn[0], facts, wide=True, beside=drawn[1:])
    worst = int(found.lost.argmax())
    yield Picture(
        "index_lost", _curves(found, context),
        facts | {"most": float(found.lost[worst]), "at": int(found.rows[worst])},
    )  # fmt: skip


def _map(cells: np.ndarray, found: Beside, name: str, view: Index, context: Context) -> go.Figure:
    """Rows down, blocks across, each row against its own largest; what is read on the index's."""
    theme, t = context.theme, context.t
    title = {
        "text": escaped(t(f"index.{name}")),
        "font": {"size": 15},
        "y": 0.97,
        "yanchor": "top",
    }
    shape = figure(theme, 420, title=title, showlegend=False, margin={"t": 48})
    top = np.maximum(cells.max(1, keepdims=True), 1e-12)
    shape.add_trace(
        go.Heatmap(
            z=(cells / top).astype(np.float32), y=found.rows, x0=(found.wide - 1) / 2,
            dx=found.wide, zmin=0, zmax=1, colorscale=scale(theme.weight),
            colorbar={**colour_bar(t("index.axis.weight")), "len": 0.6},
            customdata=cells, hovertemplate="%{y:,.0f} → %{x:,.0f}<br>%{customdata:.1%}"
            "<extra></extra>",
        )
    )  # fmt: skip
    read = view.chosen[context.head, found.rows.tolist()]
    if name == "index" and read.numel() <= 2**13:
        rows, blocks = np.repeat(found.rows, read.shape[1]), read.flatten().cpu().numpy()
        shape.add_trace(
            go.Scatter(
                x=blocks[blocks >= 0], y=rows[blocks >= 0], mode="markers", hoverinfo="skip",
                marker={"size": 2.5, "color": theme.accent, "opacity": 0.7},
            )
        )  # fmt: skip
    ends = -0.5, cells.shape[1] * found.wide - 0.5, context.att.frame.n - 0.5
    across = t("axis.keys") if view.size == 1 else t("route.axis.blocks", size=view.size)
    bare = {"showgrid": False, "zeroline": False}
    shape.update_xaxes(title_text=escaped(across), range=ends[:2], **bare)
    shape.update_yaxes(title_text=escaped(t("axis.queries")), range=[ends[2], ends[0]], **bare)
    return shape


def _curves(found: Beside, context: Context) -> go.Figure:
    """What each row finds of its largest weights, and what it loses."""
    theme, t = context.theme, context.t
    shape = figure(theme, 320, hovermode="x unified")
    for name, values, colour in (
        ("found", found.found, theme.weight[5]), ("lost", found.lost, theme.accent)
    ):  # fmt: skip
        shape.add_trace(
            go.Scatter(
                x=found.rows, y=values, mode="lines", name=escaped(t(f"index.{name}")),
                line={"color": colour, "width": 2}, hovertemplate="%{y:.1%}",
            )
        )  # fmt: skip
    mark_row(shape, context)
    shape.update_xaxes(title_text=escaped(t("axis.queries")), showgrid=False)
    shape.update_yaxes(
        title_text=escaped(t("route.axis.share")), tickformat=".0%", range=[-0.02, 1.02]
    )
    return shape
