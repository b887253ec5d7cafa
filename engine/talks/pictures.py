"""What a beat of a talk shows, drawn from the state of a page.

A panel is plain data for the browser, by its "kind":

- "plot": a Plotly `figure`, with a `title` ("" if it stands alone);
- "text": `tokens` with `weights` of the row `chosen`, `seen` keys, and the `top` of the scale, or
  with `groups` (of each token, −1 for none) and their `names`; `cut` says where text is left out;
- "page": the `link` of a page that is shown as it is, live.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from engine.contract import Colour, Refusal
from engine.figures.attention.heatmap import heatmap
from engine.figures.attention.mosaic import mosaic
from engine.figures.attention.strips import strips
from engine.figures.base.moving import film
from engine.figures.base.picture import Picture
from engine.figures.base.theme import Figure, Theme
from engine.figures.structure.pictures import Context, pictures
from engine.mechanisms.softmax import Softmax
from engine.models import embedded
from engine.models.zoo.recipes import KINDS
from engine.spec import links
from engine.spec.picture import Spec
from engine.spec.talk import Beat
from engine.talks import lab
from engine.talks.attended import Attended, Studio
from engine.talks.words import sentence
from engine.text.tokens import flowing, isolated

Say = Callable[..., str]
Panel = dict[str, Any]

CELLS = 160
"""Cells a side of a map: on a projector no more can be told apart."""
ROWS = 300
"""Pixels that strips share, before a projector's type enlarges them."""
SMALL = 48
"""Cells a side of each head's map."""
INSIDE = {"x": 1, "xanchor": "right", "y": 1, "yanchor": "top", "len": 0.5}
"""Where a scale stands in a map's upper right corner."""
READABLE = 360
"""Tokens of a text that are large enough to be read from the last row."""


@dataclass(frozen=True)
class Drawn:
    """One beat. panels: side by side. said: one or two sentences. source: where it comes from."""

    panels: list[Panel]
    said: str = ""
    source: str = ""


def draw(page: str, beat: Beat, studio: Studio, theme: Theme, t: Say) -> Drawn:
    """What a page's state shows.

    Raises:
        ValueError: it can't be shown; says why.
    """
    if page == "explore":
        return explore(beat, studio, theme, t)
    if page == "compare":
        return compare(beat, studio, theme, t)
    if page == "dilution":
        figure, said = lab.draw(beat, studio, theme, t)
        figures = figure if isinstance(figure, list) else [figure]
        return Drawn([plot(one, beat.frame) for one in figures], said)
    return Drawn([{"kind": "page"}])


def spec_of(beat: Beat) -> Spec:
    """The picture's spec.

    Raises:
        Refusal: the state says something that can't be used.
    """
    spec, problems = links.read(beat.query)
    for one in problems:
        raise Refusal("{field} can't be {value!r}", field=one.field, value=one.value[:40])
    return spec


# -- Explore -------------------------------------------------------------------------------------


def explore(beat: Beat, studio: Studio, theme: Theme, t: Say) -> Drawn:
    """The text and the map; or one of them, the row, all heads, or a picture of the mechanism's
    own structure, by its key."""
    made = studio.attended(spec_of(beat))
    source = provenance(made, t)
    name = beat.picture or ("both" if made.attention.frame.tokens else "map")
    if name in ("both", "text", "map"):
        panels = []
        if name != "map":
            panels.append(text(made, t))
        if name != "text":
            panels.append(plot(map_of(made, theme, t)))
        return Drawn(panels, row_said(made, t), source)
    if name == "heads":
        att, colour = made.attention, made.spec.colour
        maps = att.heatmap(SMALL, made.spec.pool, colour=scaled(made.spec))
        figure = mosaic(
            maps.cpu(), theme=theme, t=t, colour=colour, signed=att.row_kind == "signed",
            chosen=made.head,
        )  # fmt: skip
        return Drawn([plot(figure)], "", source)
    if name == "row":
        return Drawn([plot(row_of([made], made, theme, t))], row_said(made, t), source)
    return structure(made, beat, theme, t, source)


def structure(made: Attended, beat: Beat, theme: Theme, t: Say, source: str) -> Drawn:
    """One of the mechanism's own pictures."""
    context = Context(
        att=made.attention, head=made.head, row=made.row, theme=theme, t=t, qkv=made.given,
        mechanism=made.mechanism,
    )  # fmt: skip
    found = {one.key: one for one in pictures(context)}
    one = found.get(beat.picture)
    if one is None:
        known = ("both", "text", "map", "heads", "row", *found)
        raise Refusal(
            "there is no picture {name!r} here; there are {known}",
            name=beat.picture, known=", ".join(known),
        )  # fmt: skip
    said = t(f"picture.{one.key}.caption", **one.facts)
    if one.figure is not None:
        panels = [plot(figure, beat.frame) for figure in (one.figure, *one.beside)]
    elif one.labels is not None:
        panels = [grouped(made, one, t)]
    else:
        raise Refusal("this picture has no drawing that a talk could show")
    return Drawn(panels, said, source)


