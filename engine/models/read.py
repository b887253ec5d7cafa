"""A language model reads a text, and what its attention layers do is kept."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from engine.contract import Layer, Refusal
from engine.models import capture, seeing
from engine.models.capture import Recorder, Seen
from engine.models.masks import ModelError
from engine.models.names import Place
from engine.models.pieces import Coded, Pieces
from engine.models.proof import IMAGES, Proof, asking, prove, returned, two_sided, vocabulary
from engine.models.seeing import Sight
from engine.models.trace import Side, Trace, chosen
from engine.models.view import Pixels
from engine.runtime.cached import cached_property

SPACIOUS, SPARE = 16, 64
"""Of a long text so many characters are encoded for each token that is read, and for some more."""


@dataclass(eq=False)
class Model:
    """A language model whose attention can be read. Several people may read at once.

    How it is read is found out on a few tokens, when that is first asked for (`proof`): what
    follows from it, and reading, raises ModelError where its attention can't be read.

    Attributes:
        name: what it is called. device, dtype: where and in what it computes.
        trained_length: tokens it was trained on at once; stated: tokens that it can read by its
            files, None where they don't say; context: the same, as far as memory allows.
        predicts: it has a head for the next token. fills: it has one for masked tokens.
        vision: how an image is said to be read; sight: the same, once it is proved.
        layers, heads, key_heads: of its attention; differing from layer to layer, the first one's.
        places: of its attention layers, their part of the model and its own number for them.
        unseen: layers beside these that attend, but not from token to token.
        weights_only: why it is read from the weights that it returns; None where Q, K, V are read.
        check: largest difference of what it computes, read this way, from what it computes with
            its own attention, relative to the largest value, on a few tokens.
        rotary: it rotates q and k. bytes_per_token: memory that a trace of all layers keeps for
            each token; of weights only, for each token at the longest text.
    """

    name: str
    net: nn.Module
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    trained_length: int | None
    stated: int | None
    predicts: bool
    fills: bool = False
    vision: Sight | None = None

    def __post_init__(self) -> None:
        self.pieces = Pieces(self.tokenizer)
        self.rotary = any("rotary" in type(m).__name__.lower() for m in self.net.modules())
        self._first = threading.Lock()

    @cached_property
    def _proved(self) -> tuple[Proof, Sight | None]:
        with self._first:  # it changes the network, which several may ask for at once
            if (known := vars(self).get("_proved")) is not None:
                return known
            own = self.vision and seeing.tried(self.vision, self.pieces, self.net)
            found = prove(self.net, self.name, self.stated, self.device)
            if self.vision is None or not found.seen:
                return found, None
            read = seeing.tried(self.vision, self.pieces, self.net)
            return found, self.vision if seeing.agrees(read, own, self.dtype) else None

    @property
    def proof(self) -> Proof:
        """How it is read, found out at the first call.

        Raises:
            ModelError: it can't be; the message says why.
        """
        return self._proved[0]

    @property
    def sight(self) -> Sight | None:
        return self._proved[1]

    @property
    def places(self) -> tuple[Place, ...]:
        return self.proof.places

    @property
    def layers(self) -> int:
        return len(self.proof.places)

    @property
    def heads(self) -> int:
        return self.proof.heads

    @property
    def key_heads(self) -> int:
        return self.proof.key_heads

    @property
    def weights_only(self) -> Refusal | None:
        return self.proof.reason

    @property
    def check(self) -> float:
        return self.proof.check

    @property
    def unseen(self) -> int:
        return self.proof.unseen

    @property
    def context(self) -> int | None:
        limits = [x for x in (self.stated, self.proof.longest) if x is not None]
        return min(limits, default=None)

    @cached_property
    def bytes_per_token(self) -> int:
        found = self.proof
        size, total = torch.finfo(self.dtype).bits // 8, 0
        if found.way == "weights":
            return self.layers * self.heads * (found.longest or 0) * 4
        for seen in found.seen:
            qkv = seen.qkv[0]
            numbers = sum(x.shape[0] * x.shape[2] for x in (qkv.q, qkv.k, qkv.v))
            width = getattr(self.net.config, "hidden_size", None) or qkv.heads * qkv.q.shape[2]
            total += (numbers + width) * size
        return total

    @cached_property
    def digest(self) -> str:
        """What tells its weights from others': their names, shapes and sums."""
        said = hashlib.sha256()
        for name, x in self.net.state_dict().items():
            said.update(f"{name} {tuple(x.shape)} {x.double().sum().item()!r}".encode())
        return said.hexdigest()[:16]

    @property
    def second(self) -> str | None:
        """What a second text is to it: "decoder", the text that is written; "pair"; or None."""
        if two_sided(self.net):
            return "decoder"
        encodes = all(place.part == "encoder" for place in self.places)
        return "pair" if encodes and self.pieces.pairs() else None

    @property
    def names(self) -> tuple[str, ...]:
        """The layers' own numbers, in the order of a trace's layers."""
        return tuple(place.name for place in self.places)

    @property
    def parts(self) -> tuple[str, ...]:
        """Which part each layer is of: "encoder", "decoder" or "cross"."""
        return tuple(place.part for place in self.places)

    @property
    def mask(self) -> str | None:
        """How a masked token is written, if the model fills these."""
        return self.tokenizer.mask_token if self.fills else None

    def read(
        self,
        text: str,
        max_tokens: int | None = None,
        layers: Collection[int] | None = None,
        on_layer: Callable[[int], None] | None = None,
        characters: bool = False,
        second: str | None = None,
        image: Pixels | None = None,
    ) -> Trace:
        """One pass over a text, its beginning where it is longer than the model's context.

        Args:
            max_tokens: read at most so many tokens. layers: keep only these; all if None.
            characters: read character by character, each encoded on its own, as one token or as
                several bytes; a model trained on longer tokens has seldom read like that.
            on_layer: called with how many layers are done; what it raises ends the pass.
            second: a second text (see `second`): what the decoder writes, which is nothing yet if
                None, or the other text of a pair.
            image: (H W 3), 0 to 1, which stands before the text unless this has a place for it
                (`sight.mark`); its tokens are called [IMG1], [IMG2], ….

        Raises:
            ModelError: the text is empty, or it can't be read; the message says why.
        """
        if max_tokens is not None and max_tokens < 1:
            raise ModelError(
                "at least 1 token must be read, not {max_tokens}", max_tokens=max_tokens
            )
        kind = self.second
        if image is not None:
            return self.run(
                self._with_image(text, image, max_tokens), None,
                Recorder(keep=layers, on_layer=on_layer),
            )  # fmt: skip
        if second is not None and kind is None:
            raise ModelError("{name} reads one text at a time", name=self.name)
        most = self._most(max_tokens)
        coded, total = self.begun(text, most, characters)
        if second is not None and kind == "pair" and (most is None or total <= most):
            coded = self.pieces.pair(text, second)
            total = len(coded.ids)
        limit = total if most is None else min(most, total)
        if limit < total and second is not None and kind == "pair":
            raise ModelError(
                "the two texts have {count, plural, one {# token} other {# tokens}} together, "
                "more than the {limit:,} that are read",
                count=total,
                limit=limit,
            )
        read = self._side(coded.beginning(limit), total, len(coded.text) < len(text))
        written = self._written(second, max_tokens) if kind == "decoder" else None
        return self.run(read, written, Recorder(keep=layers, on_layer=on_layer))

    def run(self, read: Side, written: Side | None, recorder: Recorder) -> Trace:
        """One pass over tokens, which a trace has already been made of perhaps.

        Args:
            recorder: what is kept, and what is changed on the way.

        Raises:
            ModelError: the tokens can't be read.
        """
        keep = chosen(recorder.keep, self.layers)
        out = self._pass(self.inputs(read, written), recorder)
        n = len((written or read).tokens)
        weights: dict[int, Tensor] = {}
        if self.weights_only is not None:
            given = dict(returned(out, n, len(read.tokens), self.net.config))
            for i, place in enumerate(self.places):
                if place not in given:
                    raise ModelError(
                        "{name} returns no weights of layer {layer} for this text",
                        name=self.name, layer=place.name,
                    )  # fmt: skip
                if i in keep:
                    weights[i] = given[place]
                if recorder.on_layer is not None:
                    recorder.on_layer(i + 1)
        logits = out.logits[0, -1].float() if self.predicts else None
        masked: Mapping[int, Tensor] = {}
        if self.fills:
            number = self.tokenizer.mask_token_id
            masked = {
                i: out.logits[0, i].float() for i, t in enumerate(read.coded.ids) if t == number
            }
        return Trace(self, read, written, recorder, weights, logits, masked)

    def inputs(self, read: Side, written: Side | None) -> dict[str, Int[Tensor, "1 n"]]:
        """What the network takes for these tokens.

        Raises:
            ModelError: a token has a number that the network doesn't know.
        """
        known = vocabulary(self.net)
        for side in filter(None, (read, written)):
            worst = max(side.coded.ids)
            if known is not None and worst >= known:
                raise ModelError(
                    "the tokenizer gives {token!r} the number {number}, but {name} knows only "
                    "{known, plural, one {# token} other {# tokens}}: its tokenizer and its "
                    "weights don't belong together",
                    token=self.token(worst), number=worst, name=self.name, known=known,
                )  # fmt: skip
        ids = torch.tensor([read.coded.ids], device=self.device)
        made = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if read.coded.types is not None and capture.takes(self.net, "token_type_ids"):
            made["token_type_ids"] = torch.tensor([read.coded.types], device=self.device)
        if written is not None:
            made["decoder_input_ids"] = torch.tensor([written.coded.ids], device=self.device)
        return made | seeing.fitting(self.net, read.more)

    def token(self, number: int) -> str:
        """What a token of the vocabulary is called by itself; half a character as its bytes."""
        return self.pieces.token(number)

    def best(self, logits: Float[Tensor, " vocabulary"], k: int) -> list[tuple[str, float]]:
        """The k most probable tokens, with their probabilities."""
        top = logits.softmax(0).topk(min(k, len(logits)))
        pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        return [(self.token(t), p) for t, p in pairs]

    def layer_of(self, seen: Seen) -> Layer:
        """What a layer knew when it was seen (contract.Layer)."""
        return seen.layer(rotary=self.rotary)

    def _most(self, max_tokens: int | None) -> int | None:
        """Tokens that are read at most; None for any number."""
        return min((x for x in (max_tokens, self.context) if x is not None), default=None)

    def begun(
        self, text: str, limit: int | None, characters: bool = False, target: bool = False
    ) -> tuple[Coded, int]:
        """The tokens of a text, and how many it has. Of one far longer than what is read, only a
        beginning is encoded, and the number follows from that: two digits of it.

        Args:
            limit: tokens that are read; the whole text is encoded if None. characters, target: as
                of `Pieces.encode`, with its errors.
        """
        size = len(text) if limit is None else SPACIOUS * (limit + SPARE)
        while size < len(text):
            coded = self.pieces.encode(text[:size], characters, target)
            if (count := len(coded.ids)) >= (limit or 0) + SPARE:
                return coded, max(count, int(float(f"{count / size * len(text):.1e}")))
            size *= 4  # few tokens for so many characters
        coded = self.pieces.encode(text, characters, target)
        return coded, len(coded.ids)

    def _side(self, coded: Coded, total: int, about: bool = False) -> Side:
        return Side(coded, self.pieces.named(coded), total, about)

    def _with_image(self, text: str, image: Pixels, max_tokens: int | None) -> Side:
        """A text and an image, which must be read whole."""
        if self.sight is None:
            raise ModelError("{name} can't be read together with an image", name=self.name)
        most = self._most(max_tokens)

        def fits(total: int) -> None:
            if most is not None and most < total:
                raise ModelError(
                    "the image and the text have {count, plural, one {# token} other {# tokens}} "
                    "together, more than the {limit:,} that are read",
                    count=total, limit=most,
                )  # fmt: skip

        if text.strip():
            fits(self.begun(text, most)[1])
        coded, more = self.sight.coded(self.pieces, text, image)
        fits(len(coded.ids))
        names = self.sight.names(coded, self.pieces.named(coded))
        return Side(coded, names, len(coded.ids), more=more)

    def _written(self, text: str | None, limit: int | None) -> Side:
        """What a decoder reads: the token that it starts with, then the text without its end."""
        config: Any = self.net.config
        names = ("decoder_start_token_id", "bos_token_id", "pad_token_id")
        said = (getattr(config, name, None) for name in names)
        start = next((x for x in said if x is not None), 0)
        opening = Coded("", [start], torch.zeros(1, 2, dtype=torch.long), [True])
        if not text:
            return self._side(opening, 1)
        coded, about = self.begun(text, self._most(limit), target=True)
        cut = len(coded.text) < len(text)
        while len(coded.ids) > 1 and coded.special[-1]:
            coded = coded.kept(range(len(coded.ids) - 1))
        if coded.ids[0] == start and coded.special[0]:
            coded = coded.kept(range(1, len(coded.ids)))
        total = about if cut else len(coded.ids) + 1
        coded = coded.kept(range(min(total, self._most(limit) or total) - 1))
        offsets = torch.cat([opening.offsets, coded.offsets])
        whole = Coded(coded.text, [start, *coded.ids], offsets, [True, *coded.special])
        return self._side(whole, total, cut)

    def outputs(self, read: Side, written: Side | None, recorder: Recorder, **more: Any) -> Any:
        """What the network returns, with predictions at every position.

        Args:
            more: what else it is asked for, as transformers names it.

        Raises:
            ModelError: as `run`.
        """
        return self._pass(self.inputs(read, written), recorder, every=True, **more)

    def _pass(
        self, inputs: dict[str, Tensor], recorder: Recorder, every: bool = False, **more: Any
    ) -> Any:
        count = inputs["input_ids"].shape[1]
        if inputs.keys() & set(IMAGES):  # the side that sees images attends, too
            recorder.only = {seen.module for seen in self.proof.seen}
        if self.predicts and not every and capture.takes(self.net, "logits_to_keep"):
            more["logits_to_keep"] = 1
        if self.weights_only is not None:
            more |= asking(self.net)
        try:
            capture.run(self.net, recorder, **inputs, **more)
        except Exception as error:
            if recorder.ended:  # said by whoever listens to on_layer
                raise
            if isinstance(error, MemoryError) or "memory" in str(error):
                raise ModelError(
                    "{count, plural, one {# token is} other {# tokens are}} too many for the "
                    "available memory",
                    count=count,
                ) from error
            if isinstance(error, Refusal):
                raise ModelError(
                    "{name} can't read this text: {reason}", name=self.name, reason=error
                ) from error
            raise ModelError(
                "{name} can't read this text: its own code fails on it", name=self.name
            ) from error
        out, recorder.outputs = recorder.outputs, None
        return out
