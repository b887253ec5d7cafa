"""Figures as self-contained pages: nothing is fetched when they are opened."""

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from engine.measure.attention import Attention
from engine.text.locale import speaker


def figure_page(
    path: Path,
    att: Attention,
    cells: Float[Tensor, "a b"],
    head: int,
    query: int | None = None,
    language: str = "en",
) -> None:
    """Write one head's map as a page with Plotly inside (about 5 MB).

    Args:
        cells: the head's map, as `Attention.heatmap` gives it. query: a row to mark.

    Raises:
        OSError: the file can't be written.
    """
    from engine.figures.attention.heatmap import heatmap
    from engine.figures.base.theme import LIGHT
    from engine.text.tokens import escaped

    frame = att.frame
    shown = heatmap(
        cells, theme=LIGHT, t=speaker(language), rows=(0, frame.n), cols=(0, frame.m),
        queries=frame.tokens[frame.m - frame.n :] if frame.tokens and frame.n <= frame.m else None,
        keys=frame.tokens, signed=att.row_kind == "signed", query=query, height=800,
    )  # fmt: skip
    title = f"{frame.origin.source} · {frame.origin.detail} · head {head}"
    shown.update_layout(
        title=escaped(title), paper_bgcolor="#ffffff", dragmode="zoom", margin={"t": 90}
    )
    shown.write_html(path, include_plotlyjs=True, full_html=True)
