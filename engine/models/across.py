"""What passes through all layers: attention rolled out, the flow of one token, and what the model
would say if it ended after each layer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from engine.measure.attention import Attention
from engine.models.capture import Recorder, takes
from engine.models.masks import ModelError
from engine.models.read import Model
from engine.models.trace import Trace

LONGEST = 1024
"""Tokens of a map of all pairs."""
FLOWING = 64
"""Tokens between which flow is worked out."""
CLOSE = 1e-3
"""Of a model's own predictions, how far what is read through the unembedding may differ."""


def stack_of(trace: Trace, part: str | None = None) -> list[Attention]:
    """The layers of one part, whose queries and keys are one text; of the last such if None."""
    part = part or next(x for x in reversed(trace.parts) if x != "cross")
    return [trace.attention(i) for i, x in enumerate(trace.parts) if x == part]


def rollout(layers: Sequence[Attention]) -> Float[Tensor, "L n n"]:
    """How much of each token's place comes from each token of the text, after each layer.

    Half of a layer is its attention averaged over heads, scaled to rows of 1, and half is what
    passes by it; layer upon layer they are multiplied (Abnar and Zuidema 2020, arXiv 2005.00928).

    Raises:
        ModelError: the text is longer than LONGEST, or a layer's weights are no shares.
    """
    made: list[Tensor] = []
    for matrix in _mixed(layers):
        made.append(matrix if not made else matrix @ made[-1])
    return torch.stack(made)


def _mixed(layers: Sequence[Attention]) -> list[Float[Tensor, "n n"]]:
    n = layers[0].frame.n
    if n > LONGEST:
        raise ModelError(
            "maps across layers are drawn of at most {most, plural, one {# token} other "
            "{# tokens}}, and here are {n:,}",
            most=LONGEST, n=n,
        )  # fmt: skip
    mixed = []
    for att in layers:
        if att.row_kind == "signed":
            raise ModelError("weights below 0 are no shares, and can't be followed across layers")
        mean = att.weights().double().mean(0).cpu()
        mean = mean / mean.sum(-1, keepdim=True).clamp_min(1e-30)
        mixed.append((mean + torch.eye(n, dtype=torch.float64)) / 2)
    return mixed


def flow(
    layers: Sequence[Attention], token: int, on_token: Callable[[int], None] | None = None
) -> Float[Tensor, " n"]:
    """The most that can flow from each token of the text up to one place after the last layer.

    The layers are pipes as wide as the weights of `rollout`'s layers; each token's flow is worked
    out alone, as a maximum flow (arXiv 2005.00928). It shows what rollout's products thin out.

    Args:
        on_token: told how many tokens are done; what it raises ends it.

    Raises:
        ModelError: as `rollout`; or the text is longer than FLOWING.
    """
    mixed = _mixed(layers)
    n = mixed[0].shape[0]
    if n > FLOWING:
        raise ModelError(
            "flow is worked out for at most {most, plural, one {# token} other {# tokens}}, and "
            "here are {n:,}: choose a shorter text, or rollout",
            most=FLOWING, n=n,
        )  # fmt: skip
    found = torch.zeros(n, dtype=torch.float64)
    for source in range(n):
        found[source] = max_flow([x.tolist() for x in mixed], source, token)
        if on_token is not None:
            on_token(source + 1)
    return found


def max_flow(layers: Sequence[Sequence[Sequence[float]]], source: int, sink: int) -> float:
    """The maximum flow through layers of pipes, by shortest augmenting paths (Edmonds and Karp).

    Args:
        layers: from below, the capacity from key j below to query i above, [i][j].
        source: below the first layer. sink: above the last.
    """
    n, depth = len(layers[0]), len(layers)
    left: dict[int, dict[int, float]] = {}
    for level, matrix in enumerate(layers):
        for i, row in enumerate(matrix):
            for j, capacity in enumerate(row):
                if capacity > 1e-12:
                    a, b = level * n + j, (level + 1) * n + i
                    left.setdefault(a, {})[b] = capacity
                    left.setdefault(b, {}).setdefault(a, 0.0)
    end, total = depth * n + sink, 0.0
    while True:
        came: dict[int, int] = {source: source}
        waiting = deque([source])
        while waiting and end not in came:
            at = waiting.popleft()
            for to, room in left.get(at, {}).items():
                if room > 1e-9 and to not in came:
                    came[to] = at
                    waiting.append(to)
        if end not in came:
            return total
        path = [end]
        while path[-1] != source:
            path.append(came[path[-1]])
        steps = list(zip(path[1:], path, strict=False))
        most = min(left[a][b] for a, b in steps)
        for a, b in steps:
            left[a][b] -= most
            left[b][a] += most
        total += most


