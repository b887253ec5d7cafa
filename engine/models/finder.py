"""Every head of a model, scored by what it does: on a text, and on a standard probe.

The probe is random tokens said twice. Nothing in it can be guessed from the language, so a head
that looks back to what followed last time does so by matching alone (Olsson et al. 2022, arXiv
2209.11895, Appendix).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from engine.contract import one_of
from engine.measure.attention import Attention
from engine.measure.patterns import PATTERNS, patterns
from engine.models.capture import Recorder
from engine.models.pieces import Coded
from engine.models.read import Model
from engine.models.trace import Side, Trace

PROBE = 48  # tokens that the probe says twice
ROWS = 1024  # rows that are looked at, spread evenly, where a text has more


@dataclass(frozen=True)
class Head:
    """One head and its scores by name (measure.patterns).

    Attributes:
        layer: as `Trace.layer` counts; name, part: of that layer, as the model calls it.
        scores: 0 … 1, the distance in tokens; NaN where the text says nothing of it.
    """

    layer: int
    name: str
    part: str
    head: int
    scores: dict[str, float]


def score(
    trace: Trace,
    rows: int = ROWS,
    needles: Int[Tensor, " k"] | None = None,
    on_layer: Callable[[int], None] | None = None,
) -> list[Head]:
    """Every head of the layers that a trace kept, on its text.

    Args:
        rows: at most so many rows of each layer, spread evenly. needles: tokens, by position, that
            the last one should look for. on_layer: told how many are done; what it raises ends it.
    """
    found = []
    for i in range(trace.layers):
        if trace.kept(i):
            found += of_layer(trace, i, trace.attention(i), rows, needles)
        if on_layer is not None:
            on_layer(i + 1)
    return found


def of_layer(
    trace: Trace,
    i: int,
    att: Attention,
    rows: int = ROWS,
    needles: Int[Tensor, " k"] | None = None,
) -> list[Head]:
    """The heads of one layer, whose attention this is; as `score`."""
    keys, n = trace.keys(i), att.frame.n
    some = torch.linspace(0, n - 1, min(n, rows)).round().long()
    ids = torch.tensor(keys.coded.ids)
    scores = patterns(att, ids, separators(keys), sinks(keys), some, needles)
    return [
        Head(i, trace.names[i], trace.parts[i], h, {k: float(x[h]) for k, x in scores.items()})
        for h in range(att.frame.heads)
    ]


def probe(model: Model, length: int = PROBE, seed: int = 0) -> Trace:
    """A model's pass over random tokens said twice, between what opens and closes a text.

    Args:
        length: of the passage, tokens; less where the model reads less.
    """
    usual = model.pieces.encode("a")
    inside = [i for i, s in enumerate(usual.special) if not s] or [len(usual.ids)]
    opening, closing = usual.ids[: inside[0]], usual.ids[inside[-1] + 1 :]
    special = set(model.tokenizer.all_special_ids)
    known = torch.tensor([t for t in range(len(model.tokenizer)) if t not in special])
    room = (model.context or 2 * length + 8) - len(opening) - len(closing)
    length = max(1, min(length, room // 2, len(known)))
    drawn = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))[:length]
    passage = known[drawn].tolist()
    ids = [*opening, *passage, *passage, *closing]
    marks = [True] * len(opening) + [False] * 2 * length + [True] * len(closing)
    tokens = tuple(model.token(t) for t in ids)
    # each token is a stretch of a text that nobody wrote, so that units can be told
    ends = torch.tensor([len(token) for token in tokens]).cumsum(0)
    offsets = torch.stack([torch.cat([ends.new_zeros(1), ends[:-1]]), ends], 1)
    side = Side(Coded("".join(tokens), ids, offsets, marks), tokens, len(ids))
    return model.run(side, side if model.second == "decoder" else None, Recorder())


def ranked(heads: Sequence[Head], pattern: str, least: float = 0.0) -> list[Head]:
    """Heads by a score, the highest first, without those below `least` or without a score.

    Raises:
        ValueError: there is no such score.
    """
    one_of("pattern", pattern, PATTERNS)
    some = [head for head in heads if head.scores[pattern] >= least]
    return sorted(some, key=lambda head: -head.scores[pattern])


def sinks(side: Side) -> Int[Tensor, " s"]:
    """Keys that are set aside: the first token, on which heads park what they have no use for."""
    return torch.zeros(min(1, len(side.tokens)), dtype=torch.long)


def separators(side: Side) -> Bool[Tensor, " m"]:
    """Tokens that separate: special ones after the first, punctuation, ends of lines."""
    return torch.tensor([
        i > 0 and (special or _separates(token))
        for i, (token, special) in enumerate(zip(side.tokens, side.coded.special, strict=True))
    ])  # fmt: skip


def _separates(token: str) -> bool:
    bare = token.strip(" ")
    return bool(bare) and all(c == "\n" or unicodedata.category(c)[0] == "P" for c in bare)
