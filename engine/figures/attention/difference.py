"""Where one attention gives more than another, and where less: zero is paper."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from engine.figures.attention.heatmap import NAMED_CELLS, ticks
from engine.figures.base.theme import Theme, Words, array, figure, scale
from engine.measure.comparison import Difference
from engine.text.tokens import escaped, isolated

DECADES = 3
"""Powers of ten below the largest difference that a logarithmic scale shows."""
LOGARITHMIC = ("log", "uniform")


def signed_log(cells: np.ndarray, top: float) -> np.ndarray:
    """±DECADES at ±top, falling by 1 with each power of ten, 0 from DECADES below."""
    with np.errstate(divide="ignore"):
        size = np.log10(np.abs(cells) / top) + DECADES
    return np.sign(cells) * np.maximum(size, 0)


def usual(cells: np.ndarray) -> float:
    """Where the colours end: at the largest difference, or, where a few cells exceed all others
    so far that the others would be paper, at what 99 of 100 cells that differ stay within."""
    size = np.abs(cells[cells != 0])
    if not size.size:
        return 1.0
    top, most = float(size.max()), float(np.quantile(size, 0.99))
    return most if most < top / 2 else top


def difference(
    found: Difference,
    *,
    theme: Theme,
    t: Words,
    queries: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    colour: str = "weight",
    query: int | None = None,
    height: int = 420,
    bar: str | None = None,
) -> go.Figure:
    """Queries down, keys across; blue where the attention gives more, rust where it gives less.

    Args:
        queries, keys: all tokens' names. colour: of the cells; "log" and "uniform" are drawn by
            powers of ten. query: the row that the person chose. bar: which words name the colours,
            `difference.bar.<bar>`; by colour if None.
    """
    cells = array(found.cells)
    r0, r1, c0, c1 = found.span
    tall = (r1 - r0) / len(cells) if found.sampled else found.cell[0]
    wide = found.cell[1]
    top = float(np.abs(cells).max(initial=0)) or 1.0
    scaled: dict = {
        "thickness": 10,
        "outlinewidth": 0,
        "len": 0.8,
        "nticks": 7,
        "tickformat": "~g",
    }
    drawn, end = cells, usual(cells)
    if colour not in LOGARITHMIC and end < top:
        half, most = f"{end / 2:.2g}", f"{end:.2g}"
        scaled |= {
            "tickvals": [-end, -end / 2, 0, end / 2, end],
            "ticktext": [f"≤ −{most}", f"−{half}", "0", half, f"≥ {most}"],
        }
    if colour in LOGARITHMIC:
        drawn, end = signed_log(cells, top), float(DECADES)
        at = range(-DECADES, DECADES + 1)
        sizes = [f"{top * 10.0 ** (abs(k) - DECADES):.2g}" for k in at]
        scaled |= {
            "tickvals": list(at),
            "ticktext": [
                f"±{size}" if k == 0 else f"{'−' if k < 0 else '+'}{size}"
                for k, size in zip(at, sizes, strict=True)
            ],
        }
    small = {"size": 12, "color": theme.faint}
    words = t(f"difference.bar.{bar or ('weight' if colour == 'log' else colour)}")
    shape = figure(theme, height)
    shape.add_trace(
        go.Heatmap(
            z=drawn.astype(np.float32), zmin=-end, zmax=end, colorscale=scale(theme.signed),
            x0=c0 + (wide - 1) / 2, dx=wide, y0=r0 + (tall - 1) / 2, dy=tall,
            colorbar={
                "title": {"text": escaped(words), "side": "right", "font": small},
                "tickfont": small, **scaled,
            },
            **_hover(found, cells, queries, keys),
        )
    )  # fmt: skip
    axis = {"showgrid": False, "zeroline": False, "showline": True, "mirror": True}
    shape.update_xaxes(title_text=escaped(t("axis.keys")), **axis, **ticks(keys, c0, c1))
    shape.update_yaxes(
        title_text=escaped(t("axis.queries")), range=[r1 - 0.5, r0 - 0.5], **axis,
        **ticks(queries, r0, r1),
    )  # fmt: skip
    if query is not None and r0 <= query < r1:
        shape.add_shape(
            type="rect", x0=c0 - 0.5, x1=c1 - 0.5, y0=query - tall / 2, y1=query + tall / 2,
            line={"color": theme.accent, "width": 1.5},
        )  # fmt: skip
    return shape


def _hover(
    found: Difference,
    cells: np.ndarray,
    queries: Sequence[str] | None,
    keys: Sequence[str] | None,
) -> dict:
    """The pair's names, unless cells pool or are very many, and the difference itself."""
    named = found.cell == (1, 1) and not found.sampled and cells.size <= NAMED_CELLS
    if not named or queries is None or keys is None:
        return {
            "customdata": cells.astype(np.float32),
            "hovertemplate": "%{y:,.0f} → %{x:,.0f}<br>%{customdata:+.3g}<extra></extra>",
        }
    r0, r1, c0, c1 = found.span
    down, across = (
        [f"{escaped(isolated(x))} {i:,}" for i, x in enumerate(names[a:b], a)]
        for names, a, b in ((queries, r0, r1), (keys, c0, c1))
    )
    text = [
        [f"{q} → {k}<br>{v:+.3g}" for k, v in zip(across, line, strict=True)]
        for q, line in zip(down, cells.tolist(), strict=True)
    ]
    return {"text": text, "hovertemplate": "%{text}<extra></extra>"}
