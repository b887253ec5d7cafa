"""How keys are chosen by content: the largest of a row, clusters, and blocks by their mean key.

Choices jump, so all of them are made in float64: the same data give the same choice on every
device and in every data type, and exact ties go to the lowest index.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import QKV

POINTS = 4096
"""Queries, and keys, that centroids are fitted to at most; longer texts are sampled evenly."""
STEPS = 12
"""Steps of Lloyd's algorithm."""
GATES = 2**19
"""Scores of blocks held at once."""


def largest(values: Float[Tensor, "... c"], k: int) -> Bool[Tensor, "... c"]:
    """The k largest finite values of each row, exact ties to the lowest index."""
    top = values.topk(min(k + 1, values.shape[-1])).values
    least = top[..., min(k, values.shape[-1]) - 1, None]
    chosen = (values >= least) & (values > -torch.inf)
    if top.shape[-1] > k and bool(((top[..., k:] == least) & (least > -torch.inf)).any()):
        above, level = values > least, values == least
        room = k - above.sum(-1, keepdim=True)
        chosen &= above | (level & (level.cumsum(-1) <= room))
    return chosen


def sample(total: int, most: int) -> Int[Tensor, " s"]:
    """At most so many positions, evenly over all of them."""
    return torch.linspace(0, total - 1, min(total, most), dtype=torch.float64).round().long()


