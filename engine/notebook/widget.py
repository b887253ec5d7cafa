"""The widget, for Jupyter, marimo, VS Code and Colab; it needs `anywidget`."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from engine.contract import Refusal
from engine.notebook import page
from engine.notebook.exhibit import Exhibit


class Shown(anywidget.AnyWidget):
    """An exhibit that the kernel goes on answering for.

    Attributes:
        shown: what is shown, as plain data. tiles: maps that came along, by "layer.head".
    """

    _esm = page.module()
    _css = page.style()
    shown = traitlets.Dict().tag(sync=True)
    tiles = traitlets.Dict().tag(sync=True)

    def __init__(self, made: Exhibit) -> None:
        super().__init__(shown=made.state() | {"page": page.named()}, tiles=made.tiles())
        self.made = made
        self.on_msg(self._asked)

    def _asked(self, widget: Any, said: Any, buffers: Any) -> None:
        """The browser asks for a window, for lines, or for the drawing library."""
        told: dict[str, Any] = {"id": said.get("id")}
        found: list[bytes] = []
        try:
            if said["kind"] == "tile":
                rows, cols = (said["r0"], said["r1"]), (said["c0"], said["c1"])
                found = [self.made.tile(
                    int(said["layer"]), int(said["head"]), rows, cols, said["pool"], said["colour"]
                )]  # fmt: skip
            elif said["kind"] == "lines":
                told["lines"] = self.made.lines(int(said["layer"]))
            elif said["kind"] == "plotly":
                found = [page.library()]
        except Refusal as error:
            told["error"] = str(error)
        self.send(told, found)

    def _ipython_display_(self) -> None:
        """Two outputs: a page that draws what came along, and the widget that takes its place as
        long as a kernel answers. JupyterLab shows nothing else of an output that had a widget."""
        shell = page.shell()
        if shell is None:
            raise NotImplementedError  # as IPython wants it: what follows tells of it
        made = self._repr_mimebundle_()
        found, about = made if isinstance(made, tuple) else (made, {})
        shell.display_pub.publish({page.HTML: found.pop(page.HTML)})
        shell.display_pub.publish(found, about)

    def _repr_mimebundle_(self, **more: Any) -> Any:
        """The widget, and for whoever has no kernel a page that draws what came along."""
        found = super()._repr_mimebundle_(**more)
        kept = {page.HTML: page.kept(self.shown, self.tiles)}
        if isinstance(found, tuple):
            return {**found[0], **kept}, *found[1:]
        return {**(found or {}), **kept}
