"""What a recurrent memory reaches, holds and loses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go

from engine.contract.views import Memory
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import array, figure, scale
from engine.figures.structure import slots
from engine.figures.structure.memory_moving import kinds_of, moving, title
from engine.structure.memory import KEPT, LAYERS, OUT, OWN, Scene, reaches
from engine.text.tokens import escaped, isolated


def pictures(view: Memory, context: Context) -> Iterator[Picture]:
    """The pictures of one memory, for the head and row that were chosen."""
    if context.qkv is None:
        return
    scene = Scene(view, context, context.qkv)
    if len(scene.rows) == 0:
        return
    if view.slots is None and view.length is None:  # one matrix, which keeps no key by itself
        yield by_age(scene, context)
        yield segments(scene, context)
        return
    yield moving(scene, context)
    yield by_age(scene, context)
    if view.slots is None:
        if view.length:
            yield depth(scene, context)
    else:
        if scene.segment_of(context.row) > 0 and view.slots.held.shape[-1]:
            yield slots.held(scene, view.slots, context)
        if view.slots.drift.shape[1] > 1:
            yield slots.drift(scene, view.slots, context)
    yield segments(scene, context)
    yield text(scene, context) if view.slots is None else slots.text(scene, view.slots, context)


def by_age(scene: Scene, context: Context) -> Picture:
    """Mass by how long ago, beside full attention's."""
    view, t, theme = scene.view, context.t, context.theme
    edges, (here, full) = array(view.ages), scene.by_age()
    last = int(np.flatnonzero(np.maximum(here, full) > 0).max(initial=0)) + 1
    names = [
        f"{a:,}" if b == a + 1 else f"{a:,}–{b - 1:,}" for a, b in pairwise(edges[: last + 1])
    ]
    x = list(range(last))
    shape = figure(theme, 330, bargap=0.15, hovermode="x unified")
    shape.add_trace(
        go.Bar(
            x=x, y=here[:last], name=escaped(t("memory.here")),
            marker={"color": theme.quiet, "line": {"width": 0}}, hovertemplate="%{y:.2%}",
        )
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=x, y=full[:last], name=escaped(t("memory.full")), mode="lines+markers",
            line={"color": theme.ink, "width": 1.5, "dash": "dot"}, marker={"size": 5},
            hovertemplate="%{y:.2%}",
        )
    )  # fmt: skip
    if view.length is not None:
        # the oldest key that any row reaches is memory + segment − 1 tokens away
        edge = float(np.log2(view.length + view.segment)) + 0.5
        if edge < last - 0.5:
            shape.add_vrect(
                x0=edge, x1=last - 0.5, fillcolor=theme.faint, opacity=0.16, line_width=0,
                layer="below", annotation_text=escaped(t("memory.out")),
                annotation_position="top right", annotation_font_color=theme.faint,
            )  # fmt: skip
    shape.update_xaxes(
        title_text=escaped(t("memory.axis.age")), showgrid=False, tickvals=x, ticktext=names,
        range=[-0.5, last - 0.5], tickfont={"size": 11}, tickangle=0 if last <= 8 else None,
    )  # fmt: skip
    shape.update_yaxes(
        title_text=escaped(t("memory.axis.mass")), tickformat=".0%", rangemode="tozero"
    )
    past, theirs = scene.past_mass
    facts = {
        "head": context.head, "rows": len(scene.rows), "length": view.length or 0,
        "segment": view.segment, "limit": (view.length or 0) + view.segment - 1,
        "lost": float(scene.lost.mean()), "past": float(past.mean()), "full": float(theirs.mean()),
    }  # fmt: skip
    return Picture(f"memory{_kind(view)}_age", shape, facts)


