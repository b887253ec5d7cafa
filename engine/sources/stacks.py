"""Weights as people save them: layers of a batch of texts, the steps of a generation, padding.

transformers returns `attentions` as a tuple of layers, each (batch, heads, n, m), and of
`generate` as a tuple of steps, each such a tuple: n × n first, then 1 × (n + 1), and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import Refusal

Crop = Literal["none", "first", "last"]
CROPS: tuple[Crop, ...] = ("none", "first", "last")
PARTS = {"encoder_attentions": "encoder", "decoder_attentions": "decoder",
         "cross_attentions": "cross", "attentions": "", "weights": ""}  # fmt: skip
"""What transformers calls the tuples that it returns, and what their layers are of."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Weights of one or several layers, for one or several texts.

    Attributes:
        names: of the layers. steps: of each layer, the weights of each step, (b h n m); one step
            unless they are of a generation.
    """

    names: tuple[str, ...]
    steps: tuple[tuple[Float[Tensor, "_ _ _ _"], ...], ...]

    @property
    def items(self) -> int:
        """Texts in the batch."""
        return self.steps[0][0].shape[0]

    @property
    def generated(self) -> bool:
        """Whether they are of a generation's steps."""
        return len(self.steps[0]) > 1

    def weights(self, layer: int, item: int) -> Float[Tensor, "h n m"]:
        """Of one layer and one text, a generation's steps stacked into one causal map.

        Raises:
            ValueError: there is no such layer or text.
        """
        for name, number, total in (
            (Refusal("layer"), layer, len(self.steps)),
            (Refusal("text of the batch"), item, self.items),
        ):
            if not 0 <= number < total:
                raise Refusal(
                    "there is no {name} {number}: the last is {last}",
                    name=name, number=number, last=total - 1,
                )  # fmt: skip
        steps = [_floats(x[item]) for x in self.steps[layer]]
        if len(steps) == 1:
            return steps[0]
        n, m = sum(x.shape[1] for x in steps), max(x.shape[2] for x in steps)
        made = steps[0].new_zeros(steps[0].shape[0], n, max(n, m))
        row = 0
        for x in steps:
            row += x.shape[1]
            first = max(0, row - x.shape[2])  # a cache that slides has forgotten what is before
            made[:, row - x.shape[1] : row, first : first + x.shape[2]] = x
        # a cache of fixed length has empty places after what was written
        return made if bool(made[..., n:].any()) else made[..., :n]


def stack(found: Any) -> Stack | None:
    """Weights in what a file holds; None where it holds none.

    Args:
        found: a tensor of 2 to 5 axes (layers, texts, heads, queries, keys, from the right), a
            sequence of layers, or of steps of layers, or a mapping with one of these under a name
            of transformers', or one tensor a name.

    Raises:
        ValueError: of several layers, some have other shapes than fit.
    """
    if isinstance(found, Mapping):
        named = [(PARTS[k], found[k]) for k in PARTS if k in found and _size(found[k])]
        if not named:
            layers = {str(k): x for k, x in found.items() if _matrix(x)}
            made = stack(list(layers.values())) if layers else None
            return made and Stack(tuple(layers) if len(made.names) > 1 else made.names, made.steps)
        stacks = [(part, stack(x)) for part, x in named]
        return Stack(
            tuple(f"{part} {n}".strip() for part, s in stacks if s for n in s.names),
            tuple(steps for _, s in stacks if s for steps in s.steps),
        )
    if _tensor(found):
        x = torch.as_tensor(found)
        if x.ndim == 5:
            return stack(list(x))
        return _checked(("0",), ((_batch(x),),)) if 2 <= x.ndim <= 4 else None
    if not isinstance(found, Sequence) or isinstance(found, (str, bytes)) or not found:
        return None
    if any(isinstance(x, Sequence) and not isinstance(x, str) for x in found):
        each = [stack(step) for step in found]
        layers = {len(s.steps) for s in each if s is not None}
        if len(layers) != 1 or None in each:
            raise Refusal("the steps of the generation don't have the same layers")
        steps = [tuple(s.steps[i][0] for s in each if s) for i in range(layers.pop())]
        return _checked(each[0].names if each[0] else (), tuple(steps))
    some = [(i, x) for i, x in enumerate(found) if _matrix(x)]  # layers that don't attend: None
    if not some:
        return None
    if len(some) == 1 and torch.as_tensor(some[0][1]).ndim == 5:
        return stack(some[0][1])
    names = tuple(str(i) for i, _ in some)
    return _checked(names, tuple((_batch(torch.as_tensor(x)),) for _, x in some))


def _size(found: Any) -> bool:
    return found is not None and (_tensor(found) or len(found) > 0)


def _tensor(x: Any) -> bool:
    return isinstance(x, (Tensor, np.ndarray))


def _matrix(x: Any) -> bool:
    if not _tensor(x) or not 2 <= x.ndim <= 5:
        return False
    x = torch.as_tensor(x)
    return not x.is_complex() and x.dtype != torch.bool and x.numel() > 0


def _batch(x: Tensor) -> Float[Tensor, "b h n m"]:
    if not _matrix(x) or x.ndim > 4:
        raise Refusal(
            "weights are {shape}; each layer must be real numbers of shape (texts, heads, "
            "queries, keys), or without texts, or without heads",
            shape=tuple(x.shape),
        )
    return x[(None,) * (4 - x.ndim)]


def _floats(x: Tensor) -> Tensor:
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _checked(names: tuple[str, ...], steps: tuple[tuple[Tensor, ...], ...]) -> Stack:
    for layer in steps:
        if {x.shape[:2] for x in layer} != {layer[0].shape[:2]} or len(layer) != len(steps[0]):
            raise Refusal("the steps of the generation don't have the same texts and heads")
    if len({layer[0].shape[0] for layer in steps}) > 1:
        raise Refusal("the layers don't have the same number of texts")
    return Stack(names, steps)


@dataclass(frozen=True, eq=False)
class OfText:
    """A mask: queries that are no part of the text see nothing. kept: those that are, (n)."""

    kept: Bool[Tensor, " n"]

    def __call__(self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]) -> Bool[Tensor, "r c"]:
        return self.kept.to(rows.device)[rows][:, None].expand(len(rows), len(cols))


def padding(w: Float[Tensor, "h n m"]) -> Bool[Tensor, " m"]:
    """Keys that stand before or after a text: no query of the text looks there in any head.

    Before it, queries are padding, too, while all heads look nowhere, or everywhere alike, as
    softmax does over keys that are all masked.
    """
    m = w.shape[2]
    alike = ((w - 1 / m).abs() <= 1e-3 / m).all(-1) | (w == 0).all(-1)
    some = (~alike.all(0)).nonzero()[:, 0]
    pad = torch.zeros(m, dtype=torch.bool, device=w.device)
    if len(some):
        used = (w[:, int(some[0]) :] != 0).any(0).any(0).nonzero()[:, 0]
        pad[: int(used[0])] = True
        pad[int(used[-1]) + 1 :] = True
    return pad
