"""A passage of a text of exactly n tokens, as one layer of a model sees it: what sweeps over real
text read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from engine.contract import QKV, Refusal, param
from engine.sources import samples
from engine.sources.reading import reader_of
from engine.sources.synthetic import Declared
from engine.text.offsets import whole_offsets
from engine.text.units import units

if TYPE_CHECKING:
    from engine.models.read import Model

GOLDEN = (5**0.5 - 1) / 2
SPARE = 16
"""Tokens read beyond n, since a text cut elsewhere may have fewer."""


def passage(
    text: str, n: int, seed: int = 0, model: Model | str | None = None, layer: int = 0
) -> QKV:
    """Q, K and V of one layer over n tokens of a text.

    Args:
        seed: 0 begins where the text does; others at sentences spread evenly over what is left of
            it, so that where n is all of the text, every seed reads the same.
        model: a loaded model, or a folder or hub id; the embedded one if None. layer: from 0.

    Raises:
        ValueError: the text has fewer tokens, the model can't read so many, there is no such
            layer, or the model can't be opened.
    """
    reader = reader_of(model)
    spans, sentences = _outline(reader, text)
    _check(reader, len(spans), n)
    begin = 0
    if seed:
        first = int(seed * GOLDEN % 1 * (len(spans) - n))
        begin = int(sentences[torch.searchsorted(sentences, first, right=True) - 1])
    stop = min(begin + n + SPARE, len(spans))
    piece = text[int(spans[begin, 0]) : int(spans[stop - 1, 1])]
    return reader.read(piece, max_tokens=n, layers=[layer]).layer(layer)


def _check(reader: Model, total: int, n: int) -> None:
    if n > total:
        raise Refusal(
            "the text has {total, plural, one {# token} other {# tokens}}: no passage of {n:,} "
            "can be taken",
            total=total,
            n=n,
        )
    if reader.context is not None and n > reader.context:
        raise Refusal(
            "{name} reads at most {context, plural, one {# token} other {# tokens}}, not {n:,}",
            name=reader.name, context=reader.context, n=n,
        )  # fmt: skip


@lru_cache(4)
def _outline(reader: Model, text: str) -> tuple[Int[Tensor, "t 2"], Int[Tensor, " s"]]:
    """Spans of a text's tokens in characters, and the tokens at which sentences start."""
    coded = reader.tokenizer(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    spans = whole_offsets(text, torch.tensor(coded).reshape(-1, 2))
    return spans, units(text, spans)["sentences"][:, 0].contiguous()


@dataclass(frozen=True)
class Passages:
    """Passages of a text of one's own, for a sweep: called with (n, seed), as `passage` is.

    Attributes:
        text. model: one that comes with the project, a folder or a hub id. layer: from 0.
    """

    text: str = field(repr=False)
    model: str = "tiny"
    layer: int = 1

    @property
    def reader(self) -> Model:
        return reader_of(self.model)

    def __call__(self, n: int, seed: int) -> QKV:
        return _read(self, n, seed)

    def check(self, n: int) -> None:
        """Raises ValueError where no passage of n tokens can be read."""
        _check(self.reader, len(_outline(self.reader, self.text)[0]), n)

    @property
    def beside(self) -> str:
        """The text and the model's weights, as a digest."""
        return f"{hashlib.sha256(self.text.encode()).hexdigest()[:16]}-{self.reader.digest}"


@lru_cache(4)
def _read(of: Passages, n: int, seed: int) -> QKV:
    """Each mechanism of a sweep looks at the same passages, one after the other."""
    return passage(of.text, n, seed, of.reader, of.layer)


@dataclass(frozen=True)
class Passage(Declared):
    """A passage of a sample text; the parameters' meanings are those of `passage`.

    Raises:
        ValueError: as `passage` does, but for the layer, which is known once the text is read.
    """

    key: ClassVar[str] = "passage"

    n: int = param(256, low=1, high=2**20, slider=(16, 4096), unit="tokens", log=True)
    sample: str = param("harbour", choices=samples.ids())
    model: str = param("tiny")
    layer: int = param(1, low=0, slider=(0, 11))
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.passages.check(self.n)

    @property
    def passages(self) -> Passages:
        """Of the same text, at any length."""
        return Passages(samples.text(self.sample), self.model, self.layer)

    @property
    def beside(self) -> str:
        """The text and the model's weights, as a digest."""
        return self.passages.beside

    def make(self) -> QKV:
        """The QKV, causal where the model is."""
        return self.passages(self.n, self.seed)