def unit(x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    """Vectors of length 1 in float64; 0 stays 0."""
    x = x.double()
    return x / x.norm(dim=-1, keepdim=True).clamp_min(1e-30)


def features(qkv: QKV) -> tuple[Float[Tensor, "h n d"], Float[Tensor, "h m d"]]:
    """Unit queries and unit keys of every head, each less its mean over the text.

    Softmax doesn't see the keys' mean, which most of a trained model's keys share; the queries'
    mean would send all of them to one centroid.
    """
    k = qkv.k.double()
    if qkv.key_mask is None:
        mean = k.mean(1, keepdim=True)
    else:
        seen = qkv.key_mask.to(k.device, torch.float64)[:, None]
        mean = (k * seen).sum(1, keepdim=True) / seen.sum().clamp_min(1)
    q = qkv.q.double()
    keys = unit(k - mean).repeat_interleave(qkv.heads // qkv.groups, 0)
    return unit(q - q.mean(1, keepdim=True)) if qkv.n > 1 else unit(q), keys


def seeds(
    points: Float[Tensor, "h p d"], weight: Float[Tensor, " p"], count: int, seed: int
) -> Float[Tensor, "h c d"]:
    """k-means++ on the sphere: each next seed is drawn by 1 − cos to the nearest so far.

    Points of weight 0 are not drawn while there are others (Arthur and Vassilvitskii, 2007).
    """
    draw = torch.Generator().manual_seed(seed)
    chance = torch.rand(count, len(points), generator=draw, dtype=torch.float64)
    h = torch.arange(len(points), device=points.device)
    far = torch.ones(points.shape[:2], dtype=torch.float64, device=points.device)
    found = []
    for u in chance.to(points.device):
        mass = (far * weight).clamp_min(0)
        mass = torch.where(mass.sum(-1, keepdim=True) > 1e-12, mass, weight + 1e-12)
        total = mass.cumsum(-1)
        at = torch.searchsorted(total, (u * total[:, -1])[:, None])[:, 0]
        found.append(points[h, at.clamp_max(points.shape[1] - 1)])
        far = far.minimum(1 - (points @ found[-1][..., None])[..., 0])
    return torch.stack(found, 1)


def lloyd(
    points: Float[Tensor, "h p d"], weight: Float[Tensor, " p"], start: Float[Tensor, "h c d"]
) -> Float[Tensor, "h c d"]:
    """Spherical k-means: unit centroids after a few steps; an empty cluster keeps its centroid."""
    centroids = start
    for _ in range(STEPS):
        own = (points @ centroids.mT).argmax(-1)
        # a product and not an indexed sum, which a GPU adds up in any order
        hot = torch.nn.functional.one_hot(own, start.shape[1]).to(points) * weight[:, None]
        mean = hot.mT @ points
        moved = mean.norm(dim=-1, keepdim=True) > 1e-9
        centroids = torch.where(moved, unit(mean), centroids)
    return centroids


def centroids(qkv: QKV, clusters: int, seed: int) -> Float[Tensor, "h c d"]:
    """Centroids of each head's queries and keys together, by spherical k-means."""
    q, k = features(qkv)
    some, at = sample(qkv.n, POINTS), sample(qkv.m, POINTS)
    weight = torch.ones(len(some) + len(at), dtype=torch.float64, device=q.device)
    if qkv.key_mask is not None:
        weight[len(some) :] = qkv.key_mask.to(q.device)[at].to(weight)
    points = torch.cat([q[:, some], k[:, at]], 1)
    return lloyd(points, weight, seeds(points, weight, clusters, seed))


def members(
    qkv: QKV, centroids: Float[Tensor, "h c d"], window: int
) -> tuple[Bool[Tensor, "h c n"], Bool[Tensor, "h c m"]]:
    """The `window` queries and the `window` visible keys nearest to each centroid."""
    q, k = features(qkv)
    near = centroids.double() @ k.mT
    if qkv.key_mask is not None:
        near = near.masked_fill(~qkv.key_mask.to(near.device), -torch.inf)
    return largest(centroids.double() @ q.mT, window), largest(near, window)


Gate = Callable[[Tensor, int], Tensor]
"""(r) query numbers, and a number c of blocks -> (h r c), how well each of the first c suits them;
may be changed."""


def blocks(
    qkv: QKV,
    block: int,
    top_k: int,
    gate: Gate | None = None,
    rows: Int[Tensor, " r"] | None = None,
) -> Int[Tensor, "h r k"]:
    """Blocks that each query, or each of some, reads, rising, −1 as padding (arXiv 2502.13189).

    The query's own block, always, and those whose gate is highest, the score of their mean visible
    key if None; causally only blocks before its own, and never one without a visible key. Softcap,
    bias, sinks and masks of pairs have no part in the choice.
    """
    count = -(-qkv.m // block)
    empty = None if qkv.key_mask is None else held(qkv, block) == 0
    gate = by_mean(qkv, block) if gate is None else gate
    name = torch.arange(count, device=qkv.device)
    k = min(top_k, count)
    found = []
    every = torch.arange(qkv.n, device=qkv.device) if rows is None else rows
    most = GATES if qkv.device.type == "cpu" else 16 * GATES
    for part in every.split(max(1, most // (qkv.heads * count))):
        own = ((part + qkv.frame.offset).clamp_min(0) // block).clamp_max(count - 1)[:, None]
        stop = max(k, int(own.max()) + 1) if qkv.causal and len(part) else count
        scores = gate(part, stop)
        if empty is not None:
            scores.masked_fill_(empty[:stop], -torch.inf)
        if qkv.causal:
            scores.masked_fill_(name[:stop] > own, -torch.inf)
        scores.scatter_(-1, own.expand(len(scores), -1, -1), torch.finfo(scores.dtype).max)
        chosen = first(scores, k)
        found.append(torch.where(chosen < stop, chosen, -1))
    return torch.cat(found, 1)


def first(values: Float[Tensor, "h r c"], k: int) -> Int[Tensor, "h r k"]:
    """Places of the k largest finite values of each row, as `largest` has them, rising; c as
    padding."""
    count = values.shape[-1]
    top = values.topk(min(k + 1, count))
    level = top.values[..., k - 1, None]
    if count > k and bool(((top.values[..., k:] == level) & (level > -torch.inf)).any()):
        name = torch.arange(count, device=values.device)
        chosen = torch.where(largest(values, k), name, count)
        return chosen.topk(k, largest=False, sorted=True).values
    found = torch.where(top.values[..., :k] > -torch.inf, top.indices[..., :k], count)
    return found.sort(-1).values


def held(qkv: QKV, block: int) -> Float[Tensor, " c"]:
    """How many visible keys each block has."""
    seen = torch.ones(qkv.m, dtype=torch.float64, device=qkv.device)
    if qkv.key_mask is not None:
        seen = qkv.key_mask.to(seen)
    pad = (0, -qkv.m % block)
    return torch.nn.functional.pad(seen, pad).unflatten(0, (-1, block)).sum(1)


def by_mean(qkv: QKV, block: int) -> Gate:
    """q · the mean of a block's visible keys, in float64."""
    keys = qkv.k.double()
    if qkv.key_mask is not None:
        keys = keys * qkv.key_mask.to(keys)[:, None]
    pooled = torch.nn.functional.pad(keys, (0, 0, 0, -qkv.m % block))
    pooled = pooled.unflatten(1, (-1, block)).sum(2)
    means = (pooled / held(qkv, block).clamp_min(1)[:, None] * qkv.factor).mT

    def gate(rows: Tensor, count: int) -> Tensor:
        q = qkv.q[:, rows].double().unflatten(0, (qkv.groups, -1))
        return (q.flatten(1, 2) @ means[..., :count]).unflatten(1, q.shape[1:3]).flatten(0, 1)

    return gate
