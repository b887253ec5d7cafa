"""What position adds to scores, by distance; and scores that are no dot products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log, tanh
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torch import Tensor

from engine.contract import QKV
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import Theme, Words, array, figure, scale, template
from engine.kernels import positions
from engine.kernels.composed import Composed
from engine.mechanisms.additive import Additive, split
from engine.mechanisms.gaussian import Gaussian
from engine.mechanisms.relative import Relative
from engine.text.tokens import escaped, isolated

HEIGHT = 340
DEEPEST = -10.0
"""Penalties are drawn to here: what is lower weighs less than 1/20,000 of its like."""
FEWEST = 8
"""Pairs that a mean is drawn of, at least; in a short text an eighth of the most."""
ALONE, PER_FOLD = 48, 24
"""Distances that have a mean of their own; stretches further out, each time distance doubles."""
POINTS = 1500
"""Keys of a row that are drawn one by one."""
CELLS = 60
"""Cells a side of a density."""


def pictures(view: Any, context: Context) -> Iterator[Picture]:
    """Of a Bias: what is added by distance, what that does to this text, and how it is made."""
    head, look, t = context.head, context.look, context.t
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
    half = None
    if view.half_life is not None:
        half = float(view.half_life[head])
        slope, causal = log(2) / half, context.att.frame.causal
        facts |= {"slope": slope, "half": half, "window": window(slope, causal)}
    elif view.kind != "rope":
        line = drawn[1][head]
        least, most = int(np.nanargmin(line)), int(np.nanargmax(line))
        facts |= {"low": line[least], "high": line[most],
                  "least": int(drawn[0][least]), "most": int(drawn[0][most])}  # fmt: skip
    kind = {"shaw": "learned", "music": "learned"}.get(view.kind, view.kind)
    yield Picture(f"bias_{kind}", by_distance(*drawn, head=head, half=half, look=look, t=t), facts)
    yield Picture("bias_logit", logits(at, content[head], whole[head], look=look, t=t), facts)
    if view.decay is not None:
        curve = array(view.decay)
        at = int(far.max())
        yield Picture(
            "bias_decay", decay(far, curve, look=look, t=t),
            facts | {"at": at, "value": float(curve[-1])},
        )  # fmt: skip
    if view.kind == "t5" and isinstance(context.mechanism, Relative):
        longest, causal = context.mechanism.max_distance, context.att.frame.causal
        yield Picture(
            "bias_buckets", staircase(longest, causal, look=look, t=t),
            {"longest": longest, "count": positions.BUCKETS if causal else positions.BUCKETS // 2},
        )  # fmt: skip
    if view.skew is not None:
        before, after = (array(x[head]) for x in view.skew)
        yield Picture(
            "bias_skew", skew(before, after, row=context.row, look=look, t=t),
            {"count": len(before), "head": head}, wide=True,
        )  # fmt: skip


def window(slope: float, causal: bool) -> float:
    """Participation ratio of ALiBi's weights where all scores are equal, in a long text."""
    one = 1 / tanh(slope / 2)
    return one if causal else one**2 * tanh(slope)


def stretches(
    distance: np.ndarray, means: np.ndarray, pairs: np.ndarray, fewest: int
) -> tuple[np.ndarray, np.ndarray]:
    """(k) distances and (h k) means over stretches that grow with distance; NaN of too few pairs.

    The nearest distances stand by themselves.
    """
    side = np.where(
        np.abs(distance) <= ALONE, np.abs(distance),
        ALONE + np.ceil(PER_FOLD * np.log2(np.maximum(np.abs(distance), 1) / ALONE)),
    ) * np.sign(distance)  # fmt: skip
    _, first = np.unique(side, return_index=True)
    count = np.add.reduceat(pairs, first)
    total = np.add.reduceat(np.where(pairs > 0, means, 0) * pairs, first, axis=-1)
    middle = np.add.reduceat(distance, first) / np.diff([*first, len(distance)])
    return middle, np.where(count >= fewest, total / np.maximum(count, 1), np.nan)


