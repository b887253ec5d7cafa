"""What is put in softmax's place, beside softmax: one row, the function, and what length does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from engine.contract import QKV
from engine.dilution import theory
from engine.figures.attention.heatmap import ticks
from engine.figures.attention.rows import stretches
from engine.figures.attention.strips import POINTS as BARS
from engine.figures.attention.strips import furthest, strips
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import Theme, Words, array, figure
from engine.kernels.composed import Composed
from engine.kernels.patterns import Everything
from engine.measure.cells import Cells
from engine.mechanisms.adaptive_temperature import POLYNOMIAL, AdaptiveTemperature, beta, entropy
from engine.mechanisms.base import Mechanism
from engine.mechanisms.combined import Combined
from engine.mechanisms.differential import Difference
from engine.mechanisms.entmax import Entmax
from engine.mechanisms.sigmoid import Sigmoid
from engine.mechanisms.softmax import Softmax
from engine.mechanisms.softmax1 import Softmax1
from engine.mechanisms.ssmax import SSMax
from engine.text.tokens import escaped

FLOOR = 1e-8
"""Least weight that is drawn as such; smaller ones lie on it."""
POINTS = 400
SAMPLE = 192
"""Rows of a longer text that are looked at, evenly spaced."""
LONGEST = 2**20
"""Tokens to which growth is drawn."""

SHARES = {"tickformat": ".0%", "range": [-0.02, 1.16], "tickvals": [k / 5 for k in range(6)]}
"""A vertical axis of shares, with room for words above."""

Curve = Callable[[Any, Any], np.ndarray]
"""n, gap -> weight of one key that far ahead of n − 1 equal others."""


def pictures(context: Context) -> Iterator[Picture]:
    """All pictures of a remedy's attention; none for other mechanisms."""
    mechanism, qkv = context.mechanism, context.qkv
    if mechanism is None or qkv is None or mechanism.family != "remedies":
        return
    yield from _row(context, mechanism, qkv)
    if isinstance(mechanism, AdaptiveTemperature):
        yield _betas(context, qkv)
    if isinstance(context.att, Difference):
        yield _halves(context, context.att)
    if context.att.row_kind in ("substochastic", "positive"):
        yield _kept(context)
    yield from _function(context, mechanism, qkv)


def lines(t: Words, mechanism: Mechanism) -> tuple[str, str]:
    """Names of the two lines: softmax, and this one."""
    return t("remedy.softmax"), t(f"mechanism.{mechanism.key}.name")


# -- one row ---------------------------------------------------------------------------------


def _weights(context: Context, qkv: QKV) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The row's weights before and after, and which keys it may see."""
    row = slice(context.row, context.row + 1)
    before = Softmax().attend(qkv.head(context.head)).weights(row)[0, 0]
    after = context.att.weights(row)[context.head, 0]
    at, keys = torch.tensor([context.row]), torch.arange(qkv.m)
    seen = qkv.frame.visible(at.to(qkv.device), keys.to(qkv.device))
    shown = np.ones(qkv.m, bool) if seen is None else array(seen[0])
    return array(before).astype(float), array(after).astype(float), shown


def _row(context: Context, mechanism: Mechanism, qkv: QKV) -> Iterator[Picture]:
    before, after, seen = _weights(context, qkv)
    if not seen.any():
        return
    look, t, names = context.look, context.t, lines(context.t, mechanism)
    facts: dict[str, Any] = {
        "row": context.row, "n": int(seen.sum()), "before": before.max(), "after": after.max(),
    }  # fmt: skip
    if context.att.row_kind == "signed":
        facts |= {"negative": int((after[seen] < 0).sum()), "mass": -after[after < 0].sum()}
        yield Picture(
            "remedy_rank_signed", signed_ranks(before[seen], after[seen], names, look, t), facts
        )
    else:
        zeros = int((after[seen] == 0).sum()) if exact_zeros(mechanism) else 0
        facts |= {"zeros": zeros, "half_before": halves(before), "half_after": halves(after)}
        shape = ranks(before[seen], after[seen], names, look, t, zeros=zeros)
        kind = "" if not zeros else "_pattern" if isinstance(mechanism, Combined) else "_sparse"
        yield Picture(f"remedy_rank{kind}", shape, facts)
    shape = strips(
        [(names[1], after)], before, look=look, t=t, keys=context.tokens, query=context.row
    )
    most, width = int(np.abs(after - before).argmax()), Cells(0, len(before), BARS).width
    yield Picture(
        "remedy_text_pooled" if width > 1 else "remedy_text", shape.update_layout(height=240),
        {"row": context.row, "key": most, "before": before[most], "after": after[most],
         "stretch": width},
    )  # fmt: skip


