"""What changes in a picture that moves, so that the browser can move it in place."""

from typing import Any

import numpy as np
import plotly.graph_objects as go


def change(figure: go.Figure, note: str = "", share: float | None = None) -> dict[str, Any]:
    """A figure's x and y, trace by trace, for one of the same traces; plain lists and numbers."""
    traces = [{k: _plain(getattr(trace, k)) for k in ("x", "y")} for trace in figure.data]
    found: dict[str, Any] = {"traces": traces, "note": note}
    return found if share is None else found | {"share": share}


def _plain(values: Any) -> list[Any]:
    return [] if values is None else np.asarray(values, dtype=object).tolist()
