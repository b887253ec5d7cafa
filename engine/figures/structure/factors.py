"""Low rank: the spectrum of full attention's map, what a rank loses of it, and the factors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from engine.contract.views import Factors
from engine.figures.attention.mosaic import reduced
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import Theme, Words, array, figure, scale, template
from engine.structure.factors import KernelRow, Scene, effective
from engine.structure.spectra import Spectrum
from engine.text.tokens import escaped, isolated

FLOOR = 1e-6
"""Errors and singular values below this share are drawn as nothing."""
CELLS = 160
"""Cells a side of a map."""
LEAST = 1e-8
"""Weights up to this are drawn as nothing."""
POINTS = 1024
"""Keys of a row that are drawn."""
HEIGHT = 360


def pictures(view: Factors, context: Context) -> Iterator[Picture]:
    """Spectrum, errors by rank, maps, factors; of a kernel, its row beside softmax's."""
    if context.qkv is None or context.mechanism is None:
        return
    scene = Scene(view, context, context.qkv, context.mechanism)
    if not bool(scene.full.any()):
        return
    theme, t, note = context.theme, context.t, sample_note(scene, context.t)
    if (row := scene.kernel_row()) is not None:
        yield kernel_row(row, context)
    spectrum, rank = scene.spectrum, min(view.rank, len(scene.spectrum.sigma))
    facts = {
        "n": scene.qkv.n, "d": scene.qkv.k.shape[-1], "rank": view.rank,
        "effective": spectrum.effective_rank, "stable": spectrum.stable_rank,
        "held": float(spectrum.energy[rank - 1]), "note": note,
    }  # fmt: skip
    yield Picture("spectrum", singular(spectrum, rank, theme=theme, t=t), facts, wide=True)
    yield lost(scene, context)
    yield maps(scene, context)
    yield parts(scene, context)


def sample_note(scene: Scene, t: Words) -> str:
    """That rows were sampled, if they were."""
    return t("factors.sampled", rows=len(scene.rows), n=scene.qkv.n) if scene.sampled else ""


def panels(titles: Sequence[str], theme: Theme, **layout: Any) -> go.Figure:
    """Pictures side by side, each under its own title."""
    shape = make_subplots(1, len(titles), horizontal_spacing=0.08, **layout)
    shape.update_layout(
        template=template(theme), height=HEIGHT, margin={"t": 34, "b": 8, "l": 8, "r": 8}
    )
    for i, title in enumerate(titles):
        axis = "x" if i == 0 else f"x{i + 1}"
        shape.add_annotation(
            text=escaped(title), showarrow=False, x=0, xref=f"{axis} domain", xanchor="left",
            y=1, yref="paper", yanchor="bottom", yshift=6, font={"size": 14, "color": theme.ink},
        )  # fmt: skip
    return shape


def marked(shape: go.Figure, rank: int, most: int, *, theme: Theme, t: Words) -> None:
    """The mechanism's rank across both panels, which end at `most`."""
    side, shift = ("left", 5) if rank**2 <= most else ("right", -5)
    for axis in ("", "2"):
        shape.add_shape(
            type="line", x0=rank, x1=rank, y0=0, y1=1, xref=f"x{axis}", yref=f"y{axis} domain",
            line={"color": theme.accent, "width": 1.5},
        )  # fmt: skip
    shape.add_annotation(
        text=escaped(t("factors.rank", rank=rank)), showarrow=False, x=np.log10(rank), xref="x",
        y=0.02, yref="y domain", xanchor=side, yanchor="bottom", xshift=shift,
        font={"color": theme.accent, "size": 13},
    )  # fmt: skip