def exact_zeros(mechanism: Mechanism) -> bool:
    """True if a weight of 0 is meant, rather than one that is too small for a number."""
    sparse = isinstance(mechanism, Entmax) and mechanism.alpha > 1
    return sparse or isinstance(mechanism, Combined)


def halves(weights: np.ndarray) -> int:
    """How many of the largest weights hold half of the row."""
    total = weights.sum()
    order = np.sort(weights)[::-1].cumsum()
    return int(np.searchsorted(order, total / 2)) + 1 if total > 0 else 0


def ranks(
    before: np.ndarray,
    after: np.ndarray,
    names: tuple[str, str],
    look: Theme,
    t: Words,
    *,
    zeros: int = 0,
) -> go.Figure:
    """Weights from the largest down, both axes logarithmic; zeros on a line of their own.

    Args:
        before, after: weights of the keys that the row may see. zeros: how many of `after` are 0.
    """
    n = len(before)
    at = np.unique(np.geomspace(1, n, POINTS).round().astype(int))
    low = max(FLOOR, min(x[x > 0].min(initial=1.0) for x in (before, after)))
    floor = 10 ** (np.floor(np.log10(low)))
    shape = figure(look, 320, hovermode="x unified")
    for weights, name, line in zip((before, after), names, pens(look), strict=True):
        falling = np.sort(weights)[::-1]
        falling = falling[falling >= floor]
        here = np.union1d(at[at <= len(falling)], [len(falling)] if len(falling) else [])
        here = here.astype(int)
        shape.add_trace(
            go.Scatter(
                x=here, y=falling[here - 1], mode="lines", name=escaped(name), line=line,
                hovertemplate="%{y:.3g}",
            )
        )  # fmt: skip
    bottom = np.log10(floor) - 0.15
    powers = range(int(np.log10(floor)), 1)
    marks = {
        "tickvals": [10.0**k for k in powers],
        "ticktext": [f"{10.0**k:.{max(0, -k - 2)}%}" if k > -5 else f"10<sup>−{-k}</sup>"
                     for k in powers],
    }  # fmt: skip
    if zeros:
        nought = 10 ** (np.log10(floor) - 0.9)
        bottom = np.log10(nought) - 0.5
        marks["tickvals"].append(nought)
        marks["ticktext"].append("0")
        shape.add_trace(
            go.Scatter(
                x=[n - zeros + 1, n], y=[nought, nought], mode="lines+markers", showlegend=False,
                line={"color": look.accent, "width": 6}, marker={"size": 6},
                hovertemplate=escaped(t("remedy.zeros", zeros=zeros)) + "<extra></extra>",
            )
        )  # fmt: skip
        shape.add_annotation(
            x=np.log10(max(n - zeros + 1, 1)), y=np.log10(nought), text=escaped(
                t("remedy.zeros", zeros=zeros)
            ),
            showarrow=False, font={"size": 13, "color": look.accent}, bgcolor=look.paper,
            **({"xanchor": "right", "yanchor": "middle", "xshift": -10} if n - zeros > n**0.5
               else {"xanchor": "left", "yanchor": "bottom", "yshift": 4}),
        )  # fmt: skip
    largest = max(before.max(), after.max())
    shape.update_xaxes(
        type="log", title_text=escaped(t("remedy.rank", n=n)), showgrid=False,
        range=[-0.03, np.log10(max(n, 2)) + 0.03], dtick=1, tickformat=",d",
    )  # fmt: skip
    shape.update_yaxes(
        type="log", title_text=escaped(t("remedy.weight")),
        range=[bottom, max(0, np.log10(largest)) + 0.15], **marks,
    )  # fmt: skip
    return shape


