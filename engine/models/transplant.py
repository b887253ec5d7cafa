"""A model run with another mechanism in some of its layers, and what becomes of its predictions.

The model was not trained for it: what is measured is how much it minds, and not how good the
mechanism is in a model that is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV
from engine.mechanisms.base import Mechanism
from engine.models.capture import Recorder
from engine.models.intervene import changeable, divergence
from engine.models.masks import ModelError
from engine.models.read import Model
from engine.models.trace import Side, Trace

ROWS = 256  # positions whose predictions are compared at once: a vocabulary may be large


@dataclass(frozen=True, eq=False)
class Transplanted:
    """A text as the model reads it, and with a mechanism in its place.

    Attributes:
        before, after: most probable next tokens with their probabilities.
        both: all of these, with their probabilities before and after, the largest first.
        losses: mean of −log p of the tokens that follow, nats, before and after; NaN without any.
        divergence: KL(before ‖ after) of the next token at every position, nats, (n).
        by_layer: mean divergence with the mechanism in one layer alone, by layer.
    """

    before: list[tuple[str, float]]
    after: list[tuple[str, float]]
    both: list[tuple[str, float, float]]
    losses: tuple[float, float]
    divergence: Float[Tensor, " n"]
    by_layer: dict[int, float]


def transplant(
    trace: Trace,
    model: Model,
    mechanism: Mechanism,
    layers: Collection[int] | None = None,
    alone: bool = True,
    on_pass: Callable[[int, int], None] | None = None,
    k: int = 10,
) -> Transplanted:
    """Run the text of a trace with a mechanism in some layers.

    Args:
        layers: as `Trace.layer` counts; all if None. alone: measure each of them alone, too, a
            pass each. on_pass: told how many passes are done, of how many; what it raises ends it.

    Raises:
        ModelError: the model doesn't predict next tokens or can't be changed, or there is no such
            layer. ValueError: the mechanism refuses what a layer holds.
    """
    changeable(trace, model)
    if not model.predicts:
        raise ModelError(
            "{name} doesn't predict a next token: it has no output head for that", name=model.name
        )
    chosen = sorted(range(trace.layers) if layers is None else layers)
    for i in chosen:
        trace.layer(i)
    passes = 2 + (len(chosen) if alone else 0)
    done = 0

    def run(changed: Collection[int]) -> Tensor:
        nonlocal done
        made = _logits(trace, model, mechanism, changed)
        done += 1
        if on_pass is not None:
            on_pass(done, passes)
        return made

    own, other = run(()), run(chosen)
    side = trace.written or trace.read
    by_layer = {i: float(_apart(own, run((i,))).mean()) for i in chosen} if alone else {}
    return Transplanted(
        model.best(own[-1], k), model.best(other[-1], k), _both(own[-1], other[-1], model, k),
        (_loss(own, side), _loss(other, side)), _apart(own, other), by_layer,
    )  # fmt: skip


def _both(
    own: Float[Tensor, " v"], other: Float[Tensor, " v"], model: Model, k: int
) -> list[tuple[str, float, float]]:
    before, after = own.float().softmax(0), other.float().softmax(0)
    k = min(k, len(own))
    ids = sorted({*before.topk(k).indices.tolist(), *after.topk(k).indices.tolist()})
    found = [(model.token(i), float(before[i]), float(after[i])) for i in ids]
    return sorted(found, key=lambda one: -max(one[1:]))


def _logits(
    trace: Trace, model: Model, mechanism: Mechanism, changed: Collection[int]
) -> Float[Tensor, "n vocabulary"]:
    def attend(layer: int, qkv: QKV) -> Float[Tensor, "h n e"]:
        if layer not in changed:
            return trace.own(layer).attend(qkv).output
        keys = trace.keys(layer)
        return mechanism.attend(qkv.replace(tokens=keys.tokens, units=keys.units)).output

    recorder = Recorder(keep=(), attend=attend, rotary=model.rotary)
    outputs: Any = model.outputs(trace.read, trace.written, recorder)
    return outputs.logits[0]


def _apart(own: Float[Tensor, "n v"], other: Float[Tensor, "n v"]) -> Float[Tensor, " n"]:
    pairs = zip(own.split(ROWS), other.split(ROWS), strict=True)
    return torch.cat([divergence(a, b) for a, b in pairs])


def _loss(logits: Float[Tensor, "n v"], side: Side) -> float:
    """Mean of −log p of each token after the first, nats."""
    nexts = torch.tensor(side.coded.ids[1:], device=logits.device)
    if not len(nexts):
        return float("nan")
    pairs = zip(logits[:-1].split(ROWS), nexts.split(ROWS), strict=True)
    losses = [torch.nn.functional.cross_entropy(a.float(), t, reduction="sum") for a, t in pairs]
    return float(torch.stack(losses).sum() / len(nexts))
