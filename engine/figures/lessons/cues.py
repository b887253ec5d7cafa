"""A scene that is looked at: query, the keys it meets, their weights, the values they carry."""

from collections.abc import Sequence

import plotly.graph_objects as go

from engine.figures.base.theme import Theme, Words, array, figure
from engine.lessons.cues import Glance, Object, Wish
from engine.text.tokens import escaped

SIZES = {"small": 14, "large": 28}
SHAPES = {"circle": "circle", "square": "square", "triangle": "triangle-up"}
QUERY, KEY, FLOOR, VALUE, OUTPUT = 3.35, 2.0, 0.35, 0.0, -0.75
"""Heights of the rows of the picture; bars stand on the floor."""
TALL = 0.85
BEAM = 12.0  # pixels of a beam that carries everything


def colours(theme: Theme) -> dict[str, str]:
    """What the scene's colours are in a theme."""
    return {"grey": theme.faint, "blue": theme.lines[1], "rose": theme.lines[3]}


def scene(
    objects: Sequence[Object],
    glance: Glance,
    wish: Wish | None,
    *,
    theme: Theme,
    t: Words,
    height: int = 460,
) -> go.Figure:
    """Objects in a row; above them the query, if there is one, with a beam to each key as wide as
    its weight; below them weights as bars, values, and the output."""
    shape, paint = figure(theme, height), colours(theme)
    weights, count = array(glance.weights).tolist(), len(objects)
    left, right = -2.35, count - 0.4
    middle, top = (left + right) / 2, max(max(weights), 1e-9)
    for i, weight in enumerate(weights):
        shape.add_trace(
            go.Scatter(
                x=[middle, i] if wish is not None else [], mode="lines", hoverinfo="skip",
                y=[QUERY - 0.12, KEY + 0.2] if wish is not None else [],
                line={"width": max(0.5, BEAM * weight), "color": theme.accent},
                opacity=0.2 + 0.6 * weight,
            )
        )  # fmt: skip
    named = [
        " · ".join(t(f"lesson.cues.{kind}.{getattr(one, kind)}") for kind in SHOWN)
        for one in objects
    ]
    hover = [
        escaped(t("lesson.cues.hover", features=name, score=score, weight=weight, value=one.value))
        for name, score, weight, one in zip(
            named, array(glance.scores).tolist(), weights, objects, strict=True
        )
    ]
    shape.add_trace(
        go.Scatter(
            x=list(range(count)), y=[KEY] * count, mode="markers", text=hover,
            hovertemplate="%{text}<extra></extra>",
            marker={
                "symbol": [SHAPES[one.shape] for one in objects],
                "size": [SIZES[one.size] for one in objects],
                "color": [paint[one.colour] for one in objects], "opacity": 1,
                "line": {"width": 0},
            },
        )
    )  # fmt: skip
    bars = [TALL * weight / top for weight in weights]
    shape.add_trace(
        go.Bar(
            x=list(range(count)), y=bars, base=FLOOR, width=0.5, text=hover,
            textposition="none", hovertemplate="%{text}<extra></extra>",
            marker={"color": theme.quiet},
        )
    )  # fmt: skip
    for y, texts, size in (
        ([FLOOR + 0.13 + bar for bar in bars], [f"{w:.0%}" for w in weights], 15),
        ([VALUE] * count, [f"{one.value:g}" for one in objects], 20),
    ):
        shape.add_trace(
            go.Scatter(
                x=list(range(count)), y=y, mode="text", text=texts, hoverinfo="skip",
                textfont={"size": size, "color": theme.ink},
            )
        )  # fmt: skip
    asked = wish or {}
    shape.add_trace(
        go.Scatter(
            x=[middle], y=[QUERY], mode="markers", hoverinfo="skip",
            marker={
                "symbol": SHAPES[asked.get("shape") or "circle"],
                "size": SIZES[asked.get("size") or "small"],
                "color": paint.get(asked.get("colour") or "", theme.paper),
                "opacity": 0 if wish is None else 1,
                "line": {"width": 2.5, "color": theme.accent},
            },
        )
    )  # fmt: skip
    words = wanted(wish, t) if wish is not None else t("lesson.cues.picture.none")
    lines = (
        (QUERY + 0.32, words, theme.faint if wish is None else theme.accent),
        (OUTPUT, t("lesson.cues.picture.output", output=glance.output), theme.ink),
    )
    for y, said, colour in lines:
        shape.add_annotation(
            x=0.5,
            xref="paper",
            y=y,
            text=escaped(said),
            showarrow=False,
            font={"size": 18, "color": colour},
        )
    for y, row in ((KEY, "keys"), (FLOOR + 0.12, "weights"), (VALUE, "values")):
        shape.add_annotation(
            x=-0.6, y=y, text=escaped(t(f"lesson.cues.picture.{row}")), showarrow=False,
            xanchor="right", font={"size": 14, "color": theme.faint},
        )  # fmt: skip
    shape.update_xaxes(range=[left, right], visible=False, fixedrange=True)
    shape.update_yaxes(range=[OUTPUT - 0.3, QUERY + 0.6], visible=False, fixedrange=True)
    shape.update_layout(showlegend=False, margin={"l": 0, "r": 0, "t": 0, "b": 0})
    return shape


SHOWN = ("size", "colour", "shape")


def wanted(wish: Wish, t: Words) -> str:
    """The query in words."""
    said = [t(f"lesson.cues.{kind}.{wish[kind]}") for kind in SHOWN if wish.get(kind)]
    return t("lesson.cues.picture.query", wish=" · ".join(said) or t("lesson.cues.picture.any"))
