"""A language model reads a text, and the Q, K and V of its attention layers are kept."""

from __future__ import annotations

import hashlib
import inspect
import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from engine.contract import QKV, Layer, Origin, Refusal
from engine.mechanisms.base import Mechanism
from engine.mechanisms.hierarchical import Hierarchical
from engine.models import capture
from engine.models.capture import Recorder, Seen
from engine.models.masks import ModelError
from engine.text.offsets import display_tokens, show_bytes, whole_offsets
from engine.text.units import units

OTHER_LAYERS = ("linear", "mamba", "conv", "recurrent", "ssm", "moe", "mlp", "ffn")
PROBE = 8  # tokens of the passes that check a model as it is opened


@dataclass(eq=False)
class Trace:
    """What a model made of a text.

    Attributes:
        text: the text as given. model: the one that read it.
        tokens: what the tokens that were read are called. offsets: their characters, (n 2) spans.
        total_tokens: how many the text has; the model read the first len(tokens) of them.
        logits: what the model says of the next token, if it predicts one.
    """

    text: str
    model: Model
    tokens: tuple[str, ...]
    offsets: Int[Tensor, "n 2"]
    total_tokens: int
    recorder: Recorder
    logits: Float[Tensor, " vocabulary"] | None = None
    _layers: dict[int, QKV] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        """How many attention layers there are."""
        return len(self.recorder.seen)

    @property
    def complete(self) -> bool:
        """Whether the whole text was read."""
        return len(self.tokens) == self.total_tokens

    def layer(self, i: int) -> QKV:
        """Q, K and V of one layer as they are scored, with all that bears on them and its `layer`.

        Raises:
            ModelError: there is no such layer, or it was not kept.
        """
        if not 0 <= i < self.layers:
            raise ModelError(
                "layer {i} is not one of 0 … {last} of {model}",
                i=i,
                last=self.layers - 1,
                model=self.model.name,
            )
        if i not in self._layers:
            seen = self.recorder.seen[i]
            if seen is None:
                raise ModelError(
                    "layer {i} of {model} was not kept when it read", i=i, model=self.model.name
                )
            # one that was trained down a hierarchy of plain groups knows no words
            grouped = isinstance(seen.own, Hierarchical)
            self._layers[i] = seen.qkv[0].replace(
                tokens=self.tokens,
                units={} if grouped else self.units,
                layer=self.model.layer_of(seen),
                origin=Origin("text", f"{self.model.name} · layer {i}", self.model.trained_length),
            )
        return self._layers[i]

    def own(self, i: int) -> Mechanism:
        """What the model attends with in a layer that was kept, its learned parts in it: softmax,
        unless it was trained with another mechanism."""
        self.layer(i)
        seen = self.recorder.seen[i]
        assert seen is not None
        return seen.own

    @cached_property
    def units(self) -> Mapping[str, Int[Tensor, "u 2"]]:
        """Spans of tokens that make words, sentences and paragraphs."""
        return units(self.text, self.offsets)

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
        best = self.logits.softmax(0).topk(min(k, len(self.logits)))
        ids = best.indices.tolist()
        return [(self.model.token(t), p) for t, p in zip(ids, best.values.tolist(), strict=True)]