def signed_ranks(
    before: np.ndarray, after: np.ndarray, names: tuple[str, str], look: Theme, t: Words
) -> go.Figure:
    """Sizes of weights from the largest down, positive and negative ones apart."""
    shape = ranks(before, after.clip(0), names, look, t)
    shape.data[1].name = escaped(f"{names[1]}: {t('remedy.above')}")
    sizes = np.sort((-after).clip(0))[::-1]
    sizes = sizes[sizes >= FLOOR]
    at = np.unique(np.geomspace(1, max(1, len(sizes)), POINTS).round().astype(int))[: len(sizes)]
    shape.add_trace(
        go.Scatter(
            x=at, y=sizes[at - 1], mode="lines", line={"color": look.signed[2], "width": 2.2,
                                                       "dash": "dot"},
            name=escaped(f"{names[1]}: {t('remedy.below')}"), hovertemplate="−%{y:.3g}",
        )
    )  # fmt: skip
    return shape


# -- as a function, and as n grows -----------------------------------------------------------


def curve(mechanism: Mechanism) -> Curve | None:
    """Weight of one key ahead of equal others in closed form, if their lead alone decides it."""
    match mechanism:
        case SSMax():
            return lambda n, gap: theory.ssmax_needle_mass(n, gap, mechanism.s)
        case Entmax():
            return lambda n, gap: theory.entmax_needle_mass(n, gap, mechanism.alpha)
        case AdaptiveTemperature():
            return theory.adaptive_needle_mass
        case _:
            return None


def _function(context: Context, mechanism: Mechanism, qkv: QKV) -> Iterator[Picture]:
    if isinstance(mechanism, (Softmax1, Sigmoid)):
        yield _shift(context, mechanism)
        return
    weight = curve(mechanism)
    before, _, seen = _weights(context, qkv)
    n = int(seen.sum())
    if weight is None or n < 2:
        return
    kept = before.sum()
    share = float(np.clip(before.max() / kept if kept > 0 else 1 / n, 1 / n, 1 - 1e-9))
    gap = float(theory.gap_needed(n, share))
    look, t, names = context.look, context.t, lines(context.t, mechanism)
    facts = {"others": n - 1, "gap": gap, "before": share, "after": float(weight(n, gap))}
    yield Picture(
        "remedy_response", response(weight, n, gap, names, look, t),
        facts | {"half_before": np.log(n - 1), "half_after": crossing(weight, n)},
    )  # fmt: skip
    far = float(weight(LONGEST, gap))
    yield Picture(
        f"remedy_growth_{mechanism.key}", growth(weight, n, gap, names, look, t),
        facts | {"far_before": float(theory.needle_mass(LONGEST, gap)), "far_after": far,
                 "longest": LONGEST, "threshold": _threshold(mechanism)},
    )  # fmt: skip


def _threshold(mechanism: Mechanism) -> float:
    """The gap from which on length doesn't thin the needle out; infinite if there is none."""
    if isinstance(mechanism, SSMax):
        return 1 / mechanism.s if mechanism.s else np.inf
    if isinstance(mechanism, Entmax):
        return 1 / (mechanism.alpha - 1) if mechanism.alpha > 1 else np.inf
    return np.inf


def crossing(weight: Curve, n: int) -> float:
    """The gap at which one key takes half of what there is to take."""
    gaps = np.linspace(0, 4 * np.log(n) + 40, 20_001)
    over = weight(n, gaps) >= 0.5
    return float(gaps[over.argmax()]) if over.any() else np.inf


def response(
    weight: Curve, n: int, gap: float, names: tuple[str, str], look: Theme, t: Words
) -> go.Figure:
    """Weight of one key as its logit rises over n − 1 equal others."""
    x = np.linspace(0, max(np.log(n) + 5, gap + 1), POINTS)
    shape = figure(look, 320, hovermode="x unified")
    for f, name, line in zip((theory.needle_mass, weight), names, pens(look), strict=True):
        shape.add_trace(
            go.Scatter(
                x=x, y=f(n, x), mode="lines", name=escaped(name), line=line,
                hovertemplate="%{y:.2%}",
            )
        )  # fmt: skip
    mark(shape, gap, t("remedy.here"), look)
    shape.update_xaxes(title_text=escaped(t("remedy.gap")), showgrid=False, hoverformat=".2f")
    return shape.update_yaxes(title_text=escaped(t("remedy.weight")), **SHARES)


