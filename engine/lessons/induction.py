"""One story, one query, more and more text before it: what the Home page shows, computed.

A short story names somebody twice. Where the name comes back, an induction head looks for what
followed it the first time. The same row is then read with more and more of another text in front
of the story, under each mechanism. Nothing here is fixed but the texts: the head, the query and
every number come from the model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Refusal
from engine.mechanisms import MECHANISMS
from engine.mechanisms.base import Mechanism
from engine.mechanisms.softmax import Softmax
from engine.models import Model, Trace
from engine.structure.deed import Deed, deed
from engine.structure.glance import Glance, glance
from engine.structure.highlights import Against, against
from engine.structure.shown import Shown
from engine.text.offsets import whole_offsets
from engine.text.units import SENTENCE

LENGTHS = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
"""Tokens, about; the story alone comes before."""
MAP = 40
"""Cells a side of the small heatmap."""


@dataclass(frozen=True)
class Row:
    """What the query does in one text under one mechanism; the first key is set aside.

    Attributes:
        weights: of the keys after the first, renormalised without it, (n − 1); as they are where
            weights are signed.
        first: the first key's own share, or its weight where weights are signed.
        effective: exp(entropy) of `weights`, tokens; NaN where they are signed.
        target: weight of the token that followed the name's first mention. seen: this mechanism
            lets the query see that token. signed: weights may be below 0.
        cells: the head's map, largest weight a cell, (a b), without the first key.
        glance: the mechanism's own picture of the row. beside: the row set against full
            attention's; None where this is it, or weights are signed. deed: what was done on
            it; None of full attention.
    """

    weights: Float[Tensor, " k"]
    first: float
    effective: float
    target: float
    seen: bool
    signed: bool
    cells: Float[Tensor, "a b"]
    glance: Glance
    beside: Against | None
    deed: Deed | None


@dataclass(frozen=True)
class Reading:
    """The story with so much text before it.

    Attributes:
        text: all of it. n: tokens, the first one included. query, target: positions.
        beyond: longer than the texts that the model was trained on.
        qkv: of the whole layer.
    """

    text: str
    n: int
    query: int
    target: int
    beyond: bool
    qkv: QKV


@dataclass(frozen=True)
class Picture:
    """The whole demonstration.

    Attributes:
        tokens: of the longest text, the first one left out; every shorter text is an end of it.
        story: how many of them are the story. name: who is named twice.
        layer, head: the head that looks back most strongly. readings: shortest first.
    """

    tokens: tuple[str, ...]
    story: int
    name: str
    layer: int
    head: int
    trained_length: int | None
    readings: tuple[Reading, ...]


def offered(n: int, causal: bool = True) -> dict[str, Mechanism]:
    """The mechanisms to show, suited to n tokens: those that can look back only, if that is what
    the model does."""
    return {
        key: made().suited(n) for key, made in MECHANISMS.items() if made.causal_ok or not causal
    }


def pieces(trace: Trace, name: str) -> tuple[list[int], list[int]]:
    """Positions of the tokens that spell the name at its first and its last mention.

    Raises:
        ValueError: the name does not occur twice, or is spelt with different tokens.
    """
    starts = [found.start() for found in re.finditer(re.escape(name), trace.text)]
    if len(starts) < 2:
        raise Refusal("the story must name {name!r} twice", name=name)
    spans = trace.offsets.tolist()

    def at(start: int) -> list[int]:
        stop = start + len(name)
        return [i for i, (a, b) in enumerate(spans) if a < stop and b > start]

    first, last = at(starts[0]), at(starts[-1])
    if [trace.tokens[i] for i in first] != [trace.tokens[i] for i in last]:
        raise Refusal("the two mentions of {name!r} are not spelt with the same tokens", name=name)
    return first, last


def strongest(trace: Trace, name: str) -> tuple[int, int, int, int]:
    """Layer, head, query and target of the strongest look from the name's last mention to what
    followed the same token at its first, the first key set aside.

    Where the name is several tokens, the query is the last that more of the name follows.
    """
    first, last = pieces(trace, name)
    at = max(0, len(last) - 2)
    query, target = last[at], first[at] + 1
    best = (-1.0, 0, 0)
    for layer in range(trace.layers):
        attention = MECHANISMS["softmax"]().attend(trace.layer(layer)).hide(torch.tensor([0]))
        weight, head = attention.weights(torch.tensor([query]))[:, 0, target].max(0)
        best = max(best, (float(weight), layer, int(head)))
    return best[1], best[2], query, target


def beginnings(model: Model, full: str, story: int, lengths: Sequence[int]) -> list[int]:
    """Characters of the full text at which ends of it of about these many tokens begin, each at a
    sentence; nearest to the story first, none longer than the model can read.

    Args:
        story: the character where the story begins.
    """
    coded = model.tokenizer(full, return_offsets_mapping=True)["offset_mapping"]
    spans = whole_offsets(full, torch.tensor(coded)).tolist()
    sentences = {found.start() for found in SENTENCE.finditer(full, 0, story - 1)}
    most = model.context or len(spans)
    places = [(a, len(spans) - i) for i, (a, b) in enumerate(spans) if b > a and a in sentences]
    places = [(start, kept) for start, kept in places if kept < most]
    if not places:
        return []
    alone = min(kept for _, kept in places)
    found = [
        min(places, key=lambda place: abs(place[1] + 1 - length))[0]
        for length in lengths
        if length > alone
    ]
    return sorted(set(found), reverse=True)


def row_of(mechanism: Mechanism, qkv: QKV, head: int, query: int, target: int) -> Row:
    """What one query of a head does under a mechanism, the first key set aside.

    The other heads are attended only where they make a difference.
    """
    given, at = (qkv, head) if mechanism.by_head else (qkv.head(head), 0)
    attention = mechanism.attend(given)
    here = torch.tensor([query])
    whole = attention.weights(here)[at, 0]
    rest = attention.hide(torch.tensor([0]))
    weights = rest.weights(here)[at, 0]
    signed = attention.row_kind == "signed"
    shown = Shown(rest, at, query, given, mechanism)
    set_against = done = None
    if not isinstance(mechanism, Softmax):
        full = shown.full().weights(here)[0, 0]
        set_against = None if signed else against(weights, full)
        done = deed(shown, weights, full)
    return Row(
        weights=weights[1:],
        first=float(whole[0] if signed else whole[0] / whole.sum().clamp_min(1e-12)),
        effective=float(rest.rows(here).effective_tokens[at, 0]),
        target=float(weights[target]),
        seen=bool(whole[target] != 0),
        signed=signed,
        cells=rest.heatmap(MAP, "max")[at],
        glance=glance(shown),
        beside=set_against,
        deed=done,
    )


def picture(
    model: Model, story: str, name: str, before: str, lengths: Sequence[int] = LENGTHS
) -> Picture:
    """Read the story alone and with more and more of another text before it.

    Args:
        story: names somebody twice. before: another text; its end stands in front of the story.

    Raises:
        ValueError: the story does not name `name` twice.
    """
    with torch.inference_mode():
        alone = model.read(story)
        layer, head, query, target = strongest(alone, name)
        n = len(alone.tokens)
        full = before.rstrip() + "\n\n" + story
        starts = beginnings(model, full, len(full) - len(story), lengths)
        traces = [alone, *(model.read(full[start:], layers=[layer]) for start in starts)]
        readings = []
        for trace in traces:
            qkv, longer = trace.layer(layer), len(trace.tokens) - n
            at = (query + longer, target + longer)
            beyond = model.trained_length is not None and qkv.n > model.trained_length
            readings.append(Reading(trace.text, qkv.n, *at, beyond, qkv))
    tokens = traces[-1].tokens[1:]
    return Picture(tokens, n - 1, name, layer, head, model.trained_length, tuple(readings))


def rows(made: Picture, mechanism: Mechanism) -> tuple[Row, ...]:
    """What the query does under one mechanism, in every reading."""
    with torch.inference_mode():
        return tuple(row_of(mechanism, r.qkv, made.head, r.query, r.target) for r in made.readings)
