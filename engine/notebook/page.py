"""A picture's part of a page, which draws itself where there is no kernel."""

from __future__ import annotations

import base64
import gzip
import json
import secrets
import sys
from functools import cache
from typing import Any

from engine.runtime.scripts import COMPONENTS, joined

HTML = "text/html"


def named() -> str:
    """An id for a page's part."""
    return f"attention-explorer-{secrets.token_hex(6)}"


def kept(state: dict[str, Any], tiles: dict[str, bytes]) -> str:
    """A page's part that draws itself, in a notebook that was kept or exported.

    Its id is the state's `page`: a widget of that page takes its place. With none it is alone.
    """
    data = {"shown": state, "tiles": {k: base64.b64encode(v).decode() for k, v in tiles.items()}}
    inert = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    name = state["page"] or named()
    role = ' class="ae-page"' if state["page"] else ""
    script = module().replace("export default widget;", "")
    return (
        f'<style>{style()}</style>{_library(state)}<div id="{name}"{role}></div>'
        f'<script type="application/json" id="{name}-data">{inert}</script>'
        f'<script type="module">{script}\nwidget.showKept(document.getElementById("{name}"), '
        f'JSON.parse(document.getElementById("{name}-data").textContent));</script>'
    )


@cache
def module() -> str:
    """The browser's part; nothing in it ends a script element."""
    return joined("notebook.js").replace("</script", "<\\/script")


@cache
def style() -> str:
    """Its style sheets."""
    files = ("taking", "heatmap", "tokens", "edges", "notebook")
    return "\n".join((COMPONENTS / f"{file}.css").read_text("utf-8") for file in files)


@cache
def library() -> bytes:
    """The drawing library, packed with gzip; some 1.5 MB."""
    from engine.figures.base.export import plotly_script

    return gzip.compress(plotly_script().encode(), 6)


_brought: dict[str, str] = {}
"""The cell that the library stands in, and the run of it."""


def _library(state: dict[str, Any]) -> str:
    """The library for those pictures that need it, once a kernel: pages hold all that it made. A
    cell that is run again loses it, and gets it again."""
    cell, run = _running()
    if state["view"] == "lines" or (_brought and (cell not in _brought or _brought[cell] == run)):
        return ""
    _brought[cell] = run
    packed = base64.b64encode(library()).decode()
    return f'<script type="text/plain" class="attention-explorer-plotly">{packed}</script>'


def shell() -> Any:
    """IPython's, where it shows pages, as in a notebook; None elsewhere, as in a terminal."""
    found = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return found if found and HTML in found.display_formatter.active_types else None


def _running() -> tuple[str, str]:
    """The cell that is run, and the run; both empty outside of a notebook."""
    asked = found.get_parent() if hasattr(found := shell(), "get_parent") else {}
    return asked.get("metadata", {}).get("cellId", ""), asked.get("header", {}).get("msg_id", "")
