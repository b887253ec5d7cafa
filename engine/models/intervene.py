"""A text read again with a head switched off, a look from one token to another cut, tokens hidden.

All three are changes to the weights as the model computes them, and everything after follows:
the layers above see what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import QKV, Mask
from engine.mechanisms.softmax import Softmax
from engine.models.capture import Attend, Recorder
from engine.models.joined import differs
from engine.models.masks import ModelError
from engine.models.read import Model
from engine.models.trace import Trace


@dataclass(frozen=True)
class Changes:
    """What is switched off.

    Attributes:
        heads: (layer, head), whose output becomes 0.
        edges: (layer, head, query, key), a weight that becomes 0 while the row's others are scaled
            up to its mass; a row that saw nothing else becomes 0.
        hidden: tokens, by position, that no row of the text may see, in no layer.
    """

    heads: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    edges: frozenset[tuple[int, int, int, int]] = field(default_factory=frozenset)
    hidden: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Without:
    """A mask with some pairs of a query and a key taken out."""

    mask: Mask | None
    pairs: Collection[tuple[int, int]]

    def __call__(self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]) -> Bool[Tensor, "r c"]:
        seen = torch.ones(len(rows), len(cols), dtype=torch.bool, device=rows.device)
        if self.mask is not None:
            seen = self.mask(rows, cols).clone()
        for query, key in self.pairs:
            seen &= ~((rows == query)[:, None] & (cols == key))
        return seen


@dataclass(frozen=True, eq=False)
class Effect:
    """What the model predicts before and after, at every place where it predicts.

    Attributes:
        places: tokens, by position, after which (of a model that fills: at which) it predicts,
            (p).
        divergence: KL(before ‖ after), nats, (p).
        ids: of each place, tokens that are most probable before or after, (p t).
        before, after: their probabilities, (p t).
    """

    places: Int[Tensor, " p"]
    divergence: Float[Tensor, " p"]
    ids: Int[Tensor, "p t"]
    before: Float[Tensor, "p t"]
    after: Float[Tensor, "p t"]


def again(trace: Trace, model: Model, changes: Changes) -> Trace:
    """The text of a trace, read by the same model with something switched off.

    Raises:
        ModelError: there is no such layer, head or token, or the model is read from its weights
            alone or takes each head from two, where nothing can be switched off.
    """
    _check(trace, model, changes)
    return model.run(trace.read, trace.written, Recorder(attend=_attend(trace, changes)))


def effect(
    trace: Trace, model: Model, changes: Changes, k: int = 8,
    on_pass: Callable[[int], None] | None = None,
) -> Effect:  # fmt: skip
    """What the model predicts of the text of a trace, and with something switched off.

    Args:
        k: of the most probable tokens before, and of those after. on_pass: told how many of two
            passes are done; what it raises ends it.

    Raises:
        ModelError: as `again`; or the model predicts nothing of this text.
    """
    _check(trace, model, changes)
    places = _places(trace, model)
    found = []
    for attend in (_attend(trace, Changes()), _attend(trace, changes)):
        recorder = Recorder(keep=(), attend=attend)
        logits = model.outputs(trace.read, trace.written, recorder).logits[0]
        found.append(logits[places.to(logits.device)].float().cpu())
        if on_pass is not None:
            on_pass(len(found))
    before, after = found
    k = min(k, before.shape[1])
    ids = torch.cat([before.topk(k).indices, after.topk(k).indices], 1)
    return Effect(
        places, divergence(before, after), ids,
        before.softmax(-1).gather(1, ids), after.softmax(-1).gather(1, ids),
    )  # fmt: skip


def _places(trace: Trace, model: Model) -> Int[Tensor, " p"]:
    """Where the model predicts: after every token, or at masked ones."""
    if model.predicts:
        return torch.arange(len((trace.written or trace.read).tokens))
    if model.fills:
        trace.fills(1)  # refuses a text without any
        return torch.tensor(sorted(trace.masked))
    raise ModelError("{name} predicts no tokens: it has no output head for that", name=model.name)


def _attend(trace: Trace, changes: Changes) -> Attend:
    """What the model attends with, with these changes."""

    def attend(layer: int, qkv: QKV) -> Float[Tensor, "h n e"]:
        read = trace.keys(layer) is trace.read
        hidden = sorted(changes.hidden) if read else []
        if hidden:
            keys = torch.ones(qkv.m, dtype=torch.bool) if qkv.key_mask is None else qkv.key_mask
            keys = keys.clone().to(qkv.device)
            keys[hidden] = False
            qkv = qkv.replace(key_mask=keys)
        own = trace.own(layer)
        output = own.attend(qkv).output.clone()
        for head in {h for i, h, _, _ in changes.edges if i == layer}:
            pairs = [(q, k) for i, h, q, k in changes.edges if (i, h) == (layer, head)]
            cut = qkv.replace(mask=Without(qkv.mask, pairs))
            # what a trained mechanism learnt, it learnt for all heads together
            alone = cut.head(head) if isinstance(own, Softmax) else cut
            output[head] = own.attend(alone).output[0 if alone is not cut else head]
        off = [h for i, h in changes.heads if i == layer]
        output[off] = 0
        return output

    return attend


def divergence(
    before: Float[Tensor, "*n vocabulary"], after: Float[Tensor, "*n vocabulary"]
) -> Float[Tensor, "*n"]:
    """KL(before ‖ after) of next-token predictions given as logits, nats."""
    p, q = before.double().log_softmax(-1), after.double().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).clamp_min(0).float()


def changeable(trace: Trace, model: Model) -> None:
    """Check that what a model attends to can be changed.

    Raises:
        ModelError: it can't; says why.
    """
    if (reason := model.weights_only) is not None:
        raise ModelError(
            "attention of {model} can't be changed: it is read from the weights that it returns "
            "({reason})",
            model=model.name,
            reason=reason,
        )
    kept = (i for i in range(trace.layers) if trace.kept(i))
    if any(_parts(trace, i) for i in kept):
        raise ModelError(
            "attention of {model} can't be changed: each of its heads is the difference of two",
            model=model.name,
        )


def _parts(trace: Trace, layer: int) -> bool:
    seen = trace.recorder.seen[layer]
    return seen is not None and differs(seen.module)


def _check(trace: Trace, model: Model, changes: Changes) -> None:
    changeable(trace, model)
    asked = [*changes.heads, *((i, h) for i, h, _, _ in changes.edges)]
    for layer, head in asked:
        heads = trace.layer(layer).heads
        if not 0 <= head < heads:
            raise ModelError("head {h} is not one of 0 … {last}", h=head, last=heads - 1)
    places = [(q, len(trace.queries(i).tokens)) for i, _, q, _ in changes.edges]
    places += [(k, len(trace.keys(i).tokens)) for i, _, _, k in changes.edges]
    places += [(place, len(trace.tokens)) for place in changes.hidden]
    for place, total in places:
        if not 0 <= place < total:
            raise ModelError("token {at} is not one of 0 … {last}", at=place, last=total - 1)
