"""Lines from tokens to those that they look at, token by token or word by word."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import Refusal
from engine.measure.attention import Attention

LARGEST = 512
"""Tokens of a side at most: every weight between them is looked at."""


@dataclass(frozen=True, eq=False)
class Lines:
    """What runs between the queries and the keys of a window, in one head.

    Attributes:
        ends: query and key of each line, by their number in the window, strongest first, (l 2).
        weights: theirs, (l).
        aside: mass of each query that lay on keys set aside, (a). outside: on keys beyond the
            window, (a). drawn: share of the window's weight that the lines carry.
    """

    ends: Int[Tensor, "l 2"]
    weights: Float[Tensor, " l"]
    aside: Float[Tensor, " a"]
    outside: Float[Tensor, " a"]
    drawn: float


def lines(
    att: Attention,
    head: int,
    queries: Int[Tensor, "a 2"],
    keys: Int[Tensor, "b 2"],
    least: float = 0.02,
    most: int = 1500,
) -> Lines:
    """The lines of one head between pieces of a text.

    A query of several tokens looks as its tokens do on average; to a key of several tokens goes
    what goes to all of them. Of what `att` hides, rows are scaled up to what they had.

    Args:
        queries, keys: tokens of each piece, as half-open spans that follow one another.
        least: size of a weight to be drawn. most: lines at most.

    Raises:
        ValueError: the window is larger than LARGEST tokens a side.
    """
    at = slice(int(queries[0, 0]), int(queries[-1, 1]))
    to = slice(int(keys[0, 0]), int(keys[-1, 1]))
    if max(at.stop - at.start, to.stop - to.start) > LARGEST:
        raise Refusal(
            "lines are drawn between at most {most, plural, one {# token} other {# tokens}} a "
            "side",
            most=LARGEST,
        )
    whole = att.weights(at, to)[head].double().cpu()
    lengths = (queries[:, 1] - queries[:, 0]).cpu()
    made = _pooled(_pooled(whole, keys, 1), queries, 0) / lengths[:, None]
    total = att.rows(torch.arange(at.start, at.stop)).kept_mass[head].double().cpu()
    aside = att.removed(at)[head].double().cpu()
    outside = (total - whole.sum(1)).clamp_min(0)
    size = made.abs().flatten()
    order = size.topk(min(most, len(size))).indices
    order = order[size[order] >= max(least, 1e-30)]
    return Lines(
        torch.stack([order // len(keys), order % len(keys)], 1),
        made.flatten()[order].float(),
        (_pooled(aside, queries, 0) / lengths).float(),
        (_pooled(outside, queries, 0) / lengths).float(),
        float(size[order].sum() / size.sum().clamp_min(1e-30)),
    )


def _pooled(x: Tensor, spans: Int[Tensor, "u 2"], dim: int) -> Tensor:
    """Sums over spans that follow one another."""
    which = torch.repeat_interleave(torch.arange(len(spans)), (spans[:, 1] - spans[:, 0]).cpu())
    shape = list(x.shape)
    shape[dim] = len(spans)
    return x.new_zeros(shape).index_add_(dim, which, x)


def within(spans: Int[Tensor, "u 2"], start: int, stop: int) -> Int[Tensor, "v 2"]:
    """The pieces of a text that lie in a window, cut at its ends."""
    inside = spans[(spans[:, 1] > start) & (spans[:, 0] < stop)]
    return inside.clamp(start, stop)
