"""What a notebook is shown: an attention, or all layers of a text that a model read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from engine.contract import Refusal
from engine.figures.base.theme import DARK, LIGHT
from engine.measure.attention import Attention
from engine.mechanisms import attend
from engine.models import Trace
from engine.runtime.cached import cached_property
from engine.runtime.scripts import COMPONENTS
from engine.store import taken
from engine.structure.answers import packed
from engine.structure.edges import lines
from engine.structure.highlights import best_layer
from engine.structure.opening import opening
from engine.text.locale import locale, speaker
from engine.text.tokens import PART_OF, direction, excerpt, flowing, joining, shown

View = Literal["map", "lines"]
CELLS = 512
"""Cells a side of a map at most; a text of more tokens than that stands beside none."""
KEPT = 1_500_000
"""Bytes of maps that a notebook keeps, so that they are seen without a kernel."""
WINDOW = 48
"""Tokens that lines run between."""
LEAST, MOST = 0.04, 240
"""The smallest weight that is a line, and lines of a head at most."""
PLACES = ("heatmap", "tokens", "edges", "taking", "notebook")


@dataclass(frozen=True, eq=False)
class Exhibit:
    """What is shown, and what it opens on.

    Attributes:
        attention: of a layer, by its place. layers: what they are called; one without a name where
            there are no layers. layer, head, query: shown at first.
        tokens: of the keys; queries: of the rows. about: where it comes from.
    """

    attention: Callable[[int], Attention]
    layers: Sequence[str]
    layer: int
    head: int
    query: int
    view: View
    colour: str
    language: str
    about: str
    queries: tuple[str, ...] | None = None

    @cached_property
    def first(self) -> Attention:
        """The attention that it opens on."""
        return self.attention(self.layer)

    def tile(self, layer: int, head: int, rows: tuple[int, int], cols: tuple[int, int],
             pool: Any = "max", colour: Any = "weight") -> bytes:  # fmt: skip
        """A window of a head, as the browser reads it.

        Raises:
            Refusal: there is no such layer or head.
        """
        if not 0 <= layer < len(self.layers) or not 0 <= head < self.first.frame.heads:
            raise Refusal("there is no layer {layer} with a head {head}", layer=layer, head=head)
        frame = self.first.frame
        return packed(
            self.attention(layer), head, _within(rows, frame.n), _within(cols, frame.m),
            size=CELLS, pool=pool, colour="weight" if colour == "log" else colour,
            queries=self.queries, keys=frame.tokens,
        )  # fmt: skip

    def tiles(self) -> dict[str, bytes]:
        """Whole maps of heads by "layer.head", the first shown first, as many as may be kept."""
        frame = self.first.frame
        order = sorted(range(len(self.layers)), key=lambda i: i != self.layer)
        heads = sorted(range(frame.heads), key=lambda h: h != self.head)
        found: dict[str, bytes] = {}
        for layer, head in ((i, h) for i in order for h in heads):
            made = self.tile(layer, head, (0, frame.n), (0, frame.m), colour=self.colour)
            if found and sum(map(len, found.values())) + len(made) > KEPT:
                break
            found[f"{layer}.{head}"] = made
        return found

    def lines(self, layer: int) -> list[dict[str, Any]]:
        """A layer's lines, head by head, between the tokens of the window."""
        first, stop = self.between
        at = torch.arange(first, stop)
        spans = torch.stack([at, at + 1], 1)
        found = []
        for head in range(self.first.frame.heads):
            made = lines(self.attention(layer), head, spans, spans, LEAST, MOST)
            ends = zip(made.ends.tolist(), made.weights.tolist(), strict=True)
            found.append(
                {
                    "name": speaker(self.language)("head.name", head=head),
                    "lines": [x for (q, k), w in ends for x in (q, k, float(f"{w:.3g}"))],
                    "aside": [float(f"{x:.3g}") for x in made.aside.tolist()],
                    "outside": [float(f"{x:.3g}") for x in made.outside.tolist()],
                }
            )
        return found

    @cached_property
    def between(self) -> tuple[int, int]:
        """First and last (half-open) of the tokens that lines run between."""
        m = self.first.frame.m
        first = max(0, min(self.query - WINDOW * 3 // 4, m - WINDOW))
        return first, min(m, first + WINDOW)

    def state(self) -> dict[str, Any]:
        """All but the maps, as plain data (`Exhibit` in data.d.ts)."""
        frame, words = self.first.frame, locale(self.language)
        tokens = list(frame.tokens or ()) if max(frame.n, frame.m) <= CELLS else []
        first, stop = self.between
        named = tokens[first:stop]
        drawn = self.view == "lines"
        return {
            "view": self.view, "page": "", "layers": list(self.layers), "layer": self.layer,
            "heads": frame.heads, "head": self.head, "query": self.query,
            "n": frame.n, "m": frame.m, "signed": self.first.row_kind == "signed",
            "colour": self.colour, "tokens": [flowing(token) for token in tokens],
            "names": {i: shown(x) for i, x in enumerate(tokens) if PART_OF.fullmatch(x)},
            "lines": {self.layer: self.lines(self.layer)} if drawn else {},
            "between": [first, stop], "sides": [*joining(map(shown, named))],
            "called": list(map(shown, named)), "direction": direction("".join(named)),
            "about": [x for x in (self.about, self._beginning()) if x],
            "file": taken.name("attention", frame.origin.source), "language": self.language,
            "looks": {theme.name: asdict(theme) for theme in (LIGHT, DARK)},
            "html": {name: (COMPONENTS / f"{name}.html").read_text("utf-8")
                     for name in ("heatmap", "tokens", "edges")},
            "words": {place: {k.removeprefix(f"component.{place}."): v for k, v in words.items()
                              if k.startswith(f"component.{place}.")} for place in PLACES},
        }  # fmt: skip

    def _beginning(self) -> str:
        tokens = self.first.frame.tokens
        return f"“{excerpt(tokens)}”" if tokens else ""


def _within(span: tuple[int, int], total: int) -> tuple[int, int]:
    first = min(max(int(span[0]), 0), total - 1)
    return first, max(min(int(span[1]), total), first + 1)


def exhibit(
    thing: Attention | Trace, *, layer: int | None = None, head: int | None = None,
    query: int | None = None, mechanism: str | None = None, view: View = "map",
    colour: str = "weight", language: str = "en", **params: Any,
) -> Exhibit:  # fmt: skip
    """What is shown of an attention or a trace; see `engine.show`.

    Raises:
        ValueError: there is no such layer, head or row; or lines have no tokens to run between.
    """

    def made(i: int) -> Attention:
        if i not in held and not isinstance(thing, Attention):
            held[i] = (
                thing.attention(i)
                if mechanism is None
                else attend(thing.layer(i), mechanism, **params)
            )
        return held[i]

    held: dict[int, Attention]
    if isinstance(thing, Attention):
        held = {0: thing}
        layers, about = [""], thing.frame.origin.detail or thing.frame.origin.source
        layer, queries = 0, None
    else:
        trace, held = thing, {}
        layers, about = list(trace.names), trace.model.name
        layer = best_layer(map(made, range(trace.layers))) if layer is None else layer
        if not 0 <= layer < trace.layers:
            raise Refusal("there is no layer {layer} with a head {head}", layer=layer, head=0)
        queries = trace.queries(layer).tokens
    att = made(layer)
    frame = att.frame
    if queries is None and frame.tokens and frame.n <= frame.m:
        queries = frame.tokens[frame.m - frame.n :]
    if view == "lines" and (not frame.tokens or frame.n != frame.m):
        raise Refusal("lines run between tokens that have names, and there are none here")
    with torch.inference_mode():
        opened = opening(att, att.rows(), None, head) if head is None or query is None else (0, 0)
    head, query = opened[0] if head is None else head, opened[1] if query is None else query
    if not (0 <= head < frame.heads and 0 <= query < frame.n):
        raise Refusal(
            "row {query} of head {head} isn't there: rows are 0 … {last}, heads 0 … {last_head}",
            query=query, head=head, last=frame.n - 1, last_head=frame.heads - 1,
        )  # fmt: skip
    return Exhibit(made, layers, layer, head, query, view, colour, language, about, queries)
