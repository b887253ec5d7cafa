"""One head's map as a picture of its own, small: a dot a pair, without axes."""

import numpy as np

from engine.figures.attention.mosaic import painted, png
from engine.figures.base.theme import Theme


def thumbnail(
    weights: np.ndarray,
    seen: np.ndarray,
    theme: Theme,
    *,
    signed: bool = False,
    selects: bool = False,
) -> bytes:
    """A PNG file, one pixel a cell.

    Args:
        weights: (a b), drawn by the square roots of their sizes, so that faint ones are seen.
        seen: (a b) True where a pair may be read; the others are paper.
        selects: of those, what gets no weight at all is veiled, as on the large map.
    """
    paper, veil = (
        np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)], dtype=np.uint8)
        for colour in (theme.paper, theme.grid)
    )
    size = np.sqrt(np.abs(weights))
    (cells,) = painted(
        (np.sign(weights) * size if signed else size)[None], "weight", theme, signed
    )
    if selects:
        cells[weights == 0] = veil
    cells[~seen] = paper
    return png(cells)
