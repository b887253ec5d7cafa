"""What segments cut off of full attention, and what summaries bring across."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import plotly.graph_objects as go
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract.views import Segments
from engine.figures.attention.groups import groups
from engine.figures.attention.heatmap import heatmap
from engine.figures.attention.rows import stretches
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import Theme, Words, figure
from engine.structure.highlights import group_names
from engine.structure.segments import across, cut, of_keys
from engine.text.tokens import escaped


def bounded(
    cells: Float[Tensor, "a b"],
    bounds: Int[Tensor, "S 2"],
    frame: tuple[int, int, int],
    *,
    theme: Theme,
    t: Words,
) -> go.Figure:
    """Full attention with what a row of each segment sees of it outlined.

    Args:
        cells: its pooled map. bounds: the segments. frame: n, m, and where query 0 stands.
    """
    n, m, offset = frame
    xs: list[float | None] = []
    ys: list[float | None] = []
    for start, stop in bounds.tolist():
        low, high = max(0, start - offset), min(n, stop - offset)
        if low < high:
            xs += [start - 0.5, stop - 0.5, stop - 0.5, start - 0.5, start - 0.5, None]
            ys += [low - 0.5, low - 0.5, high - 0.5, high - 0.5, low - 0.5, None]
    return outlined(cells, xs, ys, (n, m), theme=theme, t=t)


def outlined(
    cells: Float[Tensor, "a b"],
    xs: Sequence[float | None],
    ys: Sequence[float | None],
    size: tuple[int, int],
    *,
    theme: Theme,
    t: Words,
) -> go.Figure:
    """Full attention's pooled map of n queries and m keys under lines of what a row sees."""
    n, m = size
    shape = heatmap(
        cells, theme=theme, t=t, rows=(0, n), cols=(0, m), colour="log", pool="max", height=420
    )
    shape.layout.annotations = ()  # rows may be a sample: the caption says what cells are
    shape.add_trace(
        go.Scatter(
            x=xs, y=ys, mode="lines", line={"color": theme.accent, "width": 1.5}, hoverinfo="skip",
            showlegend=False,
        )
    )  # fmt: skip
    return shape


def lost(
    at: Int[Tensor, " r"], shares: dict[str, Float[Tensor, " r"]], *, theme: Theme, t: Words
) -> go.Figure:
    """Full attention's mass along the text, by how the row may still read it: adds up to all.

    Args:
        at: query positions. shares: of each, by the names of the tints.
    """
    tints = {
        "own": theme.quiet, "window": theme.quiet, "sinks": theme.weight[6],
        "summary": theme.weight[2], "lost": theme.grid,
    }  # fmt: skip
    along = stretches(at[None].double().numpy())[1][0]
    shape = figure(theme, 300, hovermode="x unified")
    for name, share in shares.items():
        shape.add_trace(
            go.Scatter(
                x=along, y=stretches(share[None].double().numpy())[1][0], mode="lines",
                stackgroup="all", name=escaped(t(f"segments.{name}")), line={"width": 0},
                fillcolor=tints[name], hovertemplate="%{y:.1%}",
            )
        )  # fmt: skip
    shape.update_xaxes(title_text=escaped(t("axis.position")), showgrid=False)
    shape.update_yaxes(
        title_text=escaped(t("axis.full_mass")), range=[0, 1], tickformat=".0%", nticks=5
    )
    return shape


def pictures(view: Segments, context: Context) -> Iterator[Picture]:
    """Cuts over full attention, mass between segments, what rows lost, summaries."""
    frame, theme, t = context.att.frame, context.theme, context.t
    if context.qkv is None:
        return
    found = cut(context.full(), view.bounds)
    gone = (found.reached - found.kept).clamp_min(0)
    names = group_names(context.tokens, found.label, frame.grid)
    here = int(found.label[min(max(0, context.row + frame.offset), frame.m - 1)])
    notes = ""
    if len(found.rows) < frame.n:
        notes += t("segments.sampled", rows=len(found.rows), n=frame.n)
    facts = {
        "notes": notes, "count": len(view.bounds),
        "lost": float(gone.sum() / found.reached.sum().clamp_min(1e-9)),
    }  # fmt: skip
    drawn = {"names": names, "row": here, "theme": theme, "t": t,
             "patches": frame.grid is not None}  # fmt: skip
    sizes = (frame.n, frame.m, frame.offset)
    yield Picture("segments_cut", bounded(found.map, view.bounds, sizes, theme=theme, t=t), facts)
    merged = t("segments.together", together=found.together) if found.together > 1 else ""
    yield Picture("segments_mass", groups(found.mass, **drawn), facts | {"notes": merged + notes})
    worst = int(gone.argmax())
    most = {"most": float(gone[worst]), "at": int(found.rows[worst])}
    integrated = view.summary is not None
    shares = {"own": found.kept, "summary" if integrated else "lost": gone}
    yield Picture(
        "segments_reach" if integrated else "segments_lost",
        lost(found.rows, shares, theme=theme, t=t),
        facts | most,
    )
    if view.summary is not None:
        weight, mean = across(context, view, found.together)
        yield Picture("segments_summary", groups(weight, **drawn), {"mean": mean, "notes": merged})
    if context.tokens is not None:
        label = of_keys(view.bounds).tolist()
        yield Picture("segments_text", facts=facts, labels=label, wide=True)