def growth(
    weight: Curve, n: int, gap: float, names: tuple[str, str], look: Theme, t: Words
) -> go.Figure:
    """The same key's weight as more equal others come."""
    x = np.unique(np.geomspace(2, LONGEST, POINTS).round())
    shape = figure(look, 320, hovermode="x unified")
    for f, name, line in zip((theory.needle_mass, weight), names, pens(look), strict=True):
        shape.add_trace(
            go.Scatter(
                x=x, y=f(x, gap), mode="lines", name=escaped(name), line=line,
                hovertemplate="%{y:.3%}",
            )
        )  # fmt: skip
    mark(shape, np.log10(n), t("remedy.now", n=n), look, at=n)
    powers = [2**k for k in range(1, 21, 3)]
    shape.update_xaxes(
        type="log", title_text=escaped(t("remedy.length")), showgrid=False,
        tickvals=powers, ticktext=[f"{p:,}" for p in powers], hoverformat=",d",
    )  # fmt: skip
    return shape.update_yaxes(title_text=escaped(t("remedy.weight")), **SHARES)


def _shift(context: Context, mechanism: Mechanism) -> Picture:
    steps = context.att.steps(context.head, context.row)
    logits = array(steps.logits)[array(steps.allowed)].astype(float)
    names = lines(context.t, mechanism)
    total = np.logaddexp.reduce(logits) if len(logits) else -np.inf
    sum_of = row_sum(mechanism, logits)
    return Picture(
        "remedy_shift",
        shift(sum_of, float(np.clip(total, 0, 30)), names, context.look, context.t),
        {"row": context.row, "here": sum_of(0.0), "lower": sum_of(-5.0), "higher": sum_of(2.0)},
    )  # fmt: skip


def row_sum(mechanism: Mechanism, logits: np.ndarray) -> Callable[[float], float]:
    """What a row of softmax1 or sigmoid adds up to when all its logits are shifted."""
    if isinstance(mechanism, Softmax1):
        total = np.logaddexp.reduce(logits) if len(logits) else -np.inf
        return lambda by: float(1 / (1 + np.exp(-total - by)))
    return lambda by: float((1 / (1 + len(logits) * np.exp(-logits - by))).sum())


def shift(
    sum_of: Callable[[float], float], total: float, names: tuple[str, str], look: Theme, t: Words
) -> go.Figure:
    """A row's sum as all its logits rise or fall together, which softmax doesn't notice."""
    x = np.linspace(-total - 5, 3, 120)
    y = np.array([sum_of(float(by)) for by in x])
    shape = figure(look, 320, hovermode="x unified")
    for values, name, line in zip((np.ones_like(x), y), names, pens(look), strict=True):
        shape.add_trace(
            go.Scatter(
                x=x, y=values, mode="lines", name=escaped(name), line=line,
                hovertemplate="%{y:.2f}",
            )
        )  # fmt: skip
    mark(shape, 0, t("remedy.as_is"), look)
    shape.update_xaxes(title_text=escaped(t("remedy.shift")), showgrid=False, hoverformat=".2f")
    return shape.update_yaxes(
        title_text=escaped(t("remedy.sum")), range=[0, 1.16 * max(1.0, float(y.max()))]
    )


def pens(look: Theme) -> tuple[dict[str, Any], dict[str, Any]]:
    """Softmax wide and pale, so that it shows where both are the same; this one over it."""
    return {"color": look.weight[3], "width": 5}, {"color": look.accent, "width": 2.2}


def mark(shape: go.Figure, x: float, words: str, look: Theme, at: float | None = None) -> None:
    """A dotted line with words at its head; x in the axis's own (logarithmic) terms."""
    shape.add_vline(x=x if at is None else at, line={"color": look.ink, "width": 1, "dash": "dot"})
    shape.add_annotation(
        x=x, y=1, yref="paper", text=escaped(words), showarrow=False, xanchor="left",
        yanchor="top", xshift=5, font={"size": 12, "color": look.ink}, bgcolor=look.paper,
        opacity=0.9,
    )  # fmt: skip


