"""A small grid whose cells a person paints: which queries may see which keys."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from pages.ui.components.looks import registered, script, words

HTML = """
<div class="pt">
  <div class="pt-grid" role="grid"></div>
  <div class="pt-hands">
    <button data-all="1"></button><button data-all="0"></button>
  </div>
</div>
"""

component = registered(
    "attention_paint",
    html=HTML,
    css=Path(__file__).with_name("paint.css").read_text("utf-8"),
    js=script("paint.js"),
    isolate_styles=False,
)


def paint(
    key: str,
    cells: Sequence[Sequence[bool]],
    t: Callable[..., str],
    *,
    on_paint: Callable[[list[list[bool]]], None],
) -> None:
    """Draw it: drag, or arrow keys and the space bar; a row's or column's number turns it whole.

    Args:
        cells: True = may look. t: words, `component.paint.*`. on_paint: called with all cells.
    """

    def painted() -> None:
        event: Any = st.session_state[key].cells
        if event:
            on_paint([[bool(x) for x in row] for row in event["cells"]])

    component(
        key=key,
        data={
            "cells": [[int(x) for x in row] for row in cells],
            "words": words(
                t, "paint", ("aria", "cell", "seen", "unseen", "row", "col", "all", "none"),
                "i j state",
            ),
        },
        on_cells_change=painted,
    )  # fmt: skip
