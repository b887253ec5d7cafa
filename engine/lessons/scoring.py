"""Scoring functions: additive and scaled dot product, and what 1/√d is for.

Shapes: n queries, m keys, d their width, v that of values, u hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Refusal
from engine.contract.learned import Learned, explained
from engine.kernels.scoring import Additive as Network
from engine.kernels.scoring import Dot
from engine.measure.attention import Attention
from engine.mechanisms import attend
from engine.mechanisms.additive import Additive, random, split

WIDTHS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
QUERIES, KEYS, VALUES = 4, 8, 3
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
    return QKV(q, k, torch.randn(1, KEYS, VALUES, generator=generator))


def comparable(qkv: QKV) -> bool:
    """Whether there is a dot product to compare with."""
    return qkv.q.shape[-1] == qkv.k.shape[-1]


def additive(qkv: QKV, hidden: int, bias: bool = True) -> Additive:
    """The additive network of one head, following the scaled dot product where there is one.

    With its biases it is the mechanism's own fit. Without them its first layer is drawn at random
    and w_v is the best for the queries that are learned from, by least squares on what scores
    differ by within a row.
    """
    mechanism = Additive(hidden)
    if bias:
        return mechanism.fit(qkv)
    h, d, dk = qkv.heads, qkv.q.shape[-1], qkv.k.shape[-1]
    draw = torch.Generator().manual_seed(mechanism.seed)
    weights = random(h, d, dk, hidden, draw)
    weights["b"] = torch.zeros_like(weights["b"])
    if comparable(qkv):
        learn, _, _ = split(qkv, mechanism.seed)
        q, k = qkv.q[:, learn].double(), qkv.k.double()
        rows, cols = (x @ weights[w].double().mT for x, w in ((q, "w_q"), (k, "w_k")))
        units = (rows[:, :, None] + cols[:, None]).tanh()[0]  # (r m u)
        target = (q @ k.mT * qkv.factor)[0]
        inside = (x - x.mean(1, keepdim=True) for x in (units, target[..., None]))
        left, right = (x.flatten(0, 1) for x in inside)
        best = torch.linalg.lstsq(left, right, driver="gelsd").solution
        weights["w_v"] = best.mT.to(weights["w_v"])
    return Additive(hidden, learned=Learned(weights))


def both(qkv: QKV, hidden: int, bias: bool = True) -> tuple[Attention, Attention | None]:
    """Additive attention, and scaled dot product where the widths allow one."""
    dot = attend(qkv, "softmax") if comparable(qkv) else None
    return additive(qkv, hidden, bias).attend(qkv), dot


@dataclass(frozen=True)
class Apart:
    """How far two maps differ at most, on queries that were learned from and on those held out.

    Attributes:
        learned, held: queries. on_learned, on_held: largest difference of two weights.
    """

    learned: list[int]
    held: list[int]
    on_learned: float
    on_held: float


def apart(qkv: QKV, one: Attention, other: Attention) -> Apart:
    """Of two maps of the same queries, one of them fitted by `additive`."""
    learned, held, _ = split(qkv, Additive().seed)
    gap = (one.weights() - other.weights()).abs()[0].amax(1)
    return Apart(
        sorted(learned.tolist()), sorted(held.tolist()),
        float(gap[learned].max()), float(gap[held].max()),
    )  # fmt: skip


@dataclass(frozen=True)
class Mirrored:
    """What becomes of scores as query and key both turn their signs, which q·k does not mind.

    Attributes:
        query: a query. ahead, behind: the keys that it scores highest and lowest by q·k/√d.
        product: by how much `ahead` leads, the same for −q and −k. score, turned: the lead in the
            network's scores of (q, k), and of (−q, −k). r2: share of the products' variance that
            they explain, within rows, over all pairs and their mirror images. Without biases it is
            −Σs²/Σt² for scores s and products t, less their rows' means: never above 0.
    """

    query: int
    ahead: int
    behind: int
    product: float
    score: float
    turned: float
    r2: float


def mirrored(qkv: QKV, network: Additive) -> Mirrored:
    """Of one head's queries and keys, which have one width, and a network fitted to them."""
    assert network.learned is not None
    made = Network(**{x: network.learned.weights[x] for x in ("w_q", "w_k", "b", "w_v")})
    every = slice(0, 1)
    product = Dot().scores(qkv, every, qkv.q, qkv.k)
    score, turned = (made.scores(qkv, every, s * qkv.q, s * qkv.k) for s in (1, -1))
    target, found = product.repeat(1, 2, 1), torch.cat([score, turned], 1)
    r2 = explained(target, found, torch.ones_like(target, dtype=torch.bool))
    query = int(split(qkv, network.seed)[1][0])
    row = product[0, query]
    ahead, behind = int(row.argmax()), int(row.argmin())
    lead, own, back = (
        float(x[0, query, ahead] - x[0, query, behind]) for x in (product, score, turned)
    )
    return Mirrored(query, ahead, behind, lead, own, back, float(r2[0]))


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
