"""Attention pooling, whole and in small numbers: queries, keys, scores, softmax, weighted sum.

Shapes: n queries, m keys, width 2 of both and of values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engine import mechanisms
from engine.contract import QKV, Refusal, one_of
from engine.measure.attention import Attention

SCORINGS = {"dot": "softmax", "additive": "additive", "gaussian": "gaussian"}
"""What a scoring function is called here -> the mechanism that has it."""
WIDTH = 2


@dataclass(frozen=True, eq=False)
class Pooled:
    """Every stage of one small attention.

    Attributes:
        q: (n 2), k: (m 2), v: (m 2). scores: before the softmax, (n m). weights: (n m).
    """

    q: Float[Tensor, "n d"]
    k: Float[Tensor, "m d"]
    v: Float[Tensor, "m e"]
    scores: Float[Tensor, "n m"]
    weights: Float[Tensor, "n m"]
    output: Float[Tensor, "n e"]


def drawn(
    queries: int = 3, keys: int = 4, seed: int = 0, first: tuple[float, float] | None = None
) -> QKV:
    """Small numbers with one decimal, so that what is read in a cell is what is computed.

    Args:
        first: the first query, if it is chosen.

    Raises:
        ValueError: no query, or no key.
    """
    if min(queries, keys) < 1:
        raise Refusal(
            "at least one query and one key are needed, not {queries} and {keys}",
            queries=queries,
            keys=keys,
        )
    generator = torch.Generator().manual_seed(seed)

    def rounded(count: int) -> Tensor:
        made = torch.randn(count, WIDTH, generator=generator, dtype=torch.float64)
        return (1.5 * made).clamp(-3, 3).round(decimals=1) + 0.0  # no −0.0

    k, v, q = rounded(keys), rounded(keys), rounded(queries)
    if first is not None:
        q[0] = torch.tensor(first, dtype=torch.float64)
    return QKV(q[None], k[None], v[None])


def attend(qkv: QKV, scoring: str, **parameters: float) -> Attention:
    """Attention with one of the scoring functions; parameters are the mechanism's.

    Raises:
        ValueError: no such scoring function or parameter.
    """
    one_of("scoring", scoring, SCORINGS)
    return mechanisms.attend(qkv, SCORINGS[scoring], **parameters)


def pool(qkv: QKV, scoring: str, **parameters: float) -> Pooled:
    """Attend, and keep every stage."""
    att = attend(qkv, scoring, **parameters)
    steps = [att.steps(0, i) for i in range(qkv.n)]
    return Pooled(
        qkv.q[0], qkv.k[0], qkv.v[0],
        torch.stack([one.logits for one in steps]),
        torch.stack([one.weights for one in steps]),
        torch.stack([one.output for one in steps]),
    )  # fmt: skip
