"""Scoring functions: additive and scaled dot product, and what 1/√d is for.

Shapes: n queries, m keys, d their width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Refusal
from engine.measure.attention import Attention
from engine.mechanisms import attend

WIDTHS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
QUERIES, KEYS = 4, 8
SAMPLES = 400
"""Queries over which scores and weights are counted."""


def drawn(query_width: int, key_width: int, seed: int = 0) -> QKV:
    """Four queries and eight keys of N(0, 1) entries, of widths of their own.

    Raises:
        ValueError: a width below 1.
    """
    if min(query_width, key_width) < 1:
        raise Refusal(
            "widths must be at least 1, not {query_width} and {key_width}",
            query_width=query_width,
            key_width=key_width,
        )
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(1, QUERIES, query_width, generator=generator)
    k = torch.randn(1, KEYS, key_width, generator=generator)
    return QKV(q, k, torch.randn(1, KEYS, 1, generator=generator))


def both(qkv: QKV, hidden: int) -> tuple[Attention, Attention | None]:
    """Additive attention, and scaled dot product where the widths allow one."""
    additive = attend(qkv, "additive", hidden=hidden)
    same = qkv.q.shape[-1] == qkv.k.shape[-1]
    return additive, attend(qkv, "softmax") if same else None


@dataclass(frozen=True, eq=False)
class Spread:
    """Products of random queries and keys of one width, and what a softmax makes of them.

    Attributes:
        d: width. raw: q·k, (s m). variance: theirs, and of q·k/√d.
        largest, entropy: mean largest weight, and mean entropy over ln m, without the scale and
            with it.
    """

    d: int
    raw: Float[Tensor, "s m"]
    variance: tuple[float, float]
    largest: tuple[float, float]
    entropy: tuple[float, float]


def spread(d: int, keys: int = 32, seed: int = 0, samples: int = SAMPLES) -> Spread:
    """Measured; each query has keys of its own, so that all products are independent draws.

    Raises:
        ValueError: a width below 1, or fewer than two keys.
    """
    if d < 1 or keys < 2:
        raise Refusal(
            "width must be at least 1 and keys at least 2, not {d} and {keys}", d=d, keys=keys
        )
    generator = torch.Generator().manual_seed(seed)
    raw = torch.empty(samples, keys)
    for part in raw.split(64):
        q = torch.randn(len(part), d, 1, generator=generator)
        part.copy_((torch.randn(len(part), keys, d, generator=generator) @ q)[..., 0])
    stats = [attend(given(raw, scale), "softmax").rows() for scale in (1.0, d**-0.5)]
    variance = float(raw.var(correction=0))
    return Spread(
        d, raw, (variance, variance / d),
        (float(stats[0].max_weight.mean()), float(stats[1].max_weight.mean())),
        (float(stats[0].normalised_entropy.mean()), float(stats[1].normalised_entropy.mean())),
    )  # fmt: skip


def given(scores: Float[Tensor, "s m"], scale: float) -> QKV:
    """A QKV whose scaled products are these scores times a scale: one-hot queries read them."""
    eye = torch.eye(len(scores))
    return QKV(eye[None], scores.T[None].contiguous(), torch.zeros(1, scores.shape[1], 1),
               scale=scale)  # fmt: skip


def spreads(keys: int = 32, seed: int = 0) -> list[Spread]:
    """At each of WIDTHS."""
    return [spread(d, keys, seed) for d in WIDTHS]
