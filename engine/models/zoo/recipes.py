"""Which models there are: one recipe, and of each the mechanism that it attends with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.contract import Refusal
from engine.mechanisms import MECHANISMS


@dataclass(frozen=True)
class Kind:
    """What one model has of its own.

    Attributes:
        key, parameters: of its mechanism. rotary: whether queries and keys are rotated; where they
            are not, the mechanism alone knows positions, or nothing does.
        seed: of weights and batches.
    """

    key: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    rotary: bool = True
    seed: int = 0


KINDS: dict[str, Kind] = {
    "softmax": Kind("softmax"),
    "window": Kind("window", {"window": 64, "sinks": 4}),
    "ssmax": Kind("ssmax"),
    "linear": Kind("linear"),
    "alibi": Kind("relative", {"kind": "alibi"}, rotary=False),
    "entmax": Kind("entmax", {"alpha": 1.5}),
    "lsh": Kind("lsh", {"buckets": 16, "rounds": 4, "shared_qk": True}),
    "moba": Kind("moba", {"block": 16, "top_k": 3}),
    "differential": Kind("differential"),
    "routing": Kind("routing", {"paths": 4, "top_k": 2, "width": 32}),
    "segmented": Kind("segmented", {"segment": 32, "integrate": "attention"}),
    "memory_tokens": Kind("memory_tokens", {"segment": 64, "slots": 8}),
    "nope": Kind("softmax", rotary=False),
    "transformer_xl": Kind("transformer_xl", {"segment": 64, "memory": 64}),
    "hierarchical": Kind("hierarchical", {"levels": 2}),
    "softmax1": Kind("softmax1"),
    "sigmoid": Kind("sigmoid"),
    "forgetting": Kind("forgetting", rotary=False),
    "stick_breaking": Kind("stick_breaking", rotary=False),
    "delta": Kind("delta", rotary=False),
    "gated": Kind("gated"),
    "differential2": Kind("differential", {"version": "2"}),
    "infini": Kind("infini", {"segment": 64}),
    "landmark": Kind("landmark", {"block": 32}),
    "log_linear": Kind("log_linear", {"feature_map": "none"}, rotary=False),
    "nsa": Kind("nsa", {"block": 16, "top_k": 3, "window": 32}),
}
"""In the order in which they are trained."""

SEEDS: dict[str, Kind] = {
    f"{name}-seed{seed}": Kind(kind.key, kind.parameters, kind.rotary, seed)
    for seed in (1, 2)
    for name, kind in KINDS.items()
    if name in ("softmax", "window", "ssmax")
}
"""The same with other seeds, of which figures are kept and no weights."""

ON_REQUEST = (
    "softmax1", "sigmoid", "gated", "differential2", "infini", "landmark", "log_linear", "nsa",
)  # fmt: skip
"""Trained only if they are asked for by name: the project keeps 40 MB of models at most."""

LEFT_OUT: dict[str, Refusal] = {
    "linformer": Refusal("mixes positions before it weighs them: it can't be causal"),
    "nystrom": Refusal("its landmarks are means over the whole text: it can't be causal"),
    "truncated_svd": Refusal("an analysis of weights that are there already: it can't be causal"),
    "kmeans": Refusal("its clusters are those of the whole text: it would read ahead"),
    "capsule": Refusal("its iterations have no weights of their own that training could find"),
    "additive": Refusal(
        "a network on each pair: at this length many times the budget of the others"
    ),
    "gaussian": Refusal("on rotated vectors of one length it is softmax"),
    "adaptive_temperature": Refusal(
        "made to be applied to a trained model; its polynomial is not learned"
    ),
    "indexer": Refusal(
        "what it fits is another attention, which a model trained so would not have"
    ),
    "combined": Refusal("a person's own choice: train it with --mechanism combined"),
}
"""Mechanisms that are not among them, and why."""


def kind_of(name: str) -> Kind:
    """A model of the list, or any causal mechanism with its own defaults.

    Raises:
        ValueError: there is none of that name, or it can't be causal.
    """
    known = KINDS | SEEDS
    if name in known:
        return known[name]
    if name not in MECHANISMS:
        raise ValueError(f"no model {name!r}; there are {', '.join(known)}")
    if not MECHANISMS[name].causal_ok or not MECHANISMS[name].selection_causal:
        raise ValueError(f"{name} reads ahead: it can't be trained to tell what follows")
    return Kind(name, rotary=MECHANISMS[name].family != "position")
