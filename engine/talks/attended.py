"""From a picture's spec to the attention that a scene shows, without a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from engine.contract import QKV, Refusal
from engine.measure.attention import Attention
from engine.measure.metrics import RowStats
from engine.mechanisms import MECHANISMS, make
from engine.mechanisms.base import Mechanism
from engine.mechanisms.softmax import Softmax
from engine.models import Model, Trace, embedded, load
from engine.sources import SOURCES, samples
from engine.spec.picture import Spec
from engine.store import fits
from engine.structure.highlights import Look, best_layer, look
from engine.structure.opening import opening

LONGEST = 4096
"""Tokens of a text that a scene reads: a talk is made ready at once, not in an evening."""
READINGS = 4
"""Of texts, kept while a talk is made ready."""


@dataclass(frozen=True, eq=False)
class Attended:
    """One choice, attended.

    Attributes:
        spec: with layer and the mechanism's parameters filled in. given: Q, K and V.
        attention: with hidden keys gone. stats: of its rows. head, row: shown.
        mechanism: as it attended.
    """

    spec: Spec
    given: QKV
    attention: Attention
    stats: RowStats
    head: int
    row: int
    mechanism: Mechanism

    @property
    def weights(self) -> Tensor:
        """The chosen row's weights, (m)."""
        return self.attention.weights(torch.tensor([self.row]))[self.head, 0].float().cpu()

    @property
    def shares(self) -> bool:
        """Whether weights are shares, none below 0."""
        return self.attention.row_kind != "signed"

    @property
    def seen(self) -> list[bool] | None:
        """Which keys the chosen row may see; None if all."""
        frame = self.attention.frame
        allowed = frame.visible(torch.tensor([self.row]), torch.arange(frame.m))
        return None if allowed is None else allowed[0].tolist()

    @property
    def look(self) -> Look:
        """What the chosen row does, in numbers."""
        return look(self.weights, self.stats, self.attention.frame, self.head, self.row)


class Studio:
    """Reads and attends, and keeps what several scenes share.

    Args:
        texts: long ones, by their digests. kept: where fits and sweeps are kept.
    """

    def __init__(self, texts: Mapping[str, str], kept: Path) -> None:
        self.texts, self.kept = texts, kept
        self.read = lru_cache(READINGS)(self._read)
        self.attended = lru_cache(8)(self._attended)

    def text(self, spec: Spec) -> str:
        """What is read.

        Raises:
            Refusal: it is empty, or not here.
        """
        if spec.source == "sample":
            return samples.text(spec.content)
        found = spec.content if spec.source == "text" else self.texts.get(spec.content)
        if found is None:
            raise Refusal("the text of this scene is not in the talk")
        if not found.strip():
            raise Refusal("the text is empty: there is nothing to read")
        return found

    def model(self, name: str) -> Model:
        """A model that comes with the project, or a person's own.

        Raises:
            ModelError: it is not here, or can't be read.
        """
        return _model(embedded.folder_of(name))

    def _read(self, model: str, by: str, text: str) -> Trace:
        trace = self.model(model).read(text, characters=by == "characters")
        if len(trace.tokens) > LONGEST:
            raise Refusal(
                "a scene reads at most {most, plural, one {# token} other {# tokens}}; this text "
                "has {count:,}",
                most=LONGEST, count=len(trace.tokens),
            )  # fmt: skip
        return trace

    def _attended(self, spec: Spec) -> Attended:
        """Raises a ValueError where the choice can't be shown."""
        if spec.trained == "own":
            spec = spec.as_trained() or spec
        given, own, layer = self._given(spec)
        if given.causal and not MECHANISMS[spec.mechanism].causal_ok:
            spec = replace(spec, sight="both")
        if spec.sight == "both":
            given = given.replace(causal=False)
        spec = replace(spec, layer=layer).suited(given)
        made = make(spec.mechanism, **spec.arguments())
        made = (
            own if own is not None and own == made else fits.kept(made, given, self.kept / "fits")
        )
        att = made.attend(given)
        full = None if spec.mechanism == Softmax.key else Softmax().attend(given)
        if hidden := tuple(i for i in spec.hide if i < given.m):
            att = att.hide(torch.tensor(hidden))
            full = full and full.hide(torch.tensor(hidden))
        with torch.inference_mode():
            stats = att.rows()
            fixed = spec.head if isinstance(spec.head, int) else None
            head, row = opening(
                att, stats, full, fixed if fixed is None else min(fixed, att.frame.heads - 1)
            )
        if spec.query is not None and spec.query < att.frame.n:
            row = spec.query
            if fixed is None:
                head = int(stats.max_weight[:, row].argmax())
        return Attended(spec, given, att, stats, head, row, made)

    def _given(self, spec: Spec) -> tuple[QKV, Mechanism | None, int | None]:
        if spec.textual:
            trace = self.read(spec.model, spec.by, self.text(spec))
            layer = spec.layer
            if layer is None or layer >= trace.layers:
                layer = best_layer(map(trace.attention, range(trace.layers)))
            return trace.layer(layer), trace.own(layer), layer
        if spec.source not in SOURCES or dict(spec.source_params).get("upload"):
            raise Refusal("what was uploaded for this scene is not in the talk")
        return SOURCES[spec.source](**spec.source_arguments()).make(), None, None


@lru_cache(3)
def _model(folder: str) -> Model:
    return load(folder)