def singular(spectrum: Spectrum, rank: int, *, theme: Theme, t: Words) -> go.Figure:
    """Singular values against the largest, and the energy of the first k, rank on a log axis."""
    at = np.arange(1, len(spectrum.sigma) + 1)
    sigma = array(spectrum.sigma / spectrum.sigma[0])
    shape = panels([t("factors.values"), t("factors.energy")], theme, shared_xaxes=True)
    shown = sigma >= FLOOR
    for col, (y, unit) in enumerate(((np.where(shown, sigma, np.nan), ".2g"),
                                     (array(spectrum.energy), ".1%")), start=1):  # fmt: skip
        shape.add_trace(
            go.Scatter(
                x=at, y=y, mode="lines+markers" if len(at) < 40 else "lines", showlegend=False,
                line={"color": theme.weight[5], "width": 2.5}, marker={"size": 5},
                hovertemplate=f"%{{x:,d}}: %{{y:{unit}}}<extra></extra>",
            ),
            row=1, col=col,
        )  # fmt: skip
    decades(shape, len(at), t)
    low = np.log10(max(FLOOR, float(sigma[shown].min())))
    shape.update_yaxes(row=1, col=1, **percents(low, 0.0))
    shape.update_yaxes(range=[0, 1.03], tickformat=".0%", nticks=6, row=1, col=2)
    marked(shape, rank, len(at), theme=theme, t=t)
    return shape


def decades(shape: go.Figure, most: int, t: Words) -> None:
    """The rank's axis: powers of two."""
    at = [2**i for i in range(0, most.bit_length(), 1 if most < 300 else 2)]
    shape.update_xaxes(
        type="log", tickvals=at, ticktext=[f"{x:,}" for x in at],
        range=[-0.05, np.log10(max(2, most)) + 0.05], title_text=escaped(t("factors.axis.rank")),
    )  # fmt: skip


def lost(scene: Scene, context: Context) -> Picture:
    """Errors of this mechanism and of the nearest map, at ranks that double."""
    theme, t, found = context.theme, context.t, scene.errors()
    ranks, here = found.ranks, found.here
    titles = [t("factors.map_error"), t("factors.output_error")]
    shape = panels(titles, theme, shared_xaxes=True)
    lines = [("best", ranks, found.best, theme.weight[3], "dot")]
    if found.own is not None:
        lines.append(("own", found.at, found.own, theme.weight[6], "solid"))
    name = t(f"mechanism.{scene.mechanism.key}.name")
    for kind, x, y, colour, dash in lines:
        for col in (1, 2):
            values = np.where(y[:, col - 1] >= FLOOR, y[:, col - 1], np.nan)
            words = name if kind == "own" else t("factors.best")
            shape.add_trace(
                go.Scatter(
                    x=x, y=values, mode="lines+markers", name=escaped(words),
                    legendgroup=kind, showlegend=col == 1,
                    line={"color": colour, "width": 2.5, "dash": dash}, marker={"size": 7},
                    hovertemplate="%{x:,d}: %{y:.2%}<extra></extra>",
                ),
                row=1, col=col,
            )  # fmt: skip
    decades(shape, max(ranks), t)
    for col in (1, 2):
        pair = [y[:, col - 1] for _, _, y, _, _ in lines]
        drawn = np.concatenate(pair)
        drawn = drawn[drawn >= FLOOR]
        low, high = (np.log10(f(initial=1.0)) for f in (drawn.min, drawn.max))
        shape.update_yaxes(row=1, col=col, **percents(low, high))
    marked(shape, here, max(ranks), theme=theme, t=t)
    shape.update_layout(
        legend={"y": -0.2, "yanchor": "top", "font": {"size": 13}}, margin={"b": 60}
    )
    notes = t("factors.causal") if scene.qkv.causal else ""
    if found.unstable:
        notes += t("factors.unstable")
    (mine, output), (least, least_output) = found.mine.tolist(), found.least.tolist()
    facts = {
        "rank": scene.view.rank, "map": mine, "output": output, "best_map": least,
        "best_output": least_output, "note": notes + sample_note(scene, t),
    }  # fmt: skip
    kind = "rank_error" if found.own is not None else "rank_error_best"
    return Picture(kind, shape, facts, wide=True)