def called(made: Attended, t: Say) -> Callable[[int, str], str]:
    """A position's name in a sentence."""
    tokens, grid = made.attention.frame.tokens, made.attention.frame.grid

    def name(position: int, role: str) -> str:
        if grid and (place := grid.place[position].tolist())[0] >= 0:
            return t(f"sentence.patch.{role}", row=place[0] + 1, column=place[1] + 1)
        if grid or not tokens:
            return t(f"sentence.{role}_unnamed", position=position)
        return t(f"sentence.{role}", token=f"“{isolated(tokens[position])}”", position=position)

    return name


def row_said(made: Attended, t: Say) -> str:
    """What the chosen row does."""
    att = made.attention
    at = made.row + max(0, att.frame.m - att.frame.n)
    return sentence(
        made.look, at, att.row_kind, called(made, t), t, patches=att.frame.grid is not None
    )


def provenance(made: Attended, t: Say) -> str:
    """Where the picture comes from: model, layer, head, mechanism; or the source that was made."""
    spec = made.spec
    parts = [t(f"source.{spec.source}.name")] if not spec.textual else [
        t("badge.model", model=model_name(spec.model, t), layer=spec.layer)
    ]  # fmt: skip
    parts += [t("head.name", head=made.head), t(f"mechanism.{spec.mechanism}.name")]
    if spec.hide:
        parts.append(t("talk.hidden", count=len(spec.hide)))
    return " · ".join(parts)


def model_name(name: str, t: Say) -> str:
    """What a model is called: in words if it comes with the project, else as it is."""
    kind = embedded.kind_of(name)
    if kind is None:
        return t("model.tiny") if name == embedded.EMBEDDED else name
    own = name.removeprefix(embedded.PREFIX)
    key = KINDS[own].key
    words = f"mechanism.{key}.name" if own == key else f"model.zoo.{own}"
    return t("model.zoo", name=t(words))


def scaled(spec: Spec) -> Colour:
    """How rows are scaled before pooling; the logarithm is a matter of drawing."""
    return cast(Colour, "weight" if spec.colour == "log" else spec.colour)


def map_of(made: Attended, theme: Theme, t: Say) -> Figure:
    """The chosen head's map."""
    att, spec, frame = made.attention, made.spec, made.attention.frame
    r0, r1, c0, c1 = spec.zoom or (0, frame.n, 0, frame.m)
    r1, c1 = min(r1, frame.n), min(c1, frame.m)
    cells = att.heatmap(
        CELLS, spec.pool, slice(min(r0, r1 - 1), r1), slice(min(c0, c1 - 1), c1),
        colour=scaled(spec),
    )[made.head]  # fmt: skip
    names = frame.tokens if max(r1 - r0, c1 - c0) <= SMALL else None
    return heatmap(
        cells.cpu(), theme=theme, t=t, rows=(r0, r1), cols=(c0, c1), keys=names,
        queries=names and names[frame.m - frame.n :], colour=spec.colour, pool=spec.pool,
        signed=att.row_kind == "signed", query=made.row,
    )  # fmt: skip


def text(made: Attended, t: Say) -> Panel:
    """The text around the chosen token, tinted by what that gives each key."""
    frame = made.attention.frame
    if not frame.tokens:
        raise Refusal("there is no text here: tokens have no names")
    at = made.row + max(0, frame.m - frame.n)
    start, stop = window(made, at)
    weights, seen = made.weights[start:stop], made.seen
    return {
        "kind": "text",
        "tokens": [flowing(token) for token in frame.tokens[start:stop]],
        "cut": [start > 1, stop < frame.m],
        "chosen": at - start,
        "weights": [float(f"{weight:.4g}") for weight in weights.tolist()],
        "seen": None if seen is None else seen[start:stop],
        "top": float(made.weights.abs().max()),
        "signed": made.attention.row_kind == "signed",
        "title": t("talk.text"),
    }


