"""Sample images of our own, drawn from formulas at any size: the same on every machine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Pixels = np.ndarray
"""(H W 3) float64, sRGB from 0 to 1."""


class Canvas:
    """A square of `side` pixels to paint on; x runs right and y down, 0 to 1."""

    def __init__(self, side: int) -> None:
        at = (np.arange(side) + 0.5) / side
        self.x, self.y = np.meshgrid(at, at)
        self.pixels = np.ones((side, side, 3))

    def paint(self, where: np.ndarray, colour: str, lower: str = "") -> None:
        """Fill where it is true with #rrggbb, or from that down to `lower`."""
        top = _rgb(colour)
        if lower:
            self.pixels[where] = top + (_rgb(lower) - top) * self.y[where][:, None]
        else:
            self.pixels[where] = top

    def disc(self, x: float, y: float, radius: float) -> np.ndarray:
        """Where a disc is."""
        return np.hypot(self.x - x, self.y - y) < radius

    def box(self, left: float, top: float, right: float, bottom: float) -> np.ndarray:
        """Where a rectangle is."""
        return (self.x >= left) & (self.x < right) & (self.y >= top) & (self.y < bottom)


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def house(on: Canvas) -> None:
    """A house and a tree on a meadow, under a sky with a sun."""
    on.paint(on.y < 2, "#5b9bd8", "#dcebf6")
    on.paint(on.disc(0.17, 0.18, 0.09), "#ffd23c")
    on.paint(on.y > 0.66 - 0.07 * np.sin(3.2 * on.x + 0.4), "#86b05e", "#4c8a3c")
    on.paint(on.box(0.42, 0.5, 0.72, 0.8), "#efe3cf")
    roof = (on.y > 0.33) & (on.y < 0.5)
    on.paint(roof & (np.abs(on.x - 0.57) < (on.y - 0.33) * 1.12), "#a8402f")
    on.paint(on.box(0.53, 0.64, 0.61, 0.8), "#6b4630")
    for left in (0.45, 0.64):
        on.paint(on.box(left, 0.56, left + 0.055, 0.62), "#4a6d8c")
    on.paint(on.box(0.85, 0.55, 0.885, 0.82), "#69482c")
    on.paint(on.disc(0.867, 0.46, 0.12), "#2f6b35")


def chequers(on: Canvas) -> None:
    """A chequered floor in two greys with one red ball on it."""
    dark = (np.floor(on.x * 8) + np.floor(on.y * 8)) % 2 == 1
    on.paint(~dark, "#d9d9d4")
    on.paint(dark, "#8f9499")
    on.paint(on.disc(0.66, 0.4, 0.13), "#cf2e2e")
    on.paint(on.disc(0.62, 0.35, 0.035), "#f2b8b0")


DRAWINGS: dict[str, Callable[[Canvas], None]] = {"house": house, "chequers": chequers}
"""The samples, by name."""


def drawn(name: str, side: int) -> Pixels:
    """A sample, `side` pixels a side; edges are smooth, each pixel the mean of four."""
    canvas = Canvas(2 * side)
    DRAWINGS[name](canvas)
    return canvas.pixels.reshape(side, 2, side, 2, 3).mean((1, 3))