def segments(scene: Scene, context: Context) -> Picture:
    """Mean mass from segment to segment, full attention's beside it."""
    view, t, theme = scene.view, context.t, context.theme
    rows, begins = np.unique(scene.parts), scene.key_parts
    *found, gone = scene.between()
    top = float(max(x.max() for x in found)) or 1.0
    down, across = ([title(scene, int(p)) for p in x] for x in (rows, range(len(begins))))
    shape = figure(theme, 420)
    for i, (cells, name) in enumerate(zip(found, ("memory.here", "memory.full"), strict=True)):
        axes = {"xaxis": f"x{i + 1}", "yaxis": f"y{i + 1}"}
        shape.add_trace(
            go.Heatmap(
                z=np.where(cells > 0, cells, np.nan).astype(np.float32),
                x=list(range(len(across))), y=list(range(len(down))), zmin=0, zmax=top,
                colorscale=scale(theme.weight), showscale=i == 1, hoverongaps=False, **axes,
                colorbar={"title": {"text": escaped(t("memory.axis.mass")), "side": "right"},
                          "thickness": 10, "outlinewidth": 0, "len": 0.7, "tickformat": ".0%"},
                customdata=[[f"{a} → {b}" for b in across] for a in down],
                hovertemplate="%{customdata}<br>%{z:.1%}<extra></extra>",
            )
        )  # fmt: skip
        shape.add_annotation(
            text=escaped(t(name)), showarrow=False, xref="x domain" if i == 0 else "x2 domain",
            yref="y domain", x=0, y=1.02, yanchor="bottom", xanchor="left",
            font={"size": 14, "color": theme.ink},
        )  # fmt: skip
    if gone.any():
        shape.add_trace(
            go.Heatmap(
                z=np.where(gone, 1.0, np.nan).astype(np.float32), hoverinfo="skip",
                colorscale=[[0, theme.faint], [1, theme.faint]], opacity=0.16, showscale=False,
            )
        )  # fmt: skip
        y, x = np.nonzero(gone)
        shape.add_trace(
            go.Scatter(
                x=x, y=y, mode="markers", hoverinfo="skip", xaxis="x2", yaxis="y2",
                name=escaped(t("memory.out")),
                marker={"symbol": "line-ne-open", "size": max(6, 150 // len(across)),
                        "color": theme.faint, "opacity": 0.55, "line": {"width": 1}},
            )
        )  # fmt: skip
    common: dict[str, Any] = {"showgrid": False, "zeroline": False, "tickmode": "array"}
    step = -(-len(across) // 8)
    ticks = {"tickvals": list(range(0, len(across), step)), "ticktext": across[::step]}
    high = -(-len(down) // 8)
    shape.update_layout(
        showlegend=False,
        xaxis={"domain": [0, 0.47], "range": [-0.5, len(across) - 0.5], **common, **ticks,
               "title": {"text": escaped(t("memory.axis.read"))}},
        xaxis2={"domain": [0.53, 1], "anchor": "y2", **common, **ticks,
                "range": [-0.5, len(across) - 0.5],
                "title": {"text": escaped(t("memory.axis.read"))}},
        yaxis={"range": [len(down) - 0.5, -0.5], **common,
               "tickvals": list(range(0, len(down), high)), "ticktext": down[::high],
               "title": {"text": escaped(t("memory.axis.reading"))}},
        yaxis2={"range": [len(down) - 0.5, -0.5], **common, "showticklabels": False,
                "anchor": "x2"},
        margin={"t": 40},
    )  # fmt: skip
    own = np.array([found[0][i, p] if p < len(begins) else 0.0 for i, p in enumerate(rows)])
    theirs = np.array([found[1][i, p] if p < len(begins) else 0.0 for i, p in enumerate(rows)])
    facts = {"head": context.head, "rows": len(scene.rows), "per": scene.per,
             "count": scene.count, "segment": view.segment, "own": float(own.mean()),
             "full": float(theirs.mean()),
             "lost": float((found[1] * gone).sum(1).mean())}  # fmt: skip
    return Picture(f"memory{_kind(view)}_segments", shape, facts, wide=True)


def _kind(view: Memory) -> str:
    """Which words are said of it."""
    if view.slots is not None:
        return "_slots"
    return "_matrix" if view.length is None else ""


def depth(scene: Scene, context: Context) -> Picture:
    """How far back the chosen row hears through more and more layers."""
    view, qkv, t, theme = scene.view, scene.qkv, context.t, context.theme
    row, length = context.row + qkv.frame.offset, view.length or 0
    row = min(max(row, 0), qkv.m - 1)
    found = reaches(row, view.segment, length, LAYERS)
    enough = next((i + 1 for i, x in enumerate(found) if x == 0), LAYERS)
    found = found[: max(enough, min(4, LAYERS))]
    layers = list(range(1, len(found) + 1))
    end = row if qkv.causal else min(qkv.m, (row // view.segment + 1) * view.segment) - 1
    tokens = context.tokens
    said = [f"{isolated(tokens[x])} {x:,}" if tokens is not None else f"{x:,}" for x in found]
    shape = figure(theme, 330, bargap=0.35)
    shape.add_trace(
        go.Bar(
            orientation="h", y=layers, base=found, x=[end + 1 - x for x in found],
            marker={"color": theme.quiet, "line": {"width": 0}}, showlegend=False,
            customdata=[escaped(x) for x in said],
            hovertemplate=escaped(t("memory.axis.layers")) + " %{y}<br>%{customdata}"
            "<extra></extra>",
        )
    )  # fmt: skip
    begin = row // view.segment * view.segment
    rule = [max(0, begin - k * length) for k in layers]
    shape.add_trace(
        go.Scatter(
            x=rule, y=layers, mode="markers", name=escaped(t("memory.rule")),
            marker={
                "symbol": "line-ns-open", "size": 16, "color": theme.ink, "line": {"width": 2}
            },
            hovertemplate=escaped(t("memory.rule")) + " %{x:,d}<extra></extra>",
        )
    )  # fmt: skip
    shape.add_vline(x=row, line={"color": theme.accent, "width": 1.5})
    shape.update_xaxes(
        title_text=escaped(t("axis.position")),
        tickformat=",d",
        range=[-0.5, end + 0.5 + max(1, end // 20)],
    )
    shape.update_yaxes(
        title_text=escaped(t("memory.axis.layers")), autorange="reversed", dtick=1, showgrid=False
    )
    shape.update_layout(showlegend=True)
    step = -(-length // view.segment) * view.segment
    facts = {"row": row, "first": found[0], "layers": layers[-1], "last": found[-1],
             "step": step, "length": length, "segment": view.segment}  # fmt: skip
    return Picture("memory_depth", shape, facts)


def text(scene: Scene, context: Context) -> Picture:
    """The text by what each key is to the chosen row; what is hidden is in no class."""
    kinds = scene.kinds([context.row])
    if context.att.hidden_keys is not None:
        kinds[array(context.att.hidden_keys)] = -1
    names = kinds_of(scene, context)[0]
    own, kept, out = (int((kinds == kind).sum()) for kind in (OWN, KEPT, OUT))
    order = {KEPT: 0, OWN: 1}  # in the colours of the moving window
    return Picture(
        "memory_text", wide=True, names=[names[KEPT], names[OWN]],
        labels=[order.get(kind, -1) for kind in kinds.tolist()],
        facts={"row": context.row, "own": own, "kept": kept, "out": out},
    )  # fmt: skip