def grouped(made: Attended, one: Picture, t: Say) -> Panel:
    """The text around the chosen token, each token in its group's tint."""
    frame = made.attention.frame
    if not frame.tokens:
        raise Refusal("there is no text here: tokens have no names")
    at = made.row + max(0, frame.m - frame.n)
    start, stop = window(made, at)
    return {
        "kind": "text",
        "tokens": [flowing(token) for token in frame.tokens[start:stop]],
        "cut": [start > 1, stop < frame.m],
        "chosen": at - start,
        "groups": list(one.labels or ())[start:stop],
        "names": list(one.names[:12]),
        "own": one.own,
        "title": t(f"picture.{one.key}.title"),
    }


def window(made: Attended, at: int) -> tuple[int, int]:
    """Where a text begins and stops, so that a position is in it and all can be read; without the
    mark of its beginning where that is set aside."""
    m = made.attention.frame.m
    start = max(0, min(at - READABLE * 3 // 4, m - READABLE))
    stop = min(m, start + READABLE)
    return (1 if not start and at and 0 in made.spec.hide else start), stop


def top(figure: Figure) -> float:
    """Where the colours of a map end."""
    traces: Any = figure.data
    return float(traces[0].zmax)


def row_of(others: Sequence[Attended], made: Attended, theme: Theme, t: Say) -> Figure:
    """The chosen row under each mechanism, full attention's behind it."""
    full = Softmax().attend(made.given)
    if made.attention.hidden_keys is not None:
        full = full.hide(made.attention.hidden_keys)
    here, frame = torch.tensor([made.row]), made.attention.frame
    rows = [
        (t(f"mechanism.{one.spec.mechanism}.name"),
         one.attention.weights(here)[made.head, 0].float().cpu())
        for one in others
    ]  # fmt: skip
    return strips(
        rows, full.weights(here)[made.head, 0].float().cpu(), theme=theme, t=t, keys=frame.tokens,
        query=min(made.row + max(0, frame.m - frame.n), frame.m - 1),
        log=made.spec.colour == "log", height=ROWS // len(rows),
    )  # fmt: skip


# -- Compare -------------------------------------------------------------------------------------


def compare(beat: Beat, studio: Studio, theme: Theme, t: Say) -> Drawn:
    """Mechanisms side by side over the same Q, K and V, with one scale; or the row under each."""
    spec = spec_of(beat)
    full = studio.attended(spec.replace(mechanism="softmax", params=(), others=None))
    where = {"layer": full.spec.layer, "head": full.head, "query": full.row}
    columns = [
        studio.attended(
            spec.replace(mechanism=key, params=pairs, others=None, column=None, **where)
        )
        for key, pairs in spec.columns
    ]
    source = provenance(full, t).rpartition(" · ")[0]
    if beat.picture == "row":
        return Drawn([plot(row_of(columns, full, theme, t))], "", source)
    if beat.picture not in ("", "maps"):
        raise Refusal(
            "there is no picture {name!r} here; there are {known}",
            name=beat.picture, known="maps, row",
        )  # fmt: skip
    drawn = [map_of(one, theme, t) for one in columns]
    tops = [top(figure) for one, figure in zip(columns, drawn, strict=True) if one.shares]
    panels = []
    for i, (one, figure) in enumerate(zip(columns, drawn, strict=True)):
        if one.shares:  # one scale, said once
            figure.update_traces(zmax=max(tops), selector={"type": "heatmap"})
            figure.update_traces(showscale=i == len(columns) - 1, selector={"type": "heatmap"})
            if full.attention.frame.causal:  # where no map has anything, so that all are as wide
                figure.update_traces(colorbar=INSIDE, selector={"type": "heatmap"})
        if i:
            figure.update_yaxes(title_text="")
        effective = float(one.stats.effective_tokens[one.head, one.row])
        name = t(f"mechanism.{one.spec.mechanism}.name")
        if effective == effective:
            name = t("talk.column", name=name, effective=effective)
        panels.append(plot(figure, title=name))
    return Drawn(panels, "", source)


# -- panels --------------------------------------------------------------------------------------


def plot(figure: Figure, frame: int | None = None, title: str = "") -> Panel:
    """A figure as a panel; of one that moves, a frame, the last if none is said."""
    if figure.frames:
        moves = film(figure)
        whole = json.loads(moves.figure.to_json() or "{}")
        at = len(moves.frames) - 1 if frame is None else min(frame, len(moves.frames) - 1)
        change = moves.frames[at]
        whole["data"] = [
            trace | new for trace, new in zip(whole["data"], change["traces"], strict=True)
        ]
        return {"kind": "plot", "title": title or moves.labels[at], "figure": whole}
    return {"kind": "plot", "title": title, "figure": json.loads(figure.to_json() or "{}")}
