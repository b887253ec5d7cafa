"""All heads as one picture: a grid of small maps that are compared at a glance.

One image under a transparent grid that answers to the pointer: 144 heads draw in half a second,
where 144 subplots take ten.
"""

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from engine.figures.attention.heatmap import values
from engine.figures.base.theme import Theme, Words, array, colour_at, figure
from engine.text.tokens import escaped

GAP = 0.08
"""Space between two heads, as a share of a place."""
NAME = 30
"""Height of a head's name, in pixels."""


def png(pixels: np.ndarray) -> bytes:
    """(rows cols 3) bytes as a PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows, cols, _ = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", cols, rows, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 6)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def reduced(maps: np.ndarray, most: int) -> np.ndarray:
    """(h a b) with at most `most` cells a side: of the values in each, the one furthest from 0."""
    for axis in (1, 2):
        step = -(-maps.shape[axis] // most)
        if step > 1:
            starts = np.arange(0, maps.shape[axis], step)
            low, high = (f.reduceat(maps, starts, axis=axis) for f in (np.minimum, np.maximum))
            maps = np.where(-low > high, low, high)
    return maps


@cache
def _table(stops: tuple[str, ...]) -> np.ndarray:
    """256 colours along a scale, (256 3) bytes."""
    return np.array(
        [[int(colour_at(stops, i / 255)[k : k + 2], 16) for k in (1, 3, 5)] for i in range(256)],
        dtype=np.uint8,
    )


def painted(cells: np.ndarray, colour: str, theme: Theme, signed: bool) -> np.ndarray:
    """(… a b) weights as (… a b 3) bytes, each head to its own largest value."""
    table = _table(tuple(theme.signed if signed else theme.weight))
    out = np.empty((*cells.shape, 3), dtype=np.uint8)
    for i, head in enumerate(cells):
        drawn, marks = values(head, colour, signed)
        share = (drawn - marks["zmin"]) / (marks["zmax"] - marks["zmin"])
        out[i] = table[np.clip(np.nan_to_num(share) * 255, 0, 255).astype(np.uint8)]
    return out


def mosaic(
    maps: Tensor | np.ndarray,
    *,
    theme: Theme,
    t: Words,
    colour: str = "weight",
    signed: bool = False,
    facts: Sequence[str] = (),
    chosen: int | None = None,
    columns: int | None = None,
    most: int = 512,
    height: int = 640,
) -> go.Figure:
    """Every head's map, head 0 at the top left.

    Args:
        maps: (h a b) pooled weights. facts: a line about each head, for the pointer.
        columns: heads in a row; about a square if None. most: cells a side of one head.
    """
    maps = reduced(array(maps), most)
    heads, a, b = maps.shape
    across = columns or math.ceil(math.sqrt(heads))
    down = math.ceil(heads / across)
    scaled = painted(maps, colour, theme, signed)
    times = max(1, 160 // max(a, b))  # so that small maps stay crisp
    scaled = scaled.repeat(times, 1).repeat(times, 2)
    top = min(0.4, NAME * down / height)
    # the nearest middle answers to the pointer, however far: each head is all of its place
    shape = figure(theme, height, showlegend=False, hovermode="closest", hoverdistance=-1)
    places = [divmod(h, across) for h in range(heads)]
    for h, (row, col) in enumerate(places):
        source = "data:image/png;base64," + base64.b64encode(png(scaled[h])).decode()
        shape.add_layout_image(
            source=source, xref="x", yref="y", x=col + GAP / 2, y=row + top,
            sizex=1 - GAP, sizey=1 - top, sizing="stretch", layer="below",
        )  # fmt: skip
        shape.add_annotation(
            text=escaped(t("head.name", head=h)), x=col + GAP / 2, y=row + top, showarrow=False,
            xanchor="left", yanchor="bottom",
            font={"size": 13, "color": theme.accent if h == chosen else theme.faint},
        )  # fmt: skip
        shape.add_shape(
            type="rect", x0=col + GAP / 2, x1=col + 1 - GAP / 2,
            y0=row + top, y1=row + 1,
            line={"color": theme.accent if h == chosen else theme.grid, "width": 1},
        )  # fmt: skip
    shape.add_trace(
        go.Scatter(
            x=[col + 0.5 for _, col in places],
            y=[row + 0.5 for row, _ in places],
            mode="markers",
            marker={"size": 16, "color": "rgba(0,0,0,0)", "line": {"width": 0}},
            selected={"marker": {"opacity": 0}},
            unselected={"marker": {"opacity": 0}},
            customdata=list(range(heads)),
            text=[escaped(fact) for fact in facts]
            or [t("head.name", head=h) for h in range(heads)],
            hovertemplate="%{text}<extra></extra>",
        )
    )
    shape.update_xaxes(
        visible=False,
        range=[0, across],
        fixedrange=True,
        constrain="domain",
        constraintoward="left",
    )
    shape.update_yaxes(
        visible=False,
        range=[down, 0],
        fixedrange=True,
        scaleanchor="x",
        scaleratio=(1 - GAP) / (1 - top),
        constrain="domain",
        constraintoward="top",
    )
    return shape
