"""Each mechanism as something that can be trained: dense, differentiable, a batch at a time.

A trained model has to be the mechanism and not something like it, so a form gives the very weights
that `engine.attend` gives of the same q and k, causal and square; tests hold each against it. What
chooses keys (hashes, blocks, slots) is asked of the mechanism itself and passes no gradient.
A mechanism without a form of its own is trained through its `reference`.

Shapes: b texts, h heads, n tokens, d and e widths.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.mechanisms.base import Mechanism
from engine.mechanisms.delta import Delta
from engine.mechanisms.differential import Differential
from engine.mechanisms.entmax import Entmax
from engine.mechanisms.forgetting import Forgetting
from engine.mechanisms.gated import Gated
from engine.mechanisms.hierarchical import Hierarchical
from engine.mechanisms.infini import Infini
from engine.mechanisms.landmark import Landmark
from engine.mechanisms.linear import Linear
from engine.mechanisms.log_linear import LogLinear
from engine.mechanisms.lsh import Lsh
from engine.mechanisms.memory_tokens import MemoryTokens
from engine.mechanisms.moba import MoBA
from engine.mechanisms.nsa import NSA
from engine.mechanisms.relative import Relative
from engine.mechanisms.routing import Routed
from engine.mechanisms.segmented import Segmented
from engine.mechanisms.sigmoid import Sigmoid
from engine.mechanisms.softmax import Softmax
from engine.mechanisms.softmax1 import Softmax1
from engine.mechanisms.ssmax import SSMax
from engine.mechanisms.stick_breaking import StickBreaking
from engine.mechanisms.transformer_xl import TransformerXL
from engine.mechanisms.window import Window
from engine.models.zoo.forms import chosen, normalised, pieces, recurrent, scored
from engine.models.zoo.forms.base import Form, Given, by_reference

FORMS: dict[type[Mechanism], Callable[..., Form]] = {
    Softmax: scored.softmax,
    Window: chosen.reaching,
    TransformerXL: chosen.reaching,
    MoBA: chosen.moba,
    Lsh: chosen.lsh,
    Relative: scored.relative,
    Forgetting: scored.forgetting,
    SSMax: scored.ssmax,
    Softmax1: normalised.softmax1,
    Sigmoid: normalised.sigmoid,
    StickBreaking: normalised.stick_breaking,
    Entmax: normalised.entmax,
    Linear: recurrent.linear,
    Differential: scored.differential,
    Delta: recurrent.delta,
    Routed: chosen.routing,
    Hierarchical: pieces.hierarchical,
    Segmented: pieces.segmented,
    MemoryTokens: recurrent.memory_tokens,
    Infini: recurrent.infini,
    Landmark: pieces.landmark,
    LogLinear: recurrent.log_linear,
    Gated: scored.gated,
    NSA: chosen.nsa,
}


__all__ = ["FORMS", "Form", "Given", "by_reference", "form"]


def form(mechanism: Mechanism, given: Given) -> Form:
    """A mechanism over what a layer attends, for training."""
    make = FORMS.get(type(mechanism))
    return by_reference(mechanism, given) if make is None else make(mechanism, given)
