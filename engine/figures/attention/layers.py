"""All heads of a model as one picture: a layer a row, a head a column, a small map in each place.

One image under transparent points that answer to the pointer: a thousand heads draw as fast as a
few.
"""

import base64
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from engine.figures.attention.mosaic import painted, png, reduced
from engine.figures.base.theme import Theme, array, colour_at, figure
from engine.text.tokens import escaped

GAP = 0.09
"""Space between two heads, as a share of a place."""
PIXELS = 1_440
"""Of the image, a side at most."""
NUMBERED = 200
"""So many heads have their score written into their place."""
EDGES = 64  # px beside and above the picture, for the names


def layers(
    maps: Sequence[Tensor | np.ndarray],
    *,
    names: Sequence[str],
    theme: Theme,
    axes: tuple[str, str],
    signed: Sequence[bool] = (),
    groups: Sequence[int] = (),
    facts: Sequence[Sequence[str]] = (),
    tints: Sequence[Sequence[float]] | None = None,
    numbers: Sequence[Sequence[str]] = (),
    chosen: tuple[int, int] | None = None,
    off: Collection[tuple[int, int]] = (),
    height: int = 560,
) -> go.Figure:
    """Every head's map, or its score as a tint.

    Args:
        maps: of each layer, pooled weights (h a b). names: of the layers.
        axes: words over the heads and beside the layers. signed: layers with weights below 0.
        groups: of heads that share keys, in each layer; more than one head each are joined by a
            band. facts: a line about each head, for the pointer.
        tints: 0 … 1 of each head, drawn in the place of its map; NaN is left empty.
        numbers: what is written into each place where tints are drawn and there is room.
        chosen: a layer and a head. off: those that are switched off, which are crossed out.
    """
    cells = [array(one) for one in maps]
    across, down = max(map(len, cells)), len(cells)
    side = max(8, min(160, PIXELS // max(across, down)))
    gap = max(1, round(GAP * side))
    place = side + gap
    paper = np.array(_rgb(theme.paper), dtype=np.uint8)
    pixels = np.tile(paper, (down * place, across * place, 1))
    for i, layer in enumerate(cells):
        drawn = _tinted(tints[i], side, theme) if tints else _mapped(
            layer, side, theme, bool(signed) and signed[i]
        )  # fmt: skip
        top = i * place + gap // 2
        for h, head in enumerate(drawn):
            left = h * place + gap // 2
            pixels[top : top + side, left : left + side] = head
        _bands(pixels, i, len(layer), groups[i] if groups else len(layer), side, gap, theme)
    # the nearest middle answers to the pointer, however far: each head is all of its place
    shape = figure(
        theme, height, showlegend=False, hovermode="closest", hoverdistance=-1,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
    )  # fmt: skip
    shape.add_layout_image(
        source="data:image/png;base64," + base64.b64encode(png(pixels)).decode(),
        xref="x", yref="y", x=-0.5, y=-0.5, sizex=across, sizey=down, sizing="stretch",
        layer="below",
    )  # fmt: skip
    # all at once: Plotly goes through those that are there for each that is added
    frames = _frames([len(layer) for layer in cells], theme, chosen)
    shape.update_layout(shapes=[*frames, *_crosses(off, theme)])
    places = [(i, h) for i, layer in enumerate(cells) for h in range(len(layer))]
    written = bool(tints and numbers) and len(places) <= NUMBERED
    shape.add_trace(
        go.Scatter(
            x=[h for _, h in places], y=[i for i, _ in places],
            mode="markers+text" if written else "markers",
            marker={"size": 16, "color": "rgba(0,0,0,0)", "line": {"width": 0}},
            selected={"marker": {"opacity": 0}}, unselected={"marker": {"opacity": 0}},
            customdata=[[i, h] for i, h in places],
            text=[escaped(numbers[i][h]) for i, h in places] if written else None,
            textfont={"color": [_on(tints[i][h], theme) for i, h in places]} if tints else None,
            hovertext=[escaped(facts[i][h]) if facts else f"{i} · {h}" for i, h in places],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    )  # fmt: skip
    common = {"showgrid": False, "zeroline": False, "fixedrange": True, "constrain": "domain"}
    shape.update_xaxes(
        title_text=escaped(axes[0]), side="top", range=[-0.5, across - 0.5],
        constraintoward="left", **_numbered(across), **common,
    )  # fmt: skip
    shape.update_yaxes(
        title_text=escaped(axes[1]), range=[down - 0.5, -0.5], scaleanchor="x",
        constraintoward="top", **_numbered(down, names), **common,
    )  # fmt: skip
    return shape


def _mapped(layer: np.ndarray, side: int, theme: Theme, signed: bool) -> np.ndarray:
    """Every head's map, (h side side 3), each to its own largest value."""
    small = reduced(layer, side)
    rows, cols = (np.arange(side) * small.shape[k] // side for k in (1, 2))
    return painted(small[:, rows][:, :, cols], "weight", theme, signed)


def _tinted(shares: Sequence[float], side: int, theme: Theme) -> np.ndarray:
    """Every head in one colour, (h side side 3)."""
    colours = [_rgb(theme.paper if x != x else colour_at(theme.weight, x)) for x in shares]
    made = np.array(colours, dtype=np.uint8)[:, None, None]
    return np.broadcast_to(made, (len(shares), side, side, 3))


def _bands(
    pixels: np.ndarray, i: int, heads: int, groups: int, side: int, gap: int, theme: Theme
) -> None:
    """Under heads that share their keys a band, its tint in turns."""
    if not 0 < groups < heads:
        return
    place, each = side + gap, heads // groups
    top = i * place + gap // 2 + side
    for group in range(groups):
        left, right = group * each * place + gap // 2, ((group + 1) * each) * place - gap // 2
        pixels[top : top + max(1, gap // 2), left:right] = _rgb(theme.tints[group % 2])


def _frames(
    heads: Sequence[int], theme: Theme, chosen: tuple[int, int] | None
) -> Iterator[dict[str, Any]]:
    """A hairline round every head where there are few, and an accent round the chosen one."""
    inside = (1 - GAP / (1 + GAP)) / 2
    few = sum(heads) <= NUMBERED
    for i, count in enumerate(heads):
        for h in range(count):
            own = (i, h) == chosen
            if own or few:
                line = {"color": theme.accent if own else theme.grid, "width": 2 if own else 1}
                ends = {"x0": h - inside, "x1": h + inside, "y0": i - inside, "y1": i + inside}
                yield {"type": "rect", **ends, "line": line}


def _crosses(off: Collection[tuple[int, int]], theme: Theme) -> Iterator[dict[str, Any]]:
    """A veil and a cross over every head that is switched off."""
    for i, h in off:
        x0, x1, y0, y1 = h - 0.45, h + 0.45, i - 0.45, i + 0.45
        yield {
            "type": "rect", "x0": x0, "x1": x1, "y0": y0, "y1": y1, "fillcolor": theme.paper,
            "opacity": 0.75, "line": {"width": 0},
        }  # fmt: skip
        for a, b in ((y0, y1), (y1, y0)):
            line = {"color": theme.accent, "width": 2}
            yield {"type": "line", "x0": x0, "x1": x1, "y0": a, "y1": b, "line": line}


def _numbered(count: int, names: Sequence[str] = ()) -> dict:
    """Ticks at every head or layer, or at some where there are many."""
    step = -(-count // 40)
    at = list(range(0, count, step))
    return {
        "tickmode": "array", "tickvals": at,
        "ticktext": [escaped(names[i]) if names else f"{i}" for i in at],
    }  # fmt: skip


def _on(share: float, theme: Theme) -> str:
    """Writing that is read on a tint."""
    if share != share:
        return theme.faint
    dark = sum(_rgb(colour_at(theme.weight, share))) < 3 * 120
    return "#ffffff" if dark else "#15171b"


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return red, green, blue
