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
    top = float(max(found.full.max(), found.index.max(), 1e-9))
    drawn = [
        _map(cells, found, t(f"index.{name}"), top, view, context)
        for name, cells in (("full", found.full), ("index", found.index))
    ]
    yield Picture("index_map", drawn[0], facts, wide=True, beside=drawn[1:])
    worst = int(found.lost.argmax())
    yield Picture(
        "index_lost", _curves(found, context),
        facts | {"most": float(found.lost[worst]), "at": int(found.rows[worst])},
    )  # fmt: skip


def _map(
    cells: np.ndarray, found: Beside, title: str, top: float, view: Index, context: Context
) -> go.Figure:
    """Rows down, blocks across."""
    theme, t = context.theme, context.t
    shape = figure(theme, 400, title={"text": escaped(title), "font": {"size": 15}})
    shape.add_trace(
        go.Heatmap(
            z=cells.astype(np.float32), y=found.rows, x0=(found.wide - 1) / 2, dx=found.wide,
            zmin=0, zmax=top, colorscale=scale(theme.weight),
            colorbar={**colour_bar(t("index.axis.weight")), "len": 0.6},
            hovertemplate="%{y:,.0f} → %{x:,.0f}<br>%{z:.1%}<extra></extra>",
        )
    )  # fmt: skip
    read = view.chosen[context.head, found.rows.tolist()]
    if read.numel() <= 2**14:
        rows = np.repeat(found.rows, read.shape[1])
        blocks = read.flatten().cpu().numpy()
        shape.add_trace(
            go.Scatter(
                x=blocks[blocks >= 0], y=rows[blocks >= 0], mode="markers", hoverinfo="skip",
                name=escaped(t("index.chosen")), showlegend=True,
                marker={"symbol": "square-open", "size": 4, "color": theme.accent,
                        "line": {"width": 0.8}},
            )
        )  # fmt: skip
    shape.update_layout(showlegend=True)
    across = t("axis.keys") if view.size == 1 else t("route.axis.blocks", size=view.size)
    shape.update_xaxes(title_text=escaped(across), showgrid=False, zeroline=False)
    shape.update_yaxes(
        title_text=escaped(t("axis.queries")), showgrid=False, zeroline=False, autorange="reversed"
    )
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
