"""What position adds to scores, by distance."""

from __future__ import annotations

from collections.abc import Iterator
from math import log
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import Theme, Words, array, figure, scale, template
from engine.kernels import positions
from engine.kernels.places import Fire, Stretched
from engine.mechanisms.relative import Relative
from engine.structure.bias import stretches, told_apart, window
from engine.text.tokens import escaped

HEIGHT = 340
DEEPEST = -10.0
"""Penalties are drawn to here: what is lower weighs less than 1/20,000 of its like."""
FEWEST = 8
"""Pairs that a mean is drawn of, at least; in a short text an eighth of the most."""


def pictures(view: Any, context: Context) -> Iterator[Picture]:
    """Of a Bias: what is added by distance, what that does to this text, and how it is made."""
    head, theme, t = context.head, context.theme, context.t
    far, value, logit = array(view.distance), array(view.value), array(view.logit)
    fewest = min(FEWEST, -(-int(view.pairs.max()) // FEWEST))
    at, content = stretches(far, logit - value, array(view.pairs), fewest)
    _, whole = stretches(far, logit, array(view.pairs), fewest)
    exact = view.kind in ("alibi", "t5")  # the same for every pair
    drawn = (far, value) if exact else stretches(far, value, array(view.pairs), fewest)
    facts: dict[str, Any] = {
        "head": head, "rows": len(view.rows), "origin": t(f"bias.origin.{view.origin}"),
        "reach": int(far.max()), "fewest": fewest,
        "target": t(f"bias.target.{view.origin}"),
    }  # fmt: skip
    half, grid = None, context.att.frame.grid
    if view.half_life is not None:
        half = float(view.half_life[head])
        slope, causal = log(2) / half, context.att.frame.causal
        spread = window(slope, causal)
        facts |= {"slope": slope, "half": half, "window": spread if grid is None else spread**2}
    elif view.decay is None:
        line = drawn[1][head]
        least, most = int(np.nanargmin(line)), int(np.nanargmax(line))
        facts |= {"low": line[least], "high": line[most],
                  "least": int(drawn[0][least]), "most": int(drawn[0][most])}  # fmt: skip
    kind = "learned" if view.kind in ("shaw", "music") else str(view.kind)
    kind = "rope" if view.decay is not None and kind != "nope" else kind
    kind += "" if grid is None else "_image"
    shapes = (
        by_distance(*drawn, head=head, half=half, theme=theme, t=t),
        logits(at, content[head], whole[head], theme=theme, t=t),
    )
    if grid is not None:
        for shape in shapes:
            shape.update_xaxes(title_text=escaped(t("bias.distance_image")))
    if view.counted is not None:
        yield _counting(view, far, fewest, context)
    if view.values is not None and isinstance(context.mechanism, Relative):
        yield _stretching(view, context.mechanism.fire, context)
    yield Picture(f"bias_{kind}", shapes[0], facts)
    yield Picture("bias_logit", shapes[1], facts)
    if view.decay is not None and view.kind != "nope":
        curve = array(view.decay)
        at = int(far.max())
        yield Picture(
            "bias_decay", decay(far, curve, theme=theme, t=t),
            facts | {"at": at, "value": float(curve[-1])},
        )  # fmt: skip
    if (longest := told_apart(context)) is not None and view.kind == "t5":
        causal = context.att.frame.causal
        yield Picture(
            "bias_buckets", staircase(longest, causal, theme=theme, t=t),
            {"longest": longest, "count": positions.BUCKETS if causal else positions.BUCKETS // 2},
        )  # fmt: skip
    if view.skew is not None:
        before, after = (array(x[head]) for x in view.skew)
        yield Picture(
            "bias_skew", skew(before, after, row=context.row, theme=theme, t=t),
            {"count": len(before), "head": head}, wide=True,
        )  # fmt: skip


def _counting(view: Any, far: np.ndarray, fewest: int, context: Context) -> Picture:
    """How many keys CoPE counts by distance, beside a count of all."""
    head, theme, t = context.head, context.theme, context.t
    back = far >= 0
    at, count = stretches(far[back], array(view.counted)[:, back], array(view.pairs)[back], fewest)
    shape = by_distance(at, count, head=head, half=None, theme=theme, t=t)
    shape.update_yaxes(title_text=escaped(t("bias.counted")))
    top = float(np.nanmax(count))
    shape.add_trace(
        go.Scatter(
            x=[-0.0, top], y=[0.0, top], mode="lines", hoverinfo="skip",
            line={"color": theme.faint, "width": 1, "dash": "dot"},
        )
    )  # fmt: skip
    shape.add_annotation(
        x=top, y=top, xanchor="left", yanchor="middle", showarrow=False, xshift=6,
        text=escaped(t("bias.all_count")), font={"color": theme.faint, "size": 13},
    )  # fmt: skip
    known = np.flatnonzero(~np.isnan(count[head]))
    last = int(known[-1])
    return Picture(
        "bias_counted", shape,
        {"head": head, "far": int(at[last]), "count": float(count[head, last]),
         "most": told_apart(context) or 0},
    )  # fmt: skip


def _stretching(view: Any, fire: Fire, context: Context) -> Picture:
    """FIRE's function on pasts of several lengths."""
    head, theme, t = context.head, context.theme, context.t
    values = view.values[head : head + 1].cpu()
    pasts = [fire.length * x for x in (1, 4, 16)]
    shape = figure(theme, HEIGHT)
    for past, colour in zip(pasts, (theme.accent, theme.weight[5], theme.weight[3]), strict=True):
        back = np.unique(np.geomspace(1, past, 96).round().astype(int))
        cols = past - torch.from_numpy(back)
        added = Stretched(values, fire, 0, None)(torch.tensor([past]), cols)[0, 0]
        shape.add_trace(
            go.Scatter(
                x=back, y=array(added), mode="lines", line={"color": colour, "width": 2},
                name=escaped(t("bias.past", past=past)),
                hovertemplate="%{x:,d}: %{y:.3f}<extra></extra>",
            )
        )  # fmt: skip
    shape.update_xaxes(type="log", showgrid=False, title_text=escaped(t("bias.distance")))
    shape.update_yaxes(title_text=escaped(t("bias.added")))
    return Picture("bias_stretched", shape, {"head": head, "length": fire.length})


def by_distance(
    distance: np.ndarray,
    value: np.ndarray,
    *,
    head: int,
    half: float | None,
    theme: Theme,
    t: Words,
) -> go.Figure:
    """(k) distances, (h k) what is added: a line a head, the chosen one last and in the accent."""
    shape = figure(theme, HEIGHT, showlegend=False)
    for h in sorted(range(len(value)), key=lambda h: h == head):
        chosen = h == head
        shape.add_trace(
            go.Scatter(
                x=distance, y=value[h], mode="lines", name=escaped(t("head.name", head=h)),
                line={"color": theme.accent, "width": 2.5} if chosen else
                {"color": theme.quiet, "width": 1},
                opacity=1 if chosen else 0.6,
                hovertemplate=f"{escaped(t('head.name', head=h))}<br>%{{x:,.0f}}: %{{y:.3f}}"
                "<extra></extra>",
            )
        )  # fmt: skip
    _distance_axis(shape, distance, t)
    shape.update_yaxes(title_text=escaped(t("bias.added")))
    if half is not None:
        low = max(DEEPEST, float(np.nanmin(value)))
        # as far as the chosen head's line comes down to the lowest that is drawn
        wide = min(float(np.abs(distance).max()), max(8.0, -low / log(2) * half))
        shape.update_xaxes(range=[-wide if distance[0] < 0 else 0, wide])
        shape.update_yaxes(range=[low, -0.04 * low])
        if half <= wide:
            shape.add_vline(x=half, line={"color": theme.faint, "width": 1, "dash": "dot"})
            shape.add_annotation(
                x=half, y=1, yref="paper", xanchor="left", yanchor="bottom", showarrow=False,
                text=escaped(t("bias.half", half=half)), font={"color": theme.faint, "size": 13},
            )  # fmt: skip
        shape.update_layout(margin={"t": 28})
    return shape


def _distance_axis(shape: go.Figure, distance: np.ndarray, t: Words) -> None:
    both = bool(distance[0] < 0)
    title = t("bias.distance_both" if both else "bias.distance")
    shape.update_xaxes(title_text=escaped(title), showgrid=False, tickformat=",d")
    if both:
        shape.update_xaxes(zeroline=True)
    if len(distance) < 8:
        shape.update_xaxes(dtick=1)


def logits(
    distance: np.ndarray,
    content: np.ndarray,
    whole: np.ndarray,
    *,
    theme: Theme,
    t: Words,
) -> go.Figure:
    """Mean logit by distance without position and with it, (k) each."""
    shape = figure(theme, HEIGHT, hovermode="x unified")
    for values, name, line in (
        (content, "bias.content", {"color": theme.faint, "width": 1.2}),
        (whole, "bias.whole", {"color": theme.accent, "width": 2}),
    ):
        shape.add_trace(
            go.Scatter(
                x=distance, y=values, mode="lines", name=escaped(t(name)), line=line,
                hovertemplate="%{y:.2f}",
            )
        )  # fmt: skip
    _distance_axis(shape, distance, t)
    shape.update_yaxes(title_text=escaped(t("bias.mean_logit")))
    return shape


def decay(distance: np.ndarray, curve: np.ndarray, *, theme: Theme, t: Words) -> go.Figure:
    """RoPE's mean of q · R k over unit q = k, (k)."""
    shape = figure(theme, HEIGHT, showlegend=False)
    shape.add_trace(
        go.Scatter(
            x=distance, y=curve, mode="lines", line={"color": theme.weight[5], "width": 2},
            hovertemplate="%{x:,d}: %{y:.3f}<extra></extra>",
        )
    )  # fmt: skip
    _distance_axis(shape, distance, t)
    shape.update_yaxes(title_text=escaped(t("bias.unit_score")), range=[-0.3, 1.05])
    return shape


def staircase(longest: int, causal: bool, *, theme: Theme, t: Words) -> go.Figure:
    """T5's bucket of each distance, to twice the largest that is told apart."""
    far = torch.arange(1, 2 * max(longest, 16) + 1)
    shape = figure(theme, HEIGHT, showlegend=not causal)
    sides = [(far, "bias.back", theme.weight[5])]
    if not causal:
        sides.append((-far, "bias.ahead", theme.weight[3]))
    for signed, name, colour in sides:
        shape.add_trace(
            go.Scatter(
                x=array(far), y=array(positions.buckets(signed, causal, longest)), mode="lines",
                line={"shape": "hvh", "color": colour, "width": 2}, name=escaped(t(name)),
                hovertemplate="%{x:,d}: %{y}<extra></extra>",
            )
        )  # fmt: skip
    shape.add_vline(x=longest, line={"color": theme.accent, "width": 1.5, "dash": "dot"})
    shape.add_annotation(
        x=np.log10(longest), y=0, yref="paper", xanchor="right", yanchor="bottom", xshift=-6,
        showarrow=False, font={"color": theme.accent, "size": 13},
        text=escaped(t("mechanism.relative.param.max_distance")),
    )  # fmt: skip
    powers = [2**p for p in range(int(np.log2(float(far[-1]))) + 1)]
    shape.update_xaxes(
        type="log", showgrid=False, tickvals=powers,
        title_text=escaped(t("bias.distance" if causal else "bias.distance_any")),
        ticktext=[f"{p:,}" for p in powers],
    )  # fmt: skip
    shape.update_yaxes(title_text=escaped(t("bias.bucket")), range=[-0.7, positions.BUCKETS])
    return shape


def skew(before: np.ndarray, after: np.ndarray, *, row: int, theme: Theme, t: Words) -> go.Figure:
    """Products with embeddings a column a distance, and the same a column a key, (a a) each.

    What belongs to no pair is grey: distances that reach before the text, and, skewed, what is
    left over above the diagonal.
    """
    n = len(before)
    i, c = np.indices((n, n))
    top = float(np.abs(np.where(c <= i, after, 0)).max()) or 1.0
    shape = make_subplots(
        rows=1, cols=2, horizontal_spacing=0.12,
        subplot_titles=[escaped(t(f"bias.skew.{name}")) for name in ("before", "after")],
    )  # fmt: skip
    for col, (values, real) in enumerate(((before, c >= n - 1 - i), (after, c <= i)), start=1):
        across = n - 1 - np.arange(n) if col == 1 else np.arange(n)
        shape.add_trace(
            go.Heatmap(
                z=np.where(real, np.nan, 1.0), x=across, showscale=False, hoverinfo="skip",
                colorscale=[[0, theme.grid], [1, theme.grid]],
            ),
            row=1, col=col,
        )  # fmt: skip
        shape.add_trace(
            go.Heatmap(
                z=np.where(real, values, np.nan), x=across, zmin=-top, zmax=top,
                colorscale=scale(theme.signed), showscale=col == 2,
                colorbar={"thickness": 10, "outlinewidth": 0, "len": 0.8,
                          "title": {"text": escaped(t("bias.added")), "side": "right"}},
                hovertemplate="%{y} , %{x}: %{z:.3f}<extra></extra>",
            ),
            row=1, col=col,
        )  # fmt: skip
        if row < n:
            ends = (-0.5, n - 0.5)
            shape.add_shape(
                type="rect", x0=ends[0], x1=ends[1], y0=row - 0.5, y1=row + 0.5,
                line={"color": theme.accent, "width": 1.5}, row=1, col=col,
            )  # fmt: skip
    shape.update_layout(template=template(theme), height=400, margin={"t": 34})
    shape.update_xaxes(showgrid=False, zeroline=False)
    shape.update_xaxes(title_text=escaped(t("bias.distance")), range=[n - 0.5, -0.5], row=1, col=1)
    shape.update_xaxes(title_text=escaped(t("axis.keys")), range=[-0.5, n - 0.5], row=1, col=2)
    shape.update_yaxes(
        title_text=escaped(t("axis.queries")),
        range=[n - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
    )
    shape.update_annotations(font={"size": 13, "color": theme.faint})
    return shape
