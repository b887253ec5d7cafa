"""What an image encoder made of an image: Q, K and V of its layers, patch by patch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from engine.contract import QKV, Bias, Grid, Layer, Origin, of_heads
from engine.contract.grid import squares, z_order
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism
from engine.models.capture import Recorder
from engine.models.masks import ModelError
from engine.models.names import Place
from engine.models.trace import chosen
from engine.runtime.cached import cached_property

Pixels = np.ndarray
"""(H W 3) red, green and blue, 0 to 1."""


@dataclass(eq=False)
class Encoder:
    """What is to be known of an image encoder.

    Attributes:
        name: what it is called. processor: makes its input of an image.
        labels: what its classes are called, in their order; none where it doesn't tell any.
        patch: height and width of one, in pixels. leading: names of the positions before the
            patches. places: of its attention layers. rotary: it rotates q and k.
    """

    name: str
    net: nn.Module
    processor: Any
    device: torch.device
    dtype: torch.dtype
    labels: tuple[str, ...] = ()
    patch: tuple[int, int] = field(init=False)
    leading: tuple[str, ...] = field(init=False)
    places: tuple[Place, ...] = field(init=False)
    rotary: bool = field(init=False)

    @property
    def layers(self) -> int:
        """How many attention layers it has."""
        return len(self.places)


@dataclass(frozen=True, eq=False)
class Placed:
    """A bias between positions that were put in another order: `at` tells the number that each
    had."""

    bias: Bias
    at: Int[Tensor, " n"]

    def __call__(self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]) -> Float[Tensor, "h r c"]:
        return self.bias(self.at[rows], self.at[cols])

    def heads(self, some: slice) -> Placed:
        """The bias of some heads."""
        return Placed(of_heads(self.bias, some), self.at)


@dataclass(eq=False)
class View:
    """What an encoder made of an image.

    Attributes:
        given: what the network was given, (3 H W). recorder: of the pass.
        logits: of its classes, if it tells any.
    """

    model: Encoder
    given: Float[Tensor, "3 H W"]
    recorder: Recorder
    logits: Float[Tensor, " classes"] | None
    weights_only: None = None
    about: bool = False

    @property
    def layers(self) -> int:
        """How many attention layers there are."""
        return self.model.layers

    @property
    def names(self) -> tuple[str, ...]:
        """The layers' own numbers."""
        return tuple(place.name for place in self.model.places)

    @property
    def parts(self) -> tuple[str, ...]:
        """Which part of the model each is of: "encoder" all."""
        return tuple(place.part for place in self.model.places)

    @cached_property
    def grid(self) -> Grid:
        """Where each position stands on the image as the encoder saw it: patches along the Z-order
        curve, so that those of a square follow one another (see `sources.Image`)."""
        high, wide = self.model.patch
        rows, cols = self.given.shape[1] // high, self.given.shape[2] // wide
        nowhere = torch.full((len(self.model.leading), 2), -1)
        return Grid(rows, cols, torch.cat([nowhere, z_order(rows, cols)]))

    @cached_property
    def order(self) -> Int[Tensor, " n"]:
        """The encoder's own number of each position: it reads patches row by row."""
        lead = len(self.model.leading)
        row, col = self.grid.place[lead:].T
        return torch.cat([torch.arange(lead), lead + row * self.grid.cols + col])

    @cached_property
    def units(self) -> dict[str, Int[Tensor, "u 2"]]:
        """Spans of the squares of 2, 4, 8 … patches a side; what stands on none comes first."""
        lead = len(self.model.leading)
        first = torch.tensor([[0, lead]] if lead else []).reshape(-1, 2).long()
        levels = squares(self.grid.place[lead:])
        return {name: torch.cat([first, spans + lead]) for name, spans in levels.items()}

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Row and column of each patch, from 1; names of what stands on none."""
        lead = len(self.model.leading)
        on = (f"({r + 1},{c + 1})" for r, c in self.grid.place[lead:].tolist())
        return (*self.model.leading, *on)

    @property
    def total_tokens(self) -> int:
        """How many positions there are."""
        return len(self.tokens)

    @property
    def bytes(self) -> int:
        """Memory that the layers which were kept hold on to."""
        qkvs = [seen.qkv[0] for seen in self.recorder.seen if seen is not None]
        held = [x for qkv in qkvs for x in (qkv.q, qkv.k, qkv.v)]
        held += [seen.x for seen in self.recorder.seen if seen is not None and seen.x is not None]
        return sum(x.numel() * x.element_size() for x in held)

    @property
    def pixels(self) -> Pixels:
        """The image as the encoder saw it, (H W 3), 0 to 1: scaled, cut, and without the change
        of scale that the network is given."""
        processor = self.model.processor
        x = self.given.permute(1, 2, 0).double()
        if getattr(processor, "do_normalize", True):
            spread, middle = (
                torch.tensor(getattr(processor, f"image_{name}", default)).double()
                for name, default in (("std", 1.0), ("mean", 0.0))
            )
            x = x * spread + middle
        return x.clamp(0, 1).numpy()

    def layer(self, i: int) -> QKV:
        """Q, K and V of one layer as they are scored.

        Raises:
            ModelError: there is no such layer, or it was not kept.
        """
        if not 0 <= i < self.layers:
            raise ModelError(
                "layer {i} is not one of 0 … {last} of {model}",
                i=i, last=self.layers - 1, model=self.model.name,
            )  # fmt: skip
        seen = self.recorder.seen[i] if i in chosen(self.recorder.keep, self.layers) else None
        if seen is None:
            raise ModelError(
                "layer {i} of {model} was not kept when it read", i=i, model=self.model.name
            )
        at = self.order.to(self.model.device)
        qkv, known = seen.qkv[0], seen.layer(rotary=self.model.rotary)
        before = (None if y is None else y[:, at] for y in (known.q, known.k))
        return qkv.replace(
            q=qkv.q[:, at], k=qkv.k[:, at], v=qkv.v[:, at],
            bias=None if qkv.bias is None else Placed(qkv.bias, at),
            tokens=self.tokens, units=self.units, grid=self.grid,
            layer=Layer(
                None if known.x is None else known.x[at], *before, w_o=known.w_o,
                rotary=known.rotary,
            ),
            origin=Origin("image", f"{self.model.name} · layer {self.names[i]}"),
        )  # fmt: skip

    def own(self, i: int) -> Mechanism:
        """What the encoder attends with in a layer that was kept."""
        self.layer(i)
        seen = self.recorder.seen[i]
        assert seen is not None
        return seen.own

    def attention(self, i: int) -> Attention:
        """What a layer attends to."""
        return self.own(i).attend(self.layer(i))

    def classes(self, k: int = 5) -> list[tuple[str, float]]:
        """The k most probable classes, with their probabilities; none if it tells no classes."""
        if self.logits is None or not self.model.labels:
            return []
        top = self.logits.float().softmax(0).topk(min(k, len(self.model.labels)))
        pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        return [(self.model.labels[i], p) for i, p in pairs]