# -- of one mechanism ------------------------------------------------------------------------


def _sample(n: int, row: int, device: torch.device) -> Tensor:
    """At most so many rows, evenly spaced, the chosen one among them."""
    at = torch.linspace(0, n - 1, min(n, SAMPLE), device=device).long()
    return torch.cat([at, at.new_tensor([row])]).unique()


def _betas(context: Context, qkv: QKV) -> Picture:
    plain = Composed(qkv.head(context.head), Everything())
    at = _sample(qkv.n, context.row, qkv.device)
    found = entropy(plain, at)[0]
    here = int((at == context.row).int().argmax())
    shape = betas(array(found), here, context.look, context.t, rows=array(at).tolist())
    sharpened = beta(found) > 1
    return Picture(
        "remedy_beta", shape,
        {"row": context.row, "entropy": float(found[here]), "beta": float(beta(found[here])),
         "end": sharpening()[1], "sharpened": float(sharpened.double().mean()), "rows": len(at)},
    )  # fmt: skip


def sharpening() -> tuple[float, float]:
    """Entropies between which β is above 1, nats."""
    shifted = np.array(POLYNOMIAL)
    shifted[-1] -= 1
    real = sorted(r.real for r in np.roots(shifted) if abs(r.imag) < 1e-9)
    return float(real[0]), float(real[-1])


def betas(
    entropies: np.ndarray, here: int, look: Theme, t: Words, rows: Sequence[int]
) -> go.Figure:
    """β against the entropy of softmax, with a text's rows on the curve."""
    x = np.linspace(0, max(8.0, float(entropies.max(initial=0)) + 0.3), POINTS)
    shape = figure(look, 320, showlegend=False)
    shape.add_trace(
        go.Scatter(
            x=x, y=array(beta(torch.from_numpy(x))), mode="lines", hoverinfo="skip",
            line={"color": look.faint, "width": 2},
        )
    )  # fmt: skip
    values = array(beta(torch.from_numpy(entropies)))
    shape.add_trace(
        go.Scatter(
            x=entropies, y=values, mode="markers", text=[f"{r:,}" for r in rows],
            marker={"color": look.quiet, "size": 7, "opacity": 0.5},
            hovertemplate=escaped(t("axis.position")) + " %{text}<br>H = %{x:.2f}, "
            "β = %{y:.2f}<extra></extra>",
        )
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=entropies[here : here + 1], y=values[here : here + 1], mode="markers",
            marker={"color": look.accent, "size": 12}, hoverinfo="skip",
        )
    )  # fmt: skip
    low, high = sharpening()
    for a, b in ((0, low), (high, x[-1])):
        shape.add_vrect(x0=a, x1=b, fillcolor=look.grid, opacity=0.45, line_width=0, layer="below")
    shape.add_annotation(
        x=(high + x[-1]) / 2, y=0.5, yref="paper", text=escaped(t("remedy.nothing")),
        showarrow=False, font={"size": 13, "color": look.ink},
    )  # fmt: skip
    shape.update_xaxes(
        title_text=escaped(t("remedy.entropy")), showgrid=False, range=[0, x[-1]], dtick=1
    )
    shape.update_yaxes(title_text=escaped(t("remedy.beta")), range=[0.85, 2.6])
    return shape


def _halves(context: Context, att: Difference) -> Picture:
    row, head = slice(context.row, context.row + 1), context.head
    first, second = (array(part.weights(row)[head, 0]).astype(float) for part in att.parts)
    shape = parts(first, att.lambda_ * second, context.tokens, context.look, context.t)
    overlap = float(np.minimum(first, second).sum())
    after = first - att.lambda_ * second
    return Picture(
        "remedy_halves", shape,
        {"row": context.row, "lambda_": att.lambda_, "total": after.sum(), "overlap": overlap,
         "negative": -after[after < 0].sum()},
        wide=True,
    )  # fmt: skip