@dataclass(frozen=True, eq=False)
class Lens:
    """What a model would say after each layer, as if it were the last.

    Attributes:
        names: "embedding", then the layers, as their number from 0.
        ids: of each depth and position, the most probable next tokens, (d n k).
        probabilities: theirs, (d n k).
    """

    names: tuple[str, ...]
    ids: Int[Tensor, "d n k"]
    probabilities: Float[Tensor, "d n k"]


def lens(
    trace: Trace, model: Model, k: int = 5, on_layer: Callable[[int], None] | None = None
) -> Lens:
    """Next-token predictions of every layer, its hidden state put through the model's last norm
    and its unembedding (the logit lens: nostalgebraist 2020; arXiv 2303.08112 §2).

    Args:
        k: tokens of each position. on_layer: told how many depths are done; what it raises ends.

    Raises:
        ModelError: the model predicts no next token, doesn't tell its hidden states, or what leads
            from the last of them to its predictions is more than a norm and a matrix.
    """
    if not model.predicts:
        raise ModelError(
            "{name} predicts no tokens: it has no output head for that", name=model.name
        )
    net: Any = model.net
    head = net.get_output_embeddings()
    if head is None or not takes(model.net, "output_hidden_states", True):
        raise _closed(model)
    norms: list[tuple[Any, Tensor]] = []
    entered: list[Tensor] = []

    own = threading.get_ident()  # others may read by the same model

    def passed(module: nn.Module, args: Any, made: Any) -> None:
        if isinstance(made, Tensor) and threading.get_ident() == own:
            norms.append((module, made))

    def enters(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == own:
            entered.append(args[0])

    hooks = [head.register_forward_pre_hook(enters)]
    hooks += [
        module.register_forward_hook(passed)
        for module in net.modules()
        if "norm" in type(module).__name__.lower()
    ]
    try:
        out = model.outputs(
            trace.read, trace.written, Recorder(keep=()), output_hidden_states=True
        )
    finally:
        for hook in hooks:
            hook.remove()
    names = ("decoder_hidden_states", "hidden_states")
    states = next((x for name in names if (x := getattr(out, name, None))), None)
    if not states or not entered:
        raise _closed(model)
    norm: Any = next((m for m, x in reversed(norms) if _same(x, entered[-1])), None)
    with torch.no_grad():
        if not _near(head(states[-1]), out.logits):
            raise _closed(model)
        ids, shares = [], []
        for depth, state in enumerate(states):
            last = depth == len(states) - 1
            read = state[0] if last or norm is None else norm(state)[0]
            some = [head(part).float().softmax(-1).topk(k) for part in read.split(128)]
            ids.append(torch.cat([x.indices for x in some]).cpu())
            shares.append(torch.cat([x.values for x in some]).cpu())
            if on_layer is not None:
                on_layer(depth + 1)
    return Lens(
        ("embedding", *(str(i) for i in range(len(states) - 1))),
        torch.stack(ids), torch.stack(shares),
    )  # fmt: skip


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and torch.equal(a, b))


def _near(read: Tensor, own: Tensor) -> bool:
    return float((read - own).abs().max()) <= CLOSE * max(1.0, float(own.abs().max()))


def _closed(model: Model) -> ModelError:
    return ModelError(
        "the predictions of {name} can't be read after each layer: more than a norm and a matrix "
        "leads to them from what it tells of its layers",
        name=model.name,
    )
