"""A picture as a cell's last line: a widget where there is a kernel, a page where it was kept."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from engine.measure.attention import Attention
from engine.models import Trace
from engine.notebook.exhibit import Exhibit, View, exhibit
from engine.notebook.page import HTML, kept, shell
from engine.runtime.scripts import COMPONENTS

if TYPE_CHECKING:
    from engine.notebook.widget import Shown

LARGEST = 2**26
"""Weights of all heads up to which an attention shows itself without being asked."""
WIDGET = "application/vnd.jupyter.widget-view+json"
Bundle = dict[str, Any]


def show(
    thing: Attention | Trace, *, layer: int | None = None, head: int | None = None,
    query: int | None = None, mechanism: str | None = None, view: View = "map",
    colour: str = "weight", language: str = "en", **params: Any,
) -> Shown | Kept:  # fmt: skip
    """Show an attention, or every layer of a text that a model read, in a notebook.

    With `anywidget` (the extra `notebook`) it is a widget that asks the kernel for what it zooms
    into; without, a page of what came along, which is also what a kept notebook shows.

    Args:
        layer, head, query: what to open on, counted from 0; where something can be seen if None.
        mechanism, params: of a trace, instead of what the model attends by.
        view: "map", a head's map with the text beside it, or "lines" between tokens.
        colour: "weight", "log", "uniform" or "row". language: "en" or "zh".

    Raises:
        ValueError: there is no such layer, head or row. OSError: the app's parts are not here.
    """
    made = exhibit(
        thing, layer=layer, head=head, query=query, mechanism=mechanism, view=view, colour=colour,
        language=language, **params,
    )  # fmt: skip
    try:
        from engine.notebook.widget import Shown
    except ImportError:
        return Kept(made)
    return Shown(made)


class Kept:
    """An exhibit as a page, without a kernel."""

    def __init__(self, made: Exhibit) -> None:
        self.made = made

    def _repr_html_(self) -> str:
        return kept(self.made.state(), self.made.tiles())


def bundle(att: Attention, include: Collection[str] | None = None) -> Bundle | None:
    """How an attention shows itself as a cell's last line; None where it should not, as in a
    terminal, or where it would take long."""
    if not (_light(att) and (not include or {HTML, WIDGET} & set(include))):
        return None
    made = show(att)
    if isinstance(made, Kept):
        return {HTML: made._repr_html_(), "text/plain": repr(att)}
    return made._repr_mimebundle_()


def display(att: Attention) -> None:
    """Shows an attention as a cell's last line where a widget can.

    Raises:
        NotImplementedError: it can't, or it would take long; IPython then asks for the bundle.
    """
    if shell() is None or not _light(att):
        raise NotImplementedError
    made = show(att)
    if isinstance(made, Kept):
        raise NotImplementedError
    made._ipython_display_()


def _light(att: Attention) -> bool:
    frame = att.frame
    return frame.heads * frame.n * frame.m <= LARGEST and COMPONENTS.is_dir()