def by_distance(
    distance: np.ndarray,
    value: np.ndarray,
    *,
    head: int,
    half: float | None,
    look: Theme,
    t: Words,
) -> go.Figure:
    """(k) distances, (h k) what is added: a line a head, the chosen one last and in the accent."""
    shape = figure(look, HEIGHT, showlegend=False)
    for h in sorted(range(len(value)), key=lambda h: h == head):
        chosen = h == head
        shape.add_trace(
            go.Scatter(
                x=distance, y=value[h], mode="lines", name=escaped(t("head.name", head=h)),
                line={"color": look.accent, "width": 2.5} if chosen else
                {"color": look.quiet, "width": 1},
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
            shape.add_vline(x=half, line={"color": look.faint, "width": 1, "dash": "dot"})
            shape.add_annotation(
                x=half, y=1, yref="paper", xanchor="left", yanchor="bottom", showarrow=False,
                text=escaped(t("bias.half", half=half)), font={"color": look.faint, "size": 13},
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
    look: Theme,
    t: Words,
) -> go.Figure:
    """Mean logit by distance without position and with it, (k) each."""
    shape = figure(look, HEIGHT, hovermode="x unified")
    for values, name, line in (
        (content, "bias.content", {"color": look.faint, "width": 1.2}),
        (whole, "bias.whole", {"color": look.accent, "width": 2}),
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


def decay(distance: np.ndarray, curve: np.ndarray, *, look: Theme, t: Words) -> go.Figure:
    """RoPE's mean of q · R k over unit q = k, (k)."""
    shape = figure(look, HEIGHT, showlegend=False)
    shape.add_trace(
        go.Scatter(
            x=distance, y=curve, mode="lines", line={"color": look.weight[5], "width": 2},
            hovertemplate="%{x:,d}: %{y:.3f}<extra></extra>",
        )
    )  # fmt: skip
    _distance_axis(shape, distance, t)
    shape.update_yaxes(title_text=escaped(t("bias.unit_score")), range=[-0.3, 1.05])
    return shape


def staircase(longest: int, causal: bool, *, look: Theme, t: Words) -> go.Figure:
    """T5's bucket of each distance, to twice the largest that is told apart."""
    far = torch.arange(1, 2 * max(longest, 16) + 1)
    shape = figure(look, HEIGHT, showlegend=not causal)
    sides = [(far, "bias.back", look.weight[5])]
    if not causal:
        sides.append((-far, "bias.ahead", look.weight[3]))
    for signed, name, colour in sides:
        shape.add_trace(
            go.Scatter(
                x=array(far), y=array(positions.buckets(signed, causal, longest)), mode="lines",
                line={"shape": "hvh", "color": colour, "width": 2}, name=escaped(t(name)),
                hovertemplate="%{x:,d}: %{y}<extra></extra>",
            )
        )  # fmt: skip
    shape.add_vline(x=longest, line={"color": look.accent, "width": 1.5, "dash": "dot"})
    shape.add_annotation(
        x=np.log10(longest), y=0, yref="paper", xanchor="right", yanchor="bottom", xshift=-6,
        showarrow=False, font={"color": look.accent, "size": 13},
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


def skew(before: np.ndarray, after: np.ndarray, *, row: int, look: Theme, t: Words) -> go.Figure:
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
                colorscale=[[0, look.grid], [1, look.grid]],
            ),
            row=1, col=col,
        )  # fmt: skip
        shape.add_trace(
            go.Heatmap(
                z=np.where(real, values, np.nan), x=across, zmin=-top, zmax=top,
                colorscale=scale(look.signed), showscale=col == 2,
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
                line={"color": look.accent, "width": 1.5}, row=1, col=col,
            )  # fmt: skip
    shape.update_layout(template=template(look), height=400, margin={"t": 34})
    shape.update_xaxes(showgrid=False, zeroline=False)
    shape.update_xaxes(title_text=escaped(t("bias.distance")), range=[n - 0.5, -0.5], row=1, col=1)
    shape.update_xaxes(title_text=escaped(t("axis.keys")), range=[-0.5, n - 0.5], row=1, col=2)
    shape.update_yaxes(
        title_text=escaped(t("axis.queries")),
        range=[n - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
    )
    shape.update_annotations(font={"size": 13, "color": look.faint})
    return shape


def scorings(context: Context) -> Iterator[Picture]:
    """Of additive scores and of a Gaussian kernel; none of other mechanisms."""
    mechanism, qkv, att = context.mechanism, context.qkv, context.att
    if isinstance(mechanism, Additive) and isinstance(att, Composed) and att.fidelity is not None:
        yield _following(context, mechanism, att)
    if isinstance(mechanism, Gaussian) and qkv is not None:
        yield from _kernel(context, mechanism, qkv)


def _following(context: Context, mechanism: Additive, att: Composed) -> Picture:
    """Scores on queries held out, as the fidelity was measured."""
    qkv, h = att.qkv, context.head
    assert att.fidelity is not None
    _, held, keys = split(qkv, mechanism.seed)
    seen = qkv.frame.visible(held, keys)
    seen = torch.ones(len(held), len(keys), dtype=torch.bool) if seen is None else seen.cpu()
    made = att.scores(slice(0, qkv.heads), held, keys)[h].cpu()
    own = Composed(qkv, att.pattern).scores(slice(0, qkv.heads), held, keys)[h].cpu()
    x, y = (array(less_mean(z, seen)[seen]) for z in (own, made))
    r2 = float(att.fidelity.value[h])
    quality = "good" if r2 >= 0.9 else "fair" if r2 >= 0.5 else "poor"
    return Picture(
        "additive_scores", density(x, y, look=context.look, t=context.t),
        {"head": h, "r2": r2, "pairs": len(x), "rows": len(held), "hidden": mechanism.hidden,
         "quality": context.t(f"additive.{quality}")},
    )  # fmt: skip


def less_mean(scores: Tensor, seen: Tensor) -> Tensor:
    """(r c) scores less their row's mean over pairs that are seen."""
    each = seen.sum(-1, keepdim=True).clamp_min(1)
    return scores - (scores * seen).sum(-1, keepdim=True) / each


def density(x: np.ndarray, y: np.ndarray, *, look: Theme, t: Words) -> go.Figure:
    """Pairs by their own score and the network's, as counts in cells; equal ones on the line."""
    low, high = (float(f(np.quantile(z, share) for z in (x, y))) for f, share in
                 ((min, 0.0005), (max, 0.9995)))  # fmt: skip
    low, high = low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1)
    counts, edges, _ = np.histogram2d(x, y, bins=CELLS, range=[[low, high]] * 2)
    middle = (edges[1:] + edges[:-1]) / 2
    powers = range(int(np.log10(max(counts.max(), 1))) + 1)
    shape = figure(look, 380, showlegend=False)
    shape.add_trace(
        go.Heatmap(
            x=middle, y=middle, z=np.where(counts.T > 0, np.log10(np.maximum(counts.T, 1)) + 0.3,
                                           np.nan),
            customdata=counts.T, zmin=0, colorscale=scale(look.weight),
            colorbar={"thickness": 10, "outlinewidth": 0, "len": 0.7,
                      "tickvals": [p + 0.3 for p in powers],
                      "ticktext": [f"{10**p:,}" for p in powers],
                      "title": {"text": escaped(t("additive.pairs")), "side": "right"}},
            hovertemplate="%{x:.2f} → %{y:.2f}: %{customdata:,d}<extra></extra>",
        )
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=[low, high], y=[low, high], mode="lines", hoverinfo="skip",
            line={"color": look.faint, "width": 1.5, "dash": "dot"},
        )
    )  # fmt: skip
    shape.update_xaxes(title_text=escaped(t("additive.own")), range=[low, high])
    shape.update_yaxes(
        title_text=escaped(t("additive.made")),
        range=[low, high],
        scaleanchor="x",
        constrain="domain",
    )
    shape.update_xaxes(constrain="domain")
    return shape


def _kernel(context: Context, mechanism: Gaussian, qkv: QKV) -> Iterator[Picture]:
    frame, row, h = context.att.frame, context.row, context.head
    at, keys = torch.tensor([row]), torch.arange(frame.m)
    visible = frame.visible(at.to(qkv.device), keys.to(qkv.device))
    seen = np.ones(frame.m, bool) if visible is None else array(visible[0])
    weights = array(context.att.weights(slice(row, row + 1))[h, 0]).astype(float)
    if not seen.any() or qkv.bias is not None or weights.sum() == 0:
        return  # a bias makes weights that no distance tells of
    one = qkv.head(h)
    far = array((one.q[0, row].double() - one.k[0].double()).norm(dim=-1)).astype(float)
    total = float(np.exp(-(far[seen] ** 2 - far[seen].min() ** 2) / 2 / mechanism.width**2).sum())
    p = weights[seen] / weights[seen].sum()
    spread = float(np.exp(-(p[p > 0] * np.log(p[p > 0])).sum()))
    yield Picture(
        "gaussian_kernel",
        kernel(
            far, weights, seen, mechanism.width, total,
            keys=context.tokens, look=context.look, t=context.t,
        ),
        {"row": row, "head": h, "width": mechanism.width, "near": far[seen].min(),
         "typical": float(np.median(far[seen])), "n": int(seen.sum()), "effective": spread,
         "largest": weights.max(), "drawn": min(POINTS, int(seen.sum()))},
    )  # fmt: skip


def kernel(
    far: np.ndarray,
    weights: np.ndarray,
    seen: np.ndarray,
    width: float,
    total: float,
    *,
    keys: Sequence[str] | None,
    look: Theme,
    t: Words,
) -> go.Figure:
    """Weights of one row's keys by their distance, on the kernel.

    Args:
        far, weights, seen: (m) distances, weights, and which keys the row may see.
        total: the kernel's sum over these, where the nearest counts 1.
    """
    at = np.flatnonzero(seen)
    if len(at) > POINTS:  # the heaviest, and others at even steps of distance
        order = at[np.argsort(-weights[at])]
        rest = order[POINTS // 2 :]
        rest = rest[np.argsort(far[rest])]
        even = np.linspace(0, len(rest) - 1, POINTS - POINTS // 2).astype(int)
        at = np.concatenate([order[: POINTS // 2], rest[even]])
    near, wide = float(far[at].min()), float(far[at].max())
    x = np.linspace(near, max(wide, near + 1e-6), 300)
    shape = figure(look, HEIGHT, showlegend=False)
    shape.add_trace(
        go.Scatter(
            x=x, y=np.exp(-(x**2 - near**2) / 2 / width**2) / total, mode="lines",
            line={"color": look.faint, "width": 1.5}, hoverinfo="skip",
        )
    )  # fmt: skip
    names = [escaped(f"{isolated(keys[i])} {i:,}" if keys else f"{i:,}") for i in at.tolist()]
    shape.add_trace(
        go.Scatter(
            x=far[at], y=weights[at], mode="markers", text=names,
            marker={"color": look.accent, "size": 7, "opacity": 0.55},
            hovertemplate="%{text}<br>|q − k| = %{x:.2f}<br>%{y:.4f}<extra></extra>",
        )
    )  # fmt: skip
    shape.update_xaxes(title_text=escaped(t("gaussian.distance")), showgrid=False)
    shape.update_yaxes(
        title_text=escaped(t("colour.weight")), rangemode="tozero", exponentformat="none"
    )
    return shape
