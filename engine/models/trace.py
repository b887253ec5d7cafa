"""What a model made of a text: Q, K and V or weights of its layers, and what it predicts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import QKV, Layer, Origin, Refusal
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism
from engine.mechanisms.hierarchical import Hierarchical
from engine.models.capture import Recorder, Seen
from engine.models.masks import ModelError
from engine.models.pieces import Coded
from engine.runtime.cached import cached_property
from engine.text.units import units


@runtime_checkable
class Reader(Protocol):
    """Of a model (read.Model), what a trace asks for."""

    name: str
    trained_length: int | None

    @property
    def layers(self) -> int: ...
    @property
    def weights_only(self) -> Refusal | None: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def parts(self) -> tuple[str, ...]: ...
    @property
    def mask(self) -> str | None: ...
    def best(self, logits: Tensor, k: int) -> list[tuple[str, float]]: ...
    def layer_of(self, seen: Seen) -> Layer: ...


@dataclass(eq=False)
class Side:
    """A text as it was read or, by a decoder, written.

    Attributes:
        coded: its tokens, as many as were read. tokens: what they are called.
        total: how many the text has. about: not to the token, of a far longer one.
        more: what else the network is given, as an image.
    """

    coded: Coded
    tokens: tuple[str, ...]
    total: int
    about: bool = False
    more: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def units(self) -> Mapping[str, Int[Tensor, "u 2"]]:
        """Spans of tokens that make words, sentences and paragraphs."""
        return units(self.coded.text, self.coded.offsets)


@dataclass(eq=False)
class Trace:
    """What a model made of a text.

    Attributes:
        model: the one that read it. read: the text and its tokens; of a pair, both.
        written: what its decoder read, of a model with two sides.
        weights: of layers of a model that is read from its weights alone, by place, (h n m).
        logits: what the model says of the next token, if it predicts one.
        masked: what it says of each masked token, by position, if it fills these.
    """

    model: Reader
    read: Side
    written: Side | None
    recorder: Recorder
    weights: Mapping[int, Float[Tensor, "h n m"]]
    logits: Float[Tensor, " vocabulary"] | None = None
    masked: Mapping[int, Float[Tensor, " vocabulary"]] = field(default_factory=dict)
    _layers: dict[int, QKV] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text as given; of a pair, both with a blank line between them."""
        return self.read.coded.text

    @property
    def tokens(self) -> tuple[str, ...]:
        """What the tokens that were read are called."""
        return self.read.tokens

    @property
    def offsets(self) -> Int[Tensor, "n 2"]:
        """Their characters, as half-open spans."""
        return self.read.coded.offsets

    @property
    def total_tokens(self) -> int:
        """How many tokens the text has; the model read the first len(tokens) of them."""
        return self.read.total

    @property
    def segments(self) -> list[int] | None:
        """Which text of a pair each token belongs to, as the model was told; None if it wasn't."""
        return self.read.coded.types

    @property
    def layers(self) -> int:
        """How many attention layers there are."""
        return self.model.layers

    @property
    def names(self) -> tuple[str, ...]:
        """The layers' own numbers, "1", "0a", in the order of `layer(i)`; see names.Place."""
        return self.model.names

    @property
    def parts(self) -> tuple[str, ...]:
        """Which part of the model each is of: "encoder", "decoder" or "cross"."""
        return self.model.parts

    @property
    def weights_only(self) -> Refusal | None:
        """Why only the model's own weights are known and no Q, K and V; None where these are."""
        return self.model.weights_only

    @property
    def about(self) -> bool:
        """Whether that number is only about right."""
        return self.read.about

    @property
    def complete(self) -> bool:
        """Whether the whole text was read."""
        return len(self.tokens) == self.total_tokens

    @property
    def units(self) -> Mapping[str, Int[Tensor, "u 2"]]:
        """Spans of tokens that make words, sentences and paragraphs."""
        return self.read.units

    def layer(self, i: int) -> QKV:
        """Q, K and V of one layer as they are scored, with all that bears on them and its `layer`.

        Its tokens and units are those of its keys.

        Raises:
            ModelError: there is no such layer, it was not kept, or only weights are known.
        """
        self._check(i)
        if i not in self._layers:
            if (reason := self.weights_only) is not None:
                raise ModelError(
                    "{model} is read from the weights that it returns, without Q, K and V: "
                    "{reason}",
                    model=self.model.name,
                    reason=reason,
                )
            seen = self.recorder.seen[i]
            assert seen is not None
            keys = self.keys(i)
            # one that was trained down a hierarchy of plain groups knows no words
            grouped = isinstance(seen.own, Hierarchical)
            self._layers[i] = seen.qkv[0].replace(
                tokens=keys.tokens,
                units={} if grouped else keys.units,
                layer=self.model.layer_of(seen),
                origin=self._origin(i),
            )
        return self._layers[i]

    def attention(self, i: int) -> Attention:
        """What a layer of the model attends to: by its mechanism, or by the weights it returned.

        Raises:
            ModelError: there is no such layer, or it was not kept.
        """
        self._check(i)
        if self.weights_only is None:
            return self.own(i).attend(self.layer(i))
        keys = self.keys(i)
        return Attention.from_weights(
            self.weights[i], causal=self.parts[i] == "decoder", tokens=keys.tokens,
            units=keys.units, origin=self._origin(i),
        )  # fmt: skip

    def keys(self, i: int) -> Side:
        """The text whose tokens are a layer's keys."""
        return self._side(self.parts[i] == "decoder")

    def queries(self, i: int) -> Side:
        """The text whose tokens are a layer's queries; a decoder's looks at an encoder's by its
        own."""
        return self._side(self.parts[i] != "encoder")

    def own(self, i: int) -> Mechanism:
        """What the model attends with in a layer that was kept, its learned parts in it: softmax,
        unless it was trained with another mechanism.

        Raises:
            ModelError: as `layer`.
        """
        self.layer(i)
        seen = self.recorder.seen[i]
        assert seen is not None
        return seen.own

    def next_tokens(self, k: int = 10) -> list[tuple[str, float]]:
        """The k most probable next tokens after the last, with their probabilities.

        Raises:
            ModelError: the model doesn't predict a next token.
        """
        if self.logits is None:
            name = self.model.name
            raise ModelError(
                "{name} doesn't predict a next token: it has no output head for that", name=name
            )
        return self.model.best(self.logits, k)

    def fills(self, k: int = 10) -> dict[int, list[tuple[str, float]]]:
        """For each masked token, by position, the k most probable tokens and their probabilities.

        Raises:
            ModelError: the model doesn't fill masked tokens, or the text has none.
        """
        name, mask = self.model.name, self.model.mask
        if mask is None:
            raise ModelError(
                "{name} doesn't fill masked tokens: it has no output head for that", name=name
            )
        if not self.masked:
            raise ModelError("the text has no masked token; write {mask} for one", mask=mask)
        return {place: self.model.best(row, k) for place, row in self.masked.items()}

    def kept(self, i: int) -> bool:
        """Whether a layer was kept."""
        if self.weights_only is not None:
            return i in self.weights
        return self.recorder.seen[i] is not None

    def _check(self, i: int) -> None:
        if not 0 <= i < self.layers:
            raise ModelError(
                "layer {i} is not one of 0 … {last} of {model}",
                i=i,
                last=self.layers - 1,
                model=self.model.name,
            )
        if not self.kept(i):
            raise ModelError(
                "layer {i} of {model} was not kept when it read", i=i, model=self.model.name
            )

    def _side(self, writes: bool) -> Side:
        return self.written if writes and self.written is not None else self.read

    def _origin(self, i: int) -> Origin:
        part = "" if self.written is None else f"{self.parts[i]} "
        detail = f"{self.model.name} · {part}layer {self.names[i]}"
        return Origin("text", detail, self.model.trained_length)


def chosen(keep: Collection[int] | None, layers: int) -> Collection[int]:
    """Layers to keep; all if None."""
    return range(layers) if keep is None else keep
