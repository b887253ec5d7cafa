"""A memory at work: segment after segment, what its rows can reach and where their mass goes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from engine.figures.attention.heatmap import FLOOR
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import figure, scale
from engine.structure.memory import CELLS, KEPT, LATER, OUT, OWN, Scene
from engine.text.tokens import escaped


def title(scene: Scene, part: int) -> str:
    """A part's number, or its first and last segment."""
    first = part * scene.per
    last = min(first + scene.per, scene.count) - 1
    return f"{first + 1:,}" if first == last else f"{first + 1:,}–{last + 1:,}"


def keys(context: Context, width: int) -> str:
    """The title of an axis of keys, with how many a cell holds."""
    t = context.t
    return escaped(t("axis.keys") if width == 1 else t("memory.axis.keys", count=width))


def kinds_of(scene: Scene, context: Context) -> tuple[list[str], list[str]]:
    """Names and colours of what keys are to a row."""
    t, theme = context.t, context.theme
    kept = "memory.in_slots" if scene.view.slots is not None else "memory.kept"
    names = [t("memory.out"), t(kept), t("memory.own"), t("memory.later")]
    return names, [theme.faint, theme.tints[0], theme.tints[1], theme.grid]


def _steps(colours: Sequence[str]) -> list[list[float | str]]:
    """A colour scale of flat steps."""
    n = len(colours)
    return [[x, c] for i, c in enumerate(colours) for x in (i / n, (i + 1) / n)]


def moving(scene: Scene, context: Context) -> Picture:
    """Segment after segment: what its rows can reach, and where their mass goes."""
    qkv, view, t, theme = scene.qkv, scene.view, context.t, context.theme
    width = max(1, -(-qkv.m // CELLS))
    starts = np.arange(0, qkv.m, width)
    middle = (starts + np.minimum(starts + width, qkv.m) - 1) / 2
    lost, (past, theirs) = scene.lost, scene.past_mass
    names, colours = kinds_of(scene, context)
    low = float(np.log10(FLOOR))

    def frame(part: int) -> tuple[list[go.Heatmap], str]:
        mine = scene.parts == part
        cells, kinds = scene.frame(part, width)
        said = t(
            "memory.frame" if view.slots is None else "memory.frame_slots",
            segment=title(scene, part), past=float(past[mine].mean()),
            lost=float(lost[mine].mean()), full=float(theirs[mine].mean()),
        )  # fmt: skip
        strips = go.Heatmap(
            x=middle, y=[t("memory.here"), t("memory.full")],
            z=np.log10(np.maximum(cells, FLOOR)).astype(np.float32), customdata=cells.round(5),
            zmin=low, zmax=0, colorscale=scale(theme.weight), xgap=0, ygap=6,
            colorbar={
                "title": {"text": escaped(t("memory.axis.mass")), "side": "right"},
                "thickness": 10, "outlinewidth": 0, "len": 0.9,
                "tickvals": [-4, -3, -2, -1, 0],
                "ticktext": ["≤0.01%", "0.1%", "1%", "10%", "100%"],
            },
            hovertemplate="%{y}<br>%{x:,d}: %{customdata:.2%}<extra></extra>",
        )  # fmt: skip
        classes = go.Heatmap(
            x=middle, y=[t("memory.axis.reach")], z=kinds[None], zmin=-0.5, zmax=3.5,
            colorscale=_steps(colours), showscale=False, yaxis="y2",
            text=[[names[k] for k in kinds]], hovertemplate="%{x:,d}: %{text}<extra></extra>",
        )  # fmt: skip
        return [strips, classes], said

    made = [(int(p), *frame(int(p))) for p in np.unique(scene.parts)]
    parts = np.unique(scene.parts)
    chosen = int(np.argmin(np.abs(parts - scene.segment_of(context.row) // scene.per)))
    shape = figure(theme, 330)
    shape.add_traces(made[chosen][1])
    shown = [k for k in (OUT, KEPT, OWN, LATER) if k != OUT or view.slots is None]
    for k in shown:
        shape.add_trace(
            go.Scatter(
                x=[None], y=[None], mode="markers", name=escaped(names[k]), yaxis="y2",
                marker={"symbol": "square", "size": 12, "color": colours[k]},
            )
        )  # fmt: skip
    shape.frames = [
        go.Frame(data=traces, name=str(part), traces=[0, 1]) for part, traces, _ in made
    ]
    still = {"mode": "immediate", "frame": {"duration": 0, "redraw": True},
             "transition": {"duration": 0}}  # fmt: skip
    run = {"fromcurrent": True, "frame": {"duration": 600, "redraw": True},
           "transition": {"duration": 0}}  # fmt: skip
    button = {"bgcolor": theme.paper, "bordercolor": theme.grid, "font": {"color": theme.ink}}
    shape.update_layout(
        legend={"y": 1.03, "itemclick": False, "itemdoubleclick": False},
        xaxis={"title": {"text": keys(context, width)}, "showgrid": False, "anchor": "y2",
               "range": [-0.5, qkv.m - 0.5], "tickformat": ",d"},
        yaxis={"domain": [0.34, 1.0], "showgrid": False, "autorange": "reversed"},
        yaxis2={"domain": [0.0, 0.24], "showgrid": False, "fixedrange": True},
        sliders=[{
            "active": chosen, "x": 0.16, "len": 0.84, "pad": {"t": 58, "b": 0},
            "currentvalue": {"font": {"size": 14, "color": theme.ink}, "xanchor": "left"},
            "bgcolor": theme.grid, "activebgcolor": theme.accent, "bordercolor": theme.grid,
            "font": {"color": "rgba(0,0,0,0)", "size": 1}, "ticklen": 0, "minorticklen": 0,
            "steps": [
                {"label": escaped(said), "method": "animate", "args": [[str(part)], still]}
                for part, _, said in made
            ],
        }],
        updatemenus=[{
            "type": "buttons", "direction": "left", "showactive": False, "x": 0, "y": 0,
            "xanchor": "left", "yanchor": "top", "pad": {"t": 68, "r": 8}, **button,
            "buttons": [
                {"label": escaped(t("memory.play")), "method": "animate", "args": [None, run]},
                {"label": escaped(t("memory.pause")), "method": "animate",
                 "args": [[None], still]},
            ],
        }],
        margin={"b": 8},
    )  # fmt: skip
    key = "memory_moving" if view.slots is None else "memory_slots_moving"
    facts = {"head": context.head, "rows": len(scene.rows), "lost": float(lost.mean()),
             "past": float(past.mean()), "full": float(theirs.mean()),
             "segment": view.segment, "count": scene.count,
             "length": view.length or 0}  # fmt: skip
    return Picture(key, shape, facts=facts, wide=True)