@dataclass(eq=False)
class Model:
    """A language model whose attention can be read. Several people may read at once.

    Attributes:
        name: what it is called. device, dtype: where and in what it computes.
        trained_length: tokens it was trained on at once; context: tokens it can read (None where
            its files don't say).
        layers, heads, key_heads: of its attention; differing from layer to layer, the first one's.
        predicts: it has a head for the next token. rotary: it rotates q and k.
        bytes_per_token: memory that a trace of all layers keeps for each token.
        check: largest difference of what it computes, read this way, from what it computes with
            its own attention, relative to the largest value, on a few tokens.
    """

    name: str
    net: nn.Module
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    trained_length: int | None
    context: int | None
    predicts: bool
    layers: int = field(init=False)
    heads: int = field(init=False)
    key_heads: int = field(init=False)
    bytes_per_token: int = field(init=False)
    check: float = field(init=False)
    rotary: bool = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.rotary = any("rotary" in type(m).__name__.lower() for m in self.net.modules())
        self._prove()

    @cached_property
    def digest(self) -> str:
        """What tells its weights from others': their names, shapes and sums."""
        said = hashlib.sha256()
        for name, x in self.net.state_dict().items():
            said.update(f"{name} {tuple(x.shape)} {x.double().sum().item()!r}".encode())
        return said.hexdigest()[:16]

    def read(
        self,
        text: str,
        max_tokens: int | None = None,
        layers: Collection[int] | None = None,
        on_layer: Callable[[int], None] | None = None,
        characters: bool = False,
    ) -> Trace:
        """One pass over a text, its beginning where it is longer than the model's context.

        Args:
            max_tokens: read at most so many tokens. layers: keep only these; all if None.
            characters: read character by character, each encoded on its own, as one token or as
                several bytes; a model trained on longer tokens has seldom read like that.
            on_layer: called with how many layers are done; what it raises ends the pass.

        Raises:
            ModelError: the text is empty, or something the model computes is not finite.
        """
        if not text:
            raise ModelError("the text is empty: there is nothing to read")
        if max_tokens is not None and max_tokens < 1:
            raise ModelError(
                "at least 1 token must be read, not {max_tokens}", max_tokens=max_tokens
            )
        ids, offsets, special = self._encode(text, characters)
        total = len(ids)
        limit = min(x for x in (max_tokens, self.context, total) if x is not None)
        if limit < total:  # keep the beginning, and what closes it, as BERT's [SEP]
            closing = next((i for i, s in enumerate(reversed(special)) if not s), 0)
            closing = min(closing, limit - 1)
            kept = [*range(limit - closing), *range(total - closing, total)]
            ids, special = [ids[i] for i in kept], [special[i] for i in kept]
            offsets = offsets[kept]
        empty = (offsets[:, 0] == offsets[:, 1]).tolist()
        names = {i: self.token(t) for i, t in enumerate(ids) if special[i] or empty[i]}
        recorder = Recorder(keep=layers, on_layer=on_layer)
        logits = self._run(ids, recorder)
        tokens = display_tokens(text, offsets, names)
        return Trace(text, self, tokens, offsets, total, recorder, logits)

    def token(self, number: int) -> str:
        """What a token of the vocabulary is called by itself; half a character as its bytes."""
        piece = self.tokenizer.convert_ids_to_tokens(number)
        if piece is None:
            return f"⟨{number}⟩"
        if number in self.tokenizer.all_special_ids:
            return piece
        word = self.tokenizer.decode([number], clean_up_tokenization_spaces=False)
        if "\ufffd" in word:
            if re.fullmatch(r"<0x[0-9A-F]{2}>", piece):
                return f"⟨{piece[3:5]}⟩"
            if all(c in BYTES for c in piece):
                return show_bytes(bytes(BYTES[c] for c in piece))
        return " " + word if piece.startswith("▁") and not word.startswith(" ") else word

    def layer_of(self, seen: Seen) -> Layer:
        """What a layer knew when it was seen (contract.Layer)."""
        return seen.layer(rotary=self.rotary)

    def _encode(
        self, text: str, characters: bool = False
    ) -> tuple[list[int], Int[Tensor, "n 2"], list[bool]]:
        """Token ids, spans of characters that cover the text, and which tokens are special."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ModelError(
                "the text holds an incomplete character at position {position}",
                position=error.start,
            ) from None
        with self._lock:  # a tokenizer keeps settings, and refuses to be shared while they change
            coded = self.tokenizer(
                text,
                return_offsets_mapping=self.tokenizer.is_fast,
                return_special_tokens_mask=True,
                verbose=False,
            )
        ids, special = list(coded["input_ids"]), [bool(s) for s in coded["special_tokens_mask"]]
        known = set(self.tokenizer.all_special_ids)
        special = [s or t in known for s, t in zip(special, ids, strict=True)]
        if not ids:
            raise ModelError("the text has no tokens: there is nothing to read")
        if self.tokenizer.is_fast:
            spans = [list(span) for span in coded["offset_mapping"]]
            for piece, span in zip(self.tokenizer.convert_ids_to_tokens(ids), spans, strict=True):
                # a space that the tokenizer put before the text stands for nothing in it
                if not piece.strip("▁") and text[slice(*span)].strip():
                    span[1] = span[0]
        else:  # a slow tokenizer: as long as the pieces are, one after the other
            lengths = [0 if s else len(self.token(t)) for s, t in zip(special, ids, strict=True)]
            ends = torch.tensor(lengths).cumsum(0).clamp_max(len(text))
            spans = list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))
        if characters:
            added = [s and a == b for s, (a, b) in zip(special, spans, strict=True)]
            ids, spans, special = self._spelt(text, ids, added)
        return ids, whole_offsets(text, torch.tensor(spans, dtype=torch.long)), special

    def _spelt(
        self, text: str, ids: list[int], added: list[bool]
    ) -> tuple[list[int], list[tuple[int, int]], list[bool]]:
        """The text's characters, each encoded on its own, between what opens and closes a text.

        Args:
            ids: the text as it is usually encoded. added: which of them stand for nothing in it.
        """
        first, last = (
            next((i for i, extra in enumerate(x) if not extra), 0) for x in (added, added[::-1])
        )
        opening, closing = ids[:first], ids[len(ids) - last :]
        vocabulary = self.tokenizer.get_vocab()
        known = {c: self._character(c, vocabulary) for c in set(text)}
        places = [(i, token) for i, c in enumerate(text) for token in known[c]]
        end = len(text)
        return (
            [*opening, *(token for _, token in places), *closing],
            [(0, 0)] * first + [(i, i + 1) for i, _ in places] + [(end, end)] * last,
            [True] * first + [False] * len(places) + [True] * last,
        )

    def _character(self, character: str, vocabulary: Mapping[str, int]) -> list[int]:
        """One character's tokens: the one of its name, without a space before it, if there is."""
        number = vocabulary.get("▁" if character == " " else character)
        if number is not None and self.token(number) == character:
            return [number]
        with self._lock:
            return list(self.tokenizer(character, add_special_tokens=False)["input_ids"])

    def _run(self, ids: list[int], recorder: Recorder) -> Float[Tensor, " vocabulary"] | None:
        """One pass; what the model says of the next token, if it predicts one."""
        inputs = torch.tensor([ids], device=self.device)
        last = {"logits_to_keep": 1} if self.predicts and takes(self.net, "logits_to_keep") else {}
        ones = torch.ones_like(inputs)
        try:
            capture.run(self.net, recorder, input_ids=inputs, attention_mask=ones, **last)
        except (RuntimeError, MemoryError) as error:
            if "memory" not in str(error) and not isinstance(error, MemoryError):
                raise
            raise ModelError(
                "{count, plural, one {# token is} other {# tokens are}} too many for the "
                "available memory",
                count=len(ids),
            ) from error
        except ValueError as error:
            if type(error) not in (ValueError, Refusal):  # said by whoever listens to on_layer
                raise
            raise ModelError(
                "{name} can't read this text: {reason}", name=self.name, reason=first_line(error)
            ) from error
        out, recorder.outputs = recorder.outputs, None
        return out.logits[0, -1].float() if self.predicts else None

    def _prove(self) -> None:
        """Check that every attention layer is seen and that nothing that bears on it is missed.

        Raises:
            ModelError: attention goes round the interface, or differs from the model's own.
        """
        net: Any = self.net
        size = net.get_input_embeddings().weight.shape[0]
        ids = torch.arange(PROBE).add(size // 2).remainder(size)[None, : self.context]
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        inputs = {name: x.to(self.device) for name, x in inputs.items()}
        try:
            own = capture.run(net, Recorder(), **inputs).outputs[0].float()
            capture.prepare(net)
            record = capture.run(net, Recorder(), **inputs)
        except Exception as error:
            raise ModelError(
                "{name} can't be read: {reason}", name=self.name, reason=first_line(error)
            ) from error
        expected = attention_layers(net)
        if len(record.seen) < max(1, expected):
            raise ModelError(
                "{name} computes attention in code of its own: {seen} of {expected} "
                "layers went through transformers' attention interface",
                name=self.name,
                seen=len(record.seen),
                expected=expected,
            )
        difference = (record.outputs[0].float() - own).abs().max()
        self.check = float(difference / own.abs().max().clamp_min(1e-9))
        if not self.check <= (1e-3 if self.dtype == torch.float32 else 0.1):
            raise ModelError(
                "{name} computes attention in a way that can't be read: on a few tokens, what "
                "was read differs from its own by {check:.0%}",
                name=self.name,
                check=self.check,
            )
        capture.watch(record.modules)
        first = record.seen[0]
        assert first is not None
        self.layers, self.heads = len(record.seen), first.qkv[0].heads
        self.key_heads = first.qkv[0].groups
        self.bytes_per_token = 0
        for seen in record.seen:
            assert seen is not None
            qkv = seen.qkv[0]
            numbers = sum(x.shape[0] * x.shape[2] for x in (qkv.q, qkv.k, qkv.v))
            width = getattr(net.config, "hidden_size", None) or qkv.heads * qkv.q.shape[2]
            self.bytes_per_token += (numbers + width) * qkv.q.element_size()


def attention_layers(net: Any) -> int:
    """How many attention layers a model says it has."""
    config = net.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None)
    if kinds:
        return sum(not any(other in str(kind) for other in OTHER_LAYERS) for kind in kinds)
    for name in ("encoder_layers", "num_hidden_layers"):
        if config.is_encoder_decoder and isinstance(getattr(config, name, None), int):
            return getattr(config, name)
    return getattr(config, "num_hidden_layers", 1)


def takes(net: Any, name: str) -> bool:
    """Whether a network's pass has an argument of that name."""
    return name in inspect.signature(net.forward).parameters


def first_line(error: BaseException) -> str | Refusal:
    """The first line of an error, without a stop at its end; a refusal as it is."""
    if isinstance(error, Refusal):
        return error
    said = str(error).strip() or type(error).__name__
    return said.splitlines()[0][:200].rstrip(".: ")


def _byte_alphabet() -> dict[str, int]:
    """The characters by which byte-level tokenizers write bytes (GPT-2's alphabet)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


BYTES = _byte_alphabet()