def percents(low: float, high: float) -> dict[str, Any]:
    """A log axis from 10^low to 10^high, in percent: powers of ten, more where there are few."""
    first, last = int(np.floor(low)), int(np.ceil(high))
    steps = (1, 2, 5) if high - low < 2 else (1,)
    at = [a * 10.0**b for b in range(last, first - 1, -max(1, (last - first) // 4)) for a in steps]
    return {
        "type": "log", "range": [low - 0.15, high + 0.15],
        "tickvals": at, "ticktext": [f"{100 * x:g}%" for x in at],
    }  # fmt: skip


def heat(
    cells: torch.Tensor, theme: Theme, *, top: float, signed: bool, rows: np.ndarray | None = None
) -> go.Heatmap:
    """A matrix of at most CELLS a side, of each cell the value furthest from 0.

    Weights rise from paper, signed values lie about paper; from `top` on they are darkest.

    Args:
        rows: positions of the rows, if they are a sample.
    """
    whole = array(cells)
    tall, wide = (-(-side // CELLS) for side in whole.shape)
    small = reduced(whole[None], CELLS)[0].astype(np.float32)
    middle = np.minimum(np.arange(len(small)) * tall + tall // 2, len(whole) - 1)
    return go.Heatmap(
        z=small, zmin=-top if signed else 0, zmax=top, x0=(wide - 1) / 2, dx=wide,
        y=middle if rows is None else rows[middle],
        colorscale=scale(theme.signed if signed else theme.weight), showscale=False,
        hovertemplate="%{y:,.0f}, %{x:,.0f}<br>%{z:.3g}<extra></extra>",
    )  # fmt: skip


def largest(cells: torch.Tensor) -> float:
    """The size that 99.5 of 100 drawn cells stay below."""
    drawn = np.abs(reduced(array(cells)[None], CELLS))
    return float(np.quantile(drawn, 0.995)) or float(drawn.max()) or 1.0


def maps(scene: Scene, context: Context) -> Picture:
    """Full attention, the map that the factors imply, and their difference, on one scale."""
    theme, t = context.theme, context.t
    given, made = scene.full.float().cpu(), scene.made.float().cpu()
    top, rows = largest(given), array(scene.rows) if scene.sampled else None
    shape = panels([t("factors.full"), t("factors.implied"), t("factors.apart")], theme)
    for col, cells in enumerate((given, made, made - given), start=1):
        trace = heat(cells, theme, top=top, signed=True, rows=rows)
        shape.add_trace(trace, row=1, col=col)
    shape.data[-1].update(
        showscale=True,
        colorbar={
            "thickness": 10, "outlinewidth": 0, "len": 0.9, "tickfont": {"size": 12},
            "tickvals": [-top, 0, top], "ticktext": [f"≤ −{top:.2g}", "0", f"≥ {top:.2g}"],
        },
    )  # fmt: skip
    boxed(shape, [(scene.qkv.n, scene.qkv.m)] * 3)
    shape.update_xaxes(title_text=escaped(t("axis.keys")))
    shape.update_yaxes(title_text=escaped(t("axis.queries")), col=1)
    total = made.sum(-1)
    facts = {
        "negative": float((-made).clamp_min(0).sum() / made.abs().sum().clamp_min(1e-30)),
        "low": float(total.min()), "high": float(total.max()),
        "note": pooled(made.shape, t) + sample_note(scene, t),
    }  # fmt: skip
    return Picture("implied", shape, facts, wide=True)


def boxed(shape: go.Figure, sizes: Sequence[tuple[int, int]]) -> None:
    """A hairline about each matrix, rows downwards."""
    for col, (rows, cols) in enumerate(sizes, start=1):
        common: dict[str, Any] = {
            "showgrid": False, "zeroline": False, "showline": True, "mirror": True,
            "tickformat": ",d", "row": 1, "col": col,
        }  # fmt: skip
        few = [{"dtick": 1} if side <= 8 else {"nticks": 6} for side in (rows, cols)]
        shape.update_yaxes(range=[rows - 0.5, -0.5], **few[0], **common)
        shape.update_xaxes(range=[-0.5, cols - 0.5], **few[1], **common)


def pooled(size: Sequence[int], t: Words) -> str:
    """What a cell stands for."""
    return t("factors.cells") if max(size) > CELLS else ""


def parts(scene: Scene, context: Context) -> Picture:
    """The matrices whose product is the map."""
    theme, t, found = context.theme, context.t, scene.factors()
    titles = []
    for name, cells in found.items():
        top, signed = largest(cells), bool((cells < 0).any())
        most = f"{top:,.0f}" if top >= 100 else f"{top:.2g}"
        bounds = f"±{most}" if signed else f"0 … {most}"
        titles.append(t(f"factors.{name}") + f" ({bounds})")
    shape = panels(titles, theme)
    for col, cells in enumerate(found.values(), start=1):
        trace = heat(cells, theme, top=largest(cells), signed=bool((cells < 0).any()))
        shape.add_trace(trace, row=1, col=col)
    boxed(shape, [(x.shape[0], x.shape[1]) for x in found.values()])
    sides = [t("axis.queries"), *[t("factors.axis.slots")] * (len(found) - 1), t("axis.keys")]
    for col in range(1, len(found) + 1):
        shape.update_yaxes(title_text=escaped(sides[col - 1]), row=1, col=col)
        shape.update_xaxes(title_text=escaped(sides[col]), row=1, col=col)
    rank, n, m = scene.view.rank, scene.qkv.n, scene.qkv.m
    numbers = sum(x.numel() for x in found.values())
    facts = {
        "rank": rank, "numbers": numbers, "whole": n * m,
        "note": pooled([side for x in found.values() for side in x.shape], t),
    }  # fmt: skip
    return Picture("factors", shape, facts, wide=True)


def kernel_row(found: KernelRow, context: Context) -> Picture:
    """The chosen row's weights by the pair's score: softmax's, which are e^score, and φ's."""
    theme, t, row = context.theme, context.t, context.row
    scores, soft, own = found.scores, found.soft, found.own
    keys = found.keys[np.unique(np.linspace(0, len(found.keys) - 1, POINTS).astype(int))]
    keys = keys[np.argsort(scores[keys], kind="stable")]
    names = [
        escaped(f"{isolated(context.tokens[k])} {k:,}" if context.tokens else f"{k:,}")
        for k in keys.tolist()
    ]
    shape = figure(theme, HEIGHT)
    for name, w, colour, mode in (
        (t("mechanism.softmax.name"), soft, theme.faint, "lines"),
        (t("mechanism.linear.name"), own, theme.weight[5], "markers"),
    ):
        shape.add_trace(
            go.Scatter(
                x=scores[keys], y=np.where(w[keys] > LEAST, w[keys], np.nan),
                mode=mode, name=escaped(name), line={"color": colour, "width": 2.5},
                marker={"color": colour, "size": 6, "opacity": 0.7}, text=names,
                hovertemplate="%{text}<br>%{x:.2f}: %{y:.3%}<extra></extra>",
            )
        )  # fmt: skip
    shown = np.concatenate([own[keys], soft[keys]])
    low = np.log10(shown[shown > LEAST].min(initial=1.0))
    shape.update_xaxes(title_text=escaped(t("factors.axis.score")), zeroline=False)
    shape.update_yaxes(title_text=escaped(t("factors.axis.weight")), **percents(low, 0.0))
    facts = {
        "row": row, "soft": float(soft.max()), "own": float(own.max()),
        "soft_keys": effective(soft), "own_keys": effective(own), "count": len(keys),
        "zeros": int((own[keys] == 0).sum()), "note": t(f"factors.{found.feature_map}"),
    }  # fmt: skip
    return Picture("kernel_row", shape, facts)
