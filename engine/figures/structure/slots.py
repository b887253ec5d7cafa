"""What summary slots hold, what a row gives them, and how they turn."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from engine.contract.views import Slots
from engine.figures.base.picture import Context, Picture
from engine.figures.base.theme import array, figure, scale
from engine.figures.structure.memory_moving import keys
from engine.structure.memory import CELLS, OWN, Scene
from engine.text.tokens import escaped


def held(scene: Scene, slots: Slots, context: Context) -> Picture:
    """What each slot stands for as the chosen row's segment begins, and what the row gives it."""
    qkv, t, theme = scene.qkv, context.t, context.theme
    segment, found = scene.segment_of(context.row), scene.holdings(slots)
    past = min(segment * scene.view.segment, qkv.m)
    width = max(1, -(-past // CELLS))
    starts = np.arange(0, past, width)
    counts = [int(x.keys.sum()) for x in found]
    shares = [
        np.add.reduceat(x.keys[:past].astype(float), starts) / count
        for x, count in zip(found, counts, strict=True)
    ]
    mine, theirs = [x.mass for x in found], [x.full for x in found]
    y = list(range(len(found)))
    called = [t("memory.slot", number=i + 1, count=c) for i, c in enumerate(counts)]
    shape = figure(theme, max(300, min(420, 120 + 22 * len(found))), bargap=0.25)
    shape.add_trace(
        go.Heatmap(
            z=[(x / x.max()).astype(np.float32) for x in shares],
            x=(starts + np.minimum(starts + width, past) - 1) / 2, y=y, zmin=0, ygap=2,
            colorscale=scale(theme.weight), showscale=False,
            customdata=[x.round(4) for x in shares],
            text=[[name] * len(starts) for name in map(escaped, called)],
            hovertemplate="%{text}<br>%{x:,d}: %{customdata:.1%}<extra></extra>",
        )
    )  # fmt: skip
    for values, name, colour in (
        (mine, "memory.here", theme.quiet), (theirs, "memory.full", theme.faint)
    ):  # fmt: skip
        shape.add_trace(
            go.Bar(
                orientation="h", y=y, x=values, xaxis="x2", name=escaped(t(name)),
                marker={"color": colour, "line": {"width": 0}},
                customdata=[escaped(x) for x in called],
                hovertemplate="%{customdata}<br>%{x:.1%}<extra>" + escaped(t(name)) + "</extra>",
            )
        )  # fmt: skip
    few = len(found) <= 16
    shape.update_layout(
        barmode="group",
        xaxis={"domain": [0, 0.62], "title": {"text": keys(context, width)}, "showgrid": False,
               "tickformat": ",d", "range": [-0.5, past - 0.5]},
        xaxis2={"domain": [0.66, 1], "title": {"text": escaped(t("memory.axis.row_mass"))},
                "tickformat": ".0%", "rangemode": "tozero", "anchor": "y", "nticks": 4},
        yaxis={"autorange": "reversed", "showgrid": False,
               **({"tickvals": y, "ticktext": list(map(escaped, called))} if few
                  else {"title": {"text": escaped(t("memory.axis.slot"))}})},
    )  # fmt: skip
    facts = {"row": context.row, "segment": segment + 1, "held": int(sum(counts)),
             "slots": len(found), "mass": float(sum(mine)), "full": float(sum(theirs)),
             "largest": max(counts, default=0)}  # fmt: skip
    return Picture("memory_slots_held", shape, facts)


def drift(scene: Scene, slots: Slots, context: Context) -> Picture:
    """How much the slots' keys turn as each segment is taken in."""
    t, theme, found = context.t, context.theme, scene.drift(slots)
    at, mean, low, high = found.at, found.mean, found.low, found.high
    shape = figure(theme, 300, hovermode="x unified")
    shape.add_trace(
        go.Scatter(
            x=[*at, *at[::-1]], y=[*high, *low[::-1]], fill="toself", mode="lines",
            line={"width": 0}, fillcolor=theme.weight[2], opacity=0.6, hoverinfo="skip",
            name=escaped(t("memory.spread")),
        )
    )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=at, y=mean, mode="lines+markers", line={"color": theme.weight[6], "width": 2},
            name=escaped(t("memory.mean")), hovertemplate="%{y:.3f}",
        )
    )  # fmt: skip
    shape.update_xaxes(
        title_text=escaped(t("memory.axis.ended")), showgrid=False, tickformat=",d",
        dtick=1 if len(at) <= 16 else None,
    )  # fmt: skip
    shape.update_yaxes(title_text=escaped(t("memory.axis.cosine")))
    facts = {"first": float(mean[0]), "last": float(mean[-1]), "least": float(low.min()),
             "count": len(at)}  # fmt: skip
    return Picture("memory_drift", shape, facts)


def text(scene: Scene, slots: Slots, context: Context) -> Picture:
    """The text by the slot that holds each key; what is hidden is in none."""
    found = [x.keys for x in scene.holdings(slots)]
    kinds, labels = scene.kinds([context.row]), np.full(scene.qkv.m, -1)
    for i, member in enumerate(found):
        labels[member] = i
    if context.att.hidden_keys is not None:
        for values in (kinds, labels):
            values[array(context.att.hidden_keys)] = -1
    called = [
        context.t("memory.slot", number=i + 1, count=int(member.sum()))
        for i, member in enumerate(found)
    ]
    return Picture(
        "memory_slots_text", labels=labels.tolist(), names=called, wide=True,
        facts={
            "row": context.row, "own": int((kinds == OWN).sum()),
            "held": int((labels >= 0).sum()), "slots": len(found),
        },
    )  # fmt: skip