def parts(
    first: np.ndarray, second: np.ndarray, keys: Sequence[str] | None, look: Theme, t: Words
) -> go.Figure:
    """The first softmax up, what is taken off it down, and below the difference."""
    cells = Cells(0, len(first), 512)
    edges = cells.edges().numpy()
    at = (edges[:-1] + edges[1:] - 1) / 2
    after = furthest(first - second, cells)
    up, down = furthest(first, cells), furthest(second, cells)
    high, low = look.signed[6], look.signed[2]
    shape = figure(look, 400, bargap=0, barmode="overlay")
    for y, name, colour, axis in (
        (up, t("remedy.first"), look.quiet, "y"), (-down, t("remedy.second"), look.faint, "y"),
        (np.where(after > 0, after, 0), t("remedy.positive"), high, "y2"),
        (np.where(after < 0, after, 0), t("remedy.negative"), low, "y2"),
    ):  # fmt: skip
        shape.add_trace(
            go.Bar(
                x=at, y=y, name=escaped(name), yaxis=axis,
                marker={"color": colour, "line": {"width": 0}}, hovertemplate="%{x:,}: %{y:.2%}",
            )
        )  # fmt: skip
    top = 1.05 * max(up.max(), after.max(), 1e-9)
    bottom = 1.05 * max(down.max(), -after.min(), 0.05 * top)
    common = {"range": [-bottom, top], "tickformat": ".0%", "zeroline": True,
              "zerolinecolor": look.faint, "nticks": 5}  # fmt: skip
    shape.update_layout(
        yaxis={"domain": [0.53, 1], "title": {"text": escaped(t("remedy.weight"))}, **common},
        yaxis2={"domain": [0, 0.47], "title": {"text": escaped(t("remedy.difference"))}, **common},
        hovermode="closest",
    )  # fmt: skip
    shape.update_xaxes(
        title_text=escaped(t("axis.keys")), range=[-0.5, len(first) - 0.5], showgrid=False,
        anchor="y2", **ticks(keys, 0, len(first)),
    )  # fmt: skip
    return shape


def _kept(context: Context) -> Picture:
    att = context.att
    if att.known is not None:
        at, mass = torch.arange(att.frame.n), att.known.rows.kept_mass
    else:
        at = _sample(att.frame.n, context.row, att.device)
        mass = att.rows(at).kept_mass
    values = array(mass).astype(float)
    here = values[context.head, int((array(at) == context.row).argmax())]
    shape = kept(values, array(at), context.head, context.row, context.look, context.t)
    own = values[context.head]
    key = "remedy_kept" if att.row_kind == "substochastic" else "remedy_sum"
    facts = {"row": context.row, "here": here, "mean": own.mean(), "least": own.min(),
             "most": own.max(), "rows": len(own), "head": context.head}  # fmt: skip
    return Picture(key, shape, facts)


def kept(
    mass: np.ndarray, at: np.ndarray, head: int, row: int, look: Theme, t: Words
) -> go.Figure:
    """What each row's weights add up to, one line a head.

    Args:
        mass: (h rows), at positions `at`.
    """
    where, *values = stretches(np.concatenate([at[None].astype(float), mass]))[1]
    shape = figure(look, 320, hovermode="x unified", showlegend=False)
    for h in sorted(range(len(values)), key=lambda h: h == head):
        chosen = h == head
        shape.add_trace(
            go.Scatter(
                x=where, y=values[h], mode="lines", name=escaped(t("head.name", head=h)),
                line={"color": look.accent if chosen else look.quiet, "width": 2 if chosen else 1},
                opacity=1 if chosen else 0.55, hovertemplate="%{y:.2f}",
            )
        )  # fmt: skip
    shape.add_hline(y=1, line={"color": look.faint, "width": 1, "dash": "dot"})
    shape.add_annotation(
        x=1, xref="paper", y=1, text=escaped(t("remedy.one")), showarrow=False, xanchor="right",
        yanchor="bottom", yshift=2, font={"size": 12, "color": look.ink}, bgcolor=look.paper,
        opacity=0.85,
    )  # fmt: skip
    shape.add_vline(x=row, line={"color": look.accent, "width": 1, "dash": "dot"})
    shape.update_xaxes(title_text=escaped(t("axis.position")), showgrid=False, hoverformat=",.0f")
    top = max(1.0, float(np.max(values)))
    shape.update_yaxes(title_text=escaped(t("remedy.sum")), range=[0, 1.12 * top])
    return shape
