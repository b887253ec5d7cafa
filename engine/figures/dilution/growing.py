"""Every head of a model as its text grows, and as passages are inserted that have nothing to do
with what is looked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from engine.dilution.growth import Disturbed, Grown
from engine.figures.base.theme import POWERS, Theme, Words, figure, scale
from engine.figures.dilution.curves import LOG, pen, powers, shade
from engine.text.tokens import escaped

MOST_HEADS = 40


GROWN = ("effective_tokens", "normalised_entropy", "sink_mass", "needle_mass")
"""What is measured of every head as a text grows."""


def heads(
    grown: Sequence[Grown], *, chosen: tuple[int, int], trained: int | None, theme: Theme,
    t: Words, metric: str = "effective_tokens", height: int = 460,
) -> go.Figure:  # fmt: skip
    """A measure of every head over length, the chosen one in the accent colour, where there is
    one with what random logits of its spread have; lengths beyond training shaded."""
    shape = figure(theme, height)
    lengths = sorted({g.n for g in grown}) or [128, 1024]
    visible = {g.n: g.visible for g in grown}
    even = {
        "effective_tokens": [visible.get(n, n) for n in lengths],
        "normalised_entropy": [1.0] * len(lengths),
    }  # fmt: skip
    if metric in even:
        shape.add_trace(
            go.Scatter(
                x=lengths, y=even[metric], mode="lines", hoverinfo="skip",
                name=escaped(t("dilution.limit.even")),
                line={"color": theme.faint, "width": 1, "dash": "dot"},
            )
        )  # fmt: skip
    number = "%{y:,.1f}" if metric in LOG else "%{y:.1%}"
    by_head: dict[tuple[int, int], list[Grown]] = {}
    for g in grown:
        by_head.setdefault((g.layer, g.head), []).append(g)
    others = [key for key in by_head if key != chosen][:MOST_HEADS]
    for key in [*others, *([chosen] if chosen in by_head else [])]:
        mine, ours = by_head[key], key == chosen
        name = escaped(t("dilution.head", layer=key[0], head=key[1]))
        shape.add_trace(
            go.Scatter(
                x=[g.n for g in mine], y=[getattr(g, metric) for g in mine], mode="lines+markers",
                name=name, showlegend=ours, opacity=1 if ours else 0.5,
                line=pen(theme, -1) if ours else {"color": theme.quiet, "width": 1.2},
                marker={"size": 7 if ours else 3},
                hovertemplate=f"{name}<br>n = %{{x:,}}<br>{number}<extra></extra>",
            )
        )  # fmt: skip
    if chosen in by_head and metric in even:
        mine = by_head[chosen]
        y = [
            g.baseline if metric in LOG else np.log(g.baseline) / np.log(max(g.visible, 2.0))
            for g in mine
        ]
        shape.add_trace(
            go.Scatter(
                x=[g.n for g in mine], y=y, mode="lines",
                name=escaped(t("dilution.baseline")), hovertemplate=f"{number}<extra></extra>",
                line={"color": theme.accent, "width": 1.8, "dash": "dash"},
            )
        )  # fmt: skip
    if trained is not None and trained < lengths[-1]:
        shade(shape, trained, lengths[-1], theme, t("dilution.beyond", trained=trained))
    ticks = powers(lengths[0], lengths[-1])
    shape.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{x:,}" for x in ticks],
                       title_text=escaped(t("dilution.axis.n")))  # fmt: skip
    shape.update_yaxes(title_text=escaped(t(f"stat.{metric}")))
    if metric in LOG:
        shape.update_yaxes(POWERS, type="log")
    else:
        shape.update_yaxes(range=[-0.02, 1.04], tickformat=".0%")
    shape.update_layout(margin={"t": 12, "r": 12})
    return shape


def disturbed(
    found: Sequence[Disturbed], chosen: tuple[int, int], *, trained: int | None, theme: Theme,
    t: Words, height: int = 400,
) -> go.Figure:  # fmt: skip
    """What the needle sentence keeps in a real text as irrelevant passages are inserted: the
    chosen head's mass and how often its largest weight is there; other heads' mass behind."""
    shape = figure(theme, height)
    by_head: dict[tuple[int, int], list[Disturbed]] = {}
    for one in found:
        by_head.setdefault((one.layer, one.head), []).append(one)
    for key in [key for key in by_head if key != chosen][:MOST_HEADS]:
        name = escaped(t("dilution.head", layer=key[0], head=key[1]))
        shape.add_trace(
            go.Scatter(
                x=[d.tokens for d in by_head[key]], y=[d.needle_mass for d in by_head[key]],
                mode="lines", line={"color": theme.quiet, "width": 1.2}, opacity=0.5,
                showlegend=False, hovertemplate=f"{name}<br>%{{y:.1%}}<extra></extra>",
            )
        )  # fmt: skip
    mine = by_head[chosen]
    x = [d.tokens for d in mine]
    for metric, style, symbol in (
        ("needle_hit", {"color": theme.lines[0], "width": 1.8, "dash": "dash"}, "diamond"),
        ("needle_mass", pen(theme, -1), "circle"),
    ):
        words = escaped(t(f"stat.{metric}"))
        shape.add_trace(
            go.Scatter(
                x=x, y=[getattr(d, metric) for d in mine], mode="lines+markers", name=words,
                line=style, marker={"size": 8, "symbol": symbol},
                customdata=[[d.passages] for d in mine],
                hovertemplate=f"{words} %{{y:.1%}}<br>n = %{{x:,.0f}}"
                "<br>+%{customdata[0]}<extra></extra>",
            )
        )  # fmt: skip
    if trained is not None and trained < x[-1]:
        shade(shape, trained, x[-1], theme, t("dilution.beyond", trained=trained))
    shape.update_xaxes(
        type="log", tickvals=x, ticktext=[f"{d.tokens:,.0f}<br>+{d.passages}" for d in mine],
        title_text=escaped(t("dilution.axis.inserted")),
        range=[np.log10(x[0]) - 0.04, np.log10(x[-1]) + 0.04],
    )  # fmt: skip
    shape.update_yaxes(range=[-0.02, 1.04], tickformat=".0%", title_text=escaped(t("axis.share")))
    shape.update_layout(margin={"t": 12, "r": 12})
    return shape


def ranking(
    exponents: Mapping[tuple[int, int], float], chosen: tuple[int, int], *, theme: Theme, t: Words
) -> go.Figure:
    """Heads from the one that holds best to the one that thins out most; a click chooses one."""
    order = sorted(exponents, key=exponents.__getitem__)[:MOST_HEADS]
    shape = figure(theme, max(240, 22 * len(order) + 70))
    shape.add_trace(
        go.Bar(
            x=[exponents[key] for key in order], y=list(range(len(order))), orientation="h",
            marker={"color": [theme.accent if key == chosen else theme.quiet for key in order]},
            customdata=[list(key) for key in order],
            hovertemplate="%{x:.2f}<extra></extra>",
        )
    )  # fmt: skip
    shape.add_vline(x=1, line={"color": theme.faint, "width": 1, "dash": "dot"})
    names = [escaped(t("dilution.head", layer=layer, head=head)) for layer, head in order]
    shape.update_yaxes(tickvals=list(range(len(order))), ticktext=names, autorange="reversed",
                       showgrid=False)  # fmt: skip
    shape.update_xaxes(side="top")
    # above the names, too: a title centred on what they leave is cut off
    shape.update_layout(
        margin={"t": 52}, bargap=0.25,
        title={
            "text": escaped(t("dilution.axis.exponent")), "x": 0, "y": 1, "yanchor": "top",
            "pad": {"t": 6}, "font": {"color": theme.faint, "size": 13},
        },
    )  # fmt: skip
    return shape


def head_maps(
    maps: Mapping[int, np.ndarray], *, trained: int | None, theme: Theme, t: Words,
    height: int = 620,
) -> go.Figure:  # fmt: skip
    """One head at several lengths, two in a row, each cell in multiples of an even share, on one
    scale.

    Args:
        maps: length -> (a b) pooled cells. trained: longer ones are said to be extrapolation.
    """
    top = max(1.0, max(float(np.log10(np.maximum(cells, 1e-9)).max()) for cells in maps.values()))
    across, down = min(2, len(maps)), -(-len(maps) // 2)
    shape = figure(theme, height if down > 1 else height // 2)
    gap, room = 0.12, 0.13
    odd = len(maps) % 2 and down > 1  # then the scale takes the empty quarter
    wide, high = (1 + gap) / across - gap, (1 + room) / down - room
    for i, (n, cells) in enumerate(maps.items(), 1):
        axis = "" if i == 1 else str(i)
        row, column = divmod(i - 1, across)
        bar = {
            "thickness": 10, "len": high * 0.8, "outlinewidth": 0,
            "x": wide + gap if odd else 1.02, "xanchor": "left",
            "y": high / 2 if odd else 1 - high / 2,
            "tickvals": list(range(-1, int(top) + 1)),
            "ticktext": [f"×{10.0**x:g}" for x in range(-1, int(top) + 1)],
        }  # fmt: skip
        shape.add_trace(
            go.Heatmap(
                z=np.log10(np.maximum(cells, 0.1)).astype(np.float32), zmin=-1, zmax=top,
                colorscale=scale(theme.weight), showscale=i == len(maps), colorbar=bar,
                xaxis=f"x{axis}", yaxis=f"y{axis}", hoverinfo="skip",
            )
        )  # fmt: skip
        left, foot = column * (wide + gap), 1 - high - row * (high + room)
        ends = [-0.5, cells.shape[1] - 0.5]
        shape.update_layout(
            {
                f"xaxis{axis}": {
                    "domain": [left, left + wide], "anchor": f"y{axis}", "tickvals": ends,
                    "ticktext": ["0", f"{n:,}"], "showgrid": False, "constrain": "domain",
                    "constraintoward": "left", "title_text": escaped(t("axis.keys")),
                    "showline": True,
                },
                f"yaxis{axis}": {
                    "domain": [foot, foot + high], "anchor": f"x{axis}", "autorange": "reversed",
                    "showgrid": False, "showticklabels": False, "scaleanchor": f"x{axis}",
                    "constrain": "domain", "constraintoward": "top", "showline": True,
                    "title_text": escaped(t("axis.queries")) if column == 0 else "",
                },
            }
        )  # fmt: skip
        far = trained is not None and n > trained
        words = escaped(t("dilution.maps.beyond", n=n)) if far else f"n = {n:,}"
        shape.add_annotation(
            x=0, y=1, xref=f"x{axis} domain", yref=f"y{axis} domain", text=words,
            showarrow=False, xanchor="left", yanchor="bottom",
            font={"size": 14, "color": theme.ink},
        )  # fmt: skip
    shape.update_layout(margin={"t": 30})
    return shape
