"""Windows of an attention on their way to a browser, which draws them.

An answer is the length of a header (four bytes, little-endian), the header as JSON, padded to a
multiple of four bytes, and the cells as float32, row by row; cells that no pair may fill are NaN.
"""

from __future__ import annotations

import json
import math

import numpy as np
import torch

from engine.contract import Colour, Pool
from engine.measure.attention import Attention
from engine.measure.cells import Cells, pairs
from engine.text.tokens import shortened

LABEL = 9  # characters of a token in an answer
Names = tuple[str, ...] | None


def packed(
    attention: Attention, head: int, rows: tuple[int, int], cols: tuple[int, int], *,
    size: int = 512, pool: Pool = "max", colour: Colour = "weight",
    queries: Names = None, keys: Names = None,
) -> bytes:  # fmt: skip
    """A head's weights in a window, as an answer.

    Args:
        rows, cols: half-open spans. size: cells a side at most. pool, colour: as of `heatmap`.
        queries, keys: what all of them are called, if anything.
    """
    frame = attention.frame
    (r0, r1), (c0, c1) = rows, cols
    with torch.inference_mode():
        maps = attention.heatmap(size, pool, slice(r0, r1), slice(c0, c1), colour)
    cells = maps[head].float().cpu().numpy().astype("<f4", copy=True)
    down, across = Cells(r0, r1, size), Cells(c0, c1, size)
    tops, lefts = down.edges()[:-1].numpy(), across.edges()[:-1].numpy()
    cells[(pairs(frame, down, across, attention.device) == 0).cpu().numpy()] = np.nan
    some = bool(np.isfinite(cells).any())
    ends = [_finite(float(end(cells))) if some else 0.0 for end in (np.nanmax, np.nanmin)]
    header = {
        "shape": cells.shape,
        "rows": rows,
        "cols": cols,
        "cell": (down.width, across.width),
        "top": ends[0],
        "bottom": ends[1],
        "queries": _names(queries, tops, down.width, r1),
        "keys": _names(keys, lefts, across.width, c1),
        "removed": [_finite(round(x, 4)) for x in _removed(attention, head, down)],
    }
    said = json.dumps(header).encode()
    said += b" " * (-len(said) % 4)
    return len(said).to_bytes(4, "little") + said + cells.tobytes()


def _finite(x: float) -> float | None:
    """JSON has no other numbers."""
    return x if math.isfinite(x) else None


def _removed(attention: Attention, head: int, down: Cells) -> list[float]:
    """Mean mass that keys set aside took from the rows of each cell; none if there are none."""
    if attention.hidden_keys is None or attention.row_kind == "signed":
        return []
    with torch.inference_mode():
        mass = attention.removed(slice(down.start, down.stop))[head].double().cpu()
    return [float(x.mean()) for x in mass.split(down.width)]


def _names(tokens: Names, starts: np.ndarray, step: int, stop: int) -> list[str]:
    if tokens is None:
        return []
    if step == 1:
        return [shortened(tokens[i], LABEL) for i in starts.tolist()]
    ends = [min(i + step, stop) for i in starts.tolist()]
    shown = (
        shortened("".join(tokens[i:end][:4]), LABEL) for i, end in zip(starts, ends, strict=True)
    )
    return [text if text.endswith("…") else f"{text}…" for text in shown]
