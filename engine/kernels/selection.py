"""How keys are chosen by content: the largest of a row, clusters, and blocks by their mean key.

Choices jump, so all of them are made in float64: the same data give the same choice on every
device and in every data type, and exact ties go to the lowest index.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import QKV

POINTS = 4096
"""Queries, and keys, that centroids are fitted to at most; longer texts are sampled evenly."""
STEPS = 12
"""Steps of Lloyd's algorithm."""
GATES = 2**22
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


def blocks(qkv: QKV, block: int, top_k: int) -> Int[Tensor, "h n k"]:
    """Blocks that each query reads, rising, −1 as padding (MoBA, arXiv 2502.13189).

    The query's own block, always, and those whose mean visible key scores highest; causally only
    blocks before its own. Softcap, bias, sinks and masks of pairs have no part in the choice.
    """
    m, count = qkv.m, -(-qkv.m // block)
    seen = torch.ones(m, dtype=torch.float64, device=qkv.device)
    if qkv.key_mask is not None:
        seen = qkv.key_mask.to(seen)
    pad = (0, 0, 0, count * block - m)
    pooled = torch.nn.functional.pad(qkv.k.double() * seen[:, None], pad)
    pooled = pooled.unflatten(1, (count, block)).sum(2)
    per = torch.nn.functional.pad(seen, pad[2:]).unflatten(0, (count, block)).sum(1)
    means = (pooled / per.clamp_min(1)[:, None] * qkv.factor).mT
    name = torch.arange(count, device=qkv.device)
    k = min(top_k, count)
    found = torch.empty(qkv.heads, qkv.n, k, dtype=torch.long, device=qkv.device)
    for rows in torch.arange(qkv.n, device=qkv.device).split(max(1, GATES // (qkv.heads * count))):
        q = qkv.q[:, rows].double().unflatten(0, (qkv.groups, -1))
        gate = (q.flatten(1, 2) @ means).unflatten(1, q.shape[1:3]).flatten(0, 1)
        own = ((rows + qkv.frame.offset).clamp_min(0) // block).clamp_max(count - 1)[:, None]
        gate = gate.masked_fill(per == 0, -torch.inf)
        if qkv.causal:
            gate = gate.masked_fill(name > own, -torch.inf)
        gate = gate.masked_fill(name == own, torch.finfo(gate.dtype).max)
        chosen = torch.where(largest(gate, k), name, count)
        chosen = chosen.topk(k, largest=False, sorted=True).values
        found[:, rows] = torch.where(chosen < count, chosen, -1)
    return found
