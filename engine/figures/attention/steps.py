"""One row of attention in steps and numbers: scores, mask and bias, softmax, weighted sum."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from engine.contract import Steps
from engine.figures.base.theme import Theme, Words, array, scale, template
from engine.text.tokens import escaped, isolated, shortened

SHOWN = 16
"""Keys drawn one by one; the rest are one bar."""


def telling(weights: np.ndarray, logits: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Positions worth a bar each: the largest weights, then the largest scores; in order."""
    order = np.lexsort((-np.nan_to_num(logits, neginf=-1e30), ~allowed, -np.abs(weights)))
    return np.sort(order[:SHOWN])


def steps(
    row: Steps,
    *,
    keys: Sequence[str] | None,
    theme: Theme,
    t: Words,
) -> go.Figure:
    """The most telling keys of one row, one line each, through every step.

    Args:
        keys: the keys' names.
    """
    scores, logits, allowed = array(row.scores), array(row.logits), array(row.allowed)
    weights, output = array(row.weights), array(row.output)
    at = telling(weights, logits, allowed)
    names = [f"{escaped(shortened(keys[int(i)], 14)) if keys else ''} {i:,}" for i in at]
    rest = np.setdiff1d(np.arange(len(weights)), at)
    lines = list(range(len(at)))
    if len(rest):
        names.append(escaped(t("steps.rest", count=len(rest))))
    first = "scores" if row.product else "other_scores"
    titles = [
        escaped(t(f"steps.{name}")).replace("\n", "<br>")
        for name in (first, "masked", "weights", "output")
    ]
    shape = make_subplots(
        rows=1, cols=4, shared_yaxes=True, horizontal_spacing=0.03,
        column_widths=[0.28, 0.28, 0.28, 0.16],
    )  # fmt: skip
    hidden = ~allowed[at]
    shown = np.where(hidden, 0.0, np.nan_to_num(logits[at], neginf=0.0))
    cross = [t("steps.hidden") if h else f"{v:.2f}" for h, v in zip(hidden, shown, strict=True)]
    share = weights[at].tolist() + ([float(weights[rest].sum())] if len(rest) else [])
    bars: tuple[tuple[Any, list[str], Any], ...] = (
        (scores[at], [f"{v:.2f}" for v in scores[at]], theme.faint),
        (shown, cross, [theme.grid if h else theme.weight[5] for h in hidden]),
        (share, [f"{v:.1%}" for v in share], theme.weight[4]),
    )
    for col, (length, text, colour) in enumerate(bars, start=1):
        count = len(length)
        shape.add_trace(
            go.Bar(
                y=list(range(count)), x=length, orientation="h", marker={"color": colour},
                text=[escaped(word) for word in text], textposition=_sides(length),
                textangle=0, cliponaxis=False,
                insidetextfont={"color": theme.paper},
                hovertext=[_hover(i, keys, word) for i, word in zip(at, text, strict=False)]
                + [names[-1]] * (count - len(at)),
                hovertemplate="%{hovertext}<extra></extra>",
            ),
            row=1, col=col,
        )  # fmt: skip
    top = float(np.abs(output).max(initial=0)) or 1.0
    shape.add_trace(
        go.Heatmap(
            z=_strip(output, len(names)), zmin=-top, zmax=top, colorscale=scale(theme.signed),
            showscale=False, hovertemplate="%{z:.3g}<extra></extra>",
        ),
        row=1, col=4,
    )  # fmt: skip
    shape.update_layout(
        template=template(theme), height=52 + 25 * len(names), showlegend=False, bargap=0.35,
        uniformtext={"minsize": 11, "mode": "show"},
        margin={"t": 40, "b": 4, "r": 4},
    )  # fmt: skip
    shape.update_yaxes(
        tickvals=lines + ([len(at)] if len(rest) else []), ticktext=names,
        range=[len(names) - 0.4, -0.6], showgrid=False,
    )  # fmt: skip
    for col, (title, values) in enumerate(
        zip(titles, (scores[at], shown, share, [0, 1]), strict=True), start=1
    ):
        low, high = min(0.0, float(np.min(values))), max(0.0, float(np.max(values)))
        room = 0.45 * (high - low or 1.0)
        spread: dict[str, Any] = (
            {"range": [low - 1.4 * room * (low < 0), high + room]} if col < 4 else {}
        )
        shape.update_xaxes(showticklabels=False, showgrid=False, row=1, col=col, **spread)
        shape.add_annotation(
            text=title, showarrow=False, x=int(col == 4), y=1,
            xref="x domain" if col == 1 else f"x{col} domain",
            xanchor="right" if col == 4 else "left", yref="paper", yanchor="bottom", align="left",
            font={"color": theme.faint, "size": 12},
        )  # fmt: skip
    return shape


def numbers(row: Steps, query: int) -> str | None:
    """The largest weight of a softmax row in LaTeX, with its numbers; None if it is no softmax."""
    logits = array(row.logits).astype(float)
    weights, allowed = array(row.weights).astype(float), array(row.allowed)
    if not allowed.any():
        return None
    exponentials = np.where(allowed, np.exp(logits - logits[allowed].max()), 0.0)
    if np.abs(exponentials / exponentials.sum() - weights).max() > 1e-3:
        return None
    key = int(weights.argmax())
    z, total = logits[key], np.exp(logits[allowed].max()) * exponentials.sum()
    if abs(z) > 80:
        return None
    return (
        rf"w_{{{query},\,{key}}} = \frac{{e^{{{z:.2f}}}}}{{\sum_j e^{{z_j}}}}"
        rf" = \frac{{{_latex(np.exp(z))}}}{{{_latex(total)}}} = {weights[key]:.3f}"
    )


def _latex(value: float) -> str:
    if 1e-3 <= value < 9999.5:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return rf"{mantissa}\cdot 10^{{{int(exponent)}}}"


def _sides(lengths: Sequence[float] | np.ndarray) -> list[str]:
    """Where each bar's number stands: beside a bar that is too short for it on a phone."""
    sizes = np.abs(np.asarray(lengths, dtype=float))
    return np.where(sizes <= 0.7 * sizes.max(initial=0), "outside", "inside").tolist()


def _hover(at: int, keys: Sequence[str] | None, text: str) -> str:
    name = f"{isolated(keys[at])} " if keys else ""
    return escaped(f"{name}{at:,}: {text}")


def _strip(output: np.ndarray, lines: int) -> np.ndarray:
    """The output vector as a block of cells as high as the rows beside it, read line by line."""
    across = max(1, -(-len(output) // lines))
    block = np.full(lines * across, np.nan)
    block[: len(output)] = output
    return block.reshape(lines, across)
