"""A heatmap that zooms down to single tokens at any length, drawn by Plotly in the page.

The browser asks the tile route for the window that it shows; the page is told only what the person
chose: a query (click, Enter) and a window (zoom, pan).
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict
from typing import Any, cast

import streamlit as st

from engine.contract import Colour, Pool
from engine.measure.attention import Attention
from engine.structure.overlay import Overlay
from engine.text import quantities
from pages.ui.components import taking
from pages.ui.components.looks import LOOKS, registered, script, styles, words
from pages.ui.server.windows import PLOTLY, REGISTRY, sent_along
from pages.ui.shared.about import About

Zoom = tuple[int, int, int, int]
"""Rows r0:r1 and columns c0:c1."""

component = registered(
    "attention_heatmap",
    html=styles("heatmap.html"),
    css=styles("taking.css", "heatmap.css"),
    js=script("heatmap.js"),
    isolate_styles=False,
)

WORDS = (
    "aria", "query", "key", "unseen", "failed", "whole", "whole_help", "in", "in_help", "out",
    "out_help", "fit", "fit_help", "lost", "lost_help",
    "lost_legend", "order_help", "veil", "whole_map", "play", "play_help", "pause", "note_exact",
    "note_pooled", "note_removed", "removed", "pool_max", "pool_mean", "pool_sum",
    "colour_weight", "colour_log", "colour_uniform", "colour_row", "value_weight", "value_log",
    "value_uniform", "value_row",
)  # fmt: skip


TAKEN = {"taken"}
"""Parts that are taken away."""


def told(overlay: Overlay | None, t: Callable[..., str]) -> dict[str, str]:
    """Words of what one overlay has: its bands, its order, its curve, and the rest."""
    if overlay is None:
        return {}
    kind, found = overlay.kind, {}

    def say(word: str, name: str, **facts: Any) -> None:
        found[word] = t(f"component.heatmap.{name}", **facts)

    if overlay.bands:
        say("bands", f"bands_{kind}")
    if len(overlay.bands) > 1 and not overlay.stacked:
        say("layer", f"layer_{kind}", a="{a}", b="{b}")
        say("layer_help", f"layer_{kind}_help")
    if overlay.bands and overlay.ordered:
        say("order", f"order_{kind}")
    if overlay.boxes and kind in ("memory", "slots"):
        say("memory", kind)
    if overlay.curve is not None:
        say("curve", f"curve_{overlay.curve.kind}")
        if overlay.curve.half is not None:
            say("ribbon", f"ribbon_{overlay.curve.kind}", half=overlay.curve.half)
    if overlay.mark is not None:
        say("mark", "mark", share=quantities.share(overlay.mark.share))
    if overlay.product is not None:
        say("product", "product", rank=overlay.product.rank)
    return found


def heatmap(
    key: str,
    attention: Attention,
    t: Callable[..., str],
    *,
    name: Hashable = None,
    queries: tuple[str, ...] | None = None,
    head: int = 0,
    pool: Pool = "max",
    colour: str = "weight",
    window: Zoom | None = None,
    query: int | None = None,
    height: int = 560,
    overlay: Overlay | None = None,
    full: Attention | None = None,
    selects: bool = False,
    parts: Mapping[str, Attention] | None = None,
    about: About | None = None,
    link: str | None = None,
    lead: bool = True,
    top: float | None = None,
    on_query: Callable[[int], None] | None = None,
    on_window: Callable[[Zoom | None], None] | None = None,
) -> None:
    """Draw one head, and call back with what the person chooses.

    Args:
        t: words, `component.heatmap.*`.
        name: what decides the weights (a string for caches): keeps the tiles over reruns even if
            the attention is computed anew.
        queries: what the queries are called, where they are no keys.
        colour: "weight", "log", "uniform" or "row". window: what to show; None = everything.
        query: the row to mark. height: of the picture, in pixels.
        about: what it says of itself when it is saved, if not what the page says of itself.
        overlay: the mechanism's structure on this head's map. full: full attention over the same
            keys, so that what it had can be shown. selects: some pairs get no weight at all, and
            are veiled. parts: maps that add up to this one, by the ids of their names.
        link: heatmaps with the same name move as one and share a scale with those of their kind
            (signed or not); they are drawn narrow. lead: of those, the one with the buttons.
        top: where the colours of a max-pooled map end, if not at its own largest.
        on_query: called with a row. on_window: called with a window, or None for everything.
    """

    heard: dict[str, int] = st.session_state.setdefault(f"{key}-heard", {})

    def new(event: dict[str, Any] | None, name: str) -> bool:
        """Whether an event is here that was not here before."""
        if not event or event["turn"] <= heard.get(name, 0):
            return False
        heard[name] = event["turn"]
        return True

    def chosen() -> None:
        event: Any = st.session_state[key].query
        if new(event, "query") and on_query:
            on_query(int(event["row"]))

    def moved() -> None:
        event: Any = st.session_state[key].window
        if new(event, "window") and on_window:
            span = event["span"]
            on_window(None if span is None else (span[0], span[1], span[2], span[3]))

    frame = attention.frame
    token = REGISTRY.put(attention, name, queries)
    reference = None if full is None else REGISTRY.put(full, (name, "full"))
    values = cast(Colour, "weight" if colour == "log" else colour)
    # what full attention had is shown at first where nothing else tells the mechanism
    at_once = [token] if reference is None or selects or overlay else [token, reference]
    component(
        key=key,
        data={
            "token": token,
            "sent": {one: sent_along(one, head, pool, values) for one in at_once}
            if window is None
            else {},
            "tile": "api/tile",
            "plotly": PLOTLY,
            "n": frame.n,
            "m": frame.m,
            "head": head,
            "pool": pool,
            "colour": colour,
            "window": None if window is None else list(window),
            "query": query,
            "heard": max(heard.values(), default=0),
            "height": height,
            "signed": attention.row_kind == "signed",
            "link": link,
            "lead": lead,
            "top": top,
            "overlay": overlay
            and asdict(overlay) | {"names": [t(f"route.{x}") for x in overlay.names]},
            "reference": reference,
            "selects": selects,
            "parts": [
                {
                    "name": t(f"part.{one}"),
                    "taken": one in TAKEN,
                    "token": REGISTRY.put(part, (name, "part", one)),
                }
                for one, part in (parts or {}).items()
            ],
            "looks": LOOKS,
            "words": words(t, "heatmap", WORDS, "n m r0 r1 c0 c1 a b pool x")
            | told(overlay, t)
            | taking.said(t),
            **taking.about(key, of=about),
        },
        on_query_change=chosen,
        on_window_change=moved,
        on_expired_change=lambda: None,  # the rerun itself registers the attention again
    )
