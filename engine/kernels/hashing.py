"""Locality-sensitive hashing by random rotations (arXiv 1509.02897; Reformer, arXiv 2001.04451).

Hashing jumps, so it is as exact as float64: the same data fall into the same buckets on every
device and in every data type. Shapes: R rounds, b axes = ⌈buckets/2⌉.
"""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import QKV
from engine.runtime.threads import alone, in_order

AREA = 2**18
"""Rotated coordinates that one thread works on at once; on a GPU, 2⁶ times as many."""


def rotations(width: int, buckets: int, rounds: int, seed: int) -> Float[Tensor, "R d b"]:
    """Random rotations, shared by all heads; more rounds begin with those of fewer."""
    draw = torch.Generator().manual_seed(seed)
    size = (width, -(-buckets // 2))
    return torch.stack(
        [torch.randn(size, generator=draw, dtype=torch.float64) for _ in range(rounds)]
    )


def hashed(
    x: Float[Tensor, "h n d"], turned: Float[Tensor, "R d b"], buckets: int
) -> Int[Tensor, "h R n"]:
    """argmax [xR; −xR], x and R in float64: the axis that x lies nearest to, or its opposite.

    An odd number of buckets leaves the last axis without its opposite. Products are first taken
    in float32; where the best two are too near to tell, again in float64.
    """
    axes = turned.shape[-1]
    if buckets == 1:
        return torch.zeros(x.shape[0], len(turned), x.shape[1], dtype=torch.long, device=x.device)
    area = AREA if x.device.type == "cpu" else AREA << 6
    step = max(1, area // (x.shape[0] * axes))
    # twice what rounding of x, R and their products can be off by, for each unit of |x|
    doubt = 4 * (x.shape[-1] + 2) * torch.finfo(torch.float32).eps * turned.norm(dim=1).amax()

    def one(rotation: Tensor, part: Tensor) -> Tensor:
        z = part.float() @ rotation.float()
        size = z.abs()
        if buckets < 2 * axes:
            size[..., -1] = z[..., -1]
        best, name = size.max(-1, keepdim=True)
        near = size.scatter_(-1, name, -torch.inf).amax(-1, keepdim=True).maximum(-best)
        name = torch.where(z.gather(-1, name) < 0, name + axes, name)[..., 0]
        unsure = (best - near)[..., 0] <= doubt * part.norm(dim=-1)
        z = part[unsure] @ rotation
        name[unsure] = torch.cat([z, -z], -1)[:, :buckets].argmax(-1)
        return name

    jobs = (partial(one, rotation, part) for rotation in turned for part in x.split(step, 1))
    size = x.shape[0] * x.shape[1] * axes * len(turned)
    names = torch.cat(list(in_order(jobs, x.device, size=size)), 1)
    return names.unflatten(1, (len(turned), -1))


def centred(
    x: Float[Tensor, "h n d"], counted: Bool[Tensor, " n"] | None = None
) -> Float[Tensor, "h n d"]:
    """x less its mean over the positions that count, in float64.

    Softmax doesn't mind what is taken from all keys, but vectors that share a large part would
    all fall into that part's bucket.
    """
    x = x.double()
    some = x if counted is None else x[:, counted]
    return x - some.mean(1, keepdim=True) if some.shape[1] else x


def compared(
    qkv: QKV, shared: bool = False, centre: Float[Tensor, "h d"] | None = None
) -> tuple[Float[Tensor, "h n d"], Float[Tensor, "g m d"]]:
    """Queries and keys as they are hashed; keys are the queries if shared (then g = h, m = n).

    A centre that is given is taken from shared ones in place of their mean.
    """
    if shared and centre is not None:
        queries = qkv.q.double() - centre.to(qkv.device)[:, None]
        return queries, queries
    counted = None if qkv.key_mask is None else qkv.key_mask.to(qkv.device)
    queries = centred(qkv.q, counted if shared else None)
    return queries, queries if shared else centred(qkv.k, counted)


def buckets_of(
    qkv: QKV,
    buckets: int,
    rounds: int,
    seed: int,
    shared: bool = False,
    centre: Float[Tensor, "h d"] | None = None,
) -> tuple[Int[Tensor, "h R n"], Int[Tensor, "g R m"]]:
    """Buckets of queries and keys, as `compared`; hidden keys are in bucket number `buckets`."""
    turned = rotations(qkv.q.shape[-1], buckets, rounds, seed).to(qkv.device)
    size = qkv.q.numel() + qkv.k.numel()
    q, k = alone(lambda: compared(qkv, shared, centre), qkv.device, size)
    queries = hashed(q, turned, buckets)
    keys = queries if shared else hashed(k, turned, buckets)
    if qkv.key_mask is not None:
        keys = keys.masked_fill(~qkv.key_mask.to(qkv.device), buckets)
    return queries, keys
