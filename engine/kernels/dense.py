"""Plain attention: n×m held in the open in float64, for the references of mechanisms.

Shapes as in the contract: h heads, g key heads, n queries, m keys.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import QKV


def per_head(x: Float[Tensor, "g m f"], qkv: QKV) -> Float[Tensor, "h m f"]:
    """Keys or values, each head with its own copy of the key head that it reads."""
    return x.double().repeat_interleave(qkv.heads // qkv.groups, 0)


def visible(qkv: QKV) -> Bool[Tensor, " m"]:
    """Keys that the key mask leaves."""
    if qkv.key_mask is None:
        return torch.ones(qkv.m, dtype=torch.bool, device=qkv.device)
    return qkv.key_mask.to(qkv.device)


def positions(qkv: QKV) -> tuple[Int[Tensor, "n 1"], Int[Tensor, " m"]]:
    """Where queries and keys stand on the keys' axis: causally the last query at the last key."""
    first = qkv.m - qkv.n if qkv.causal else 0
    rows = torch.arange(first, first + qkv.n, device=qkv.device)
    return rows[:, None], torch.arange(qkv.m, device=qkv.device)


def steps(qkv: QKV) -> Int[Tensor, "s n m"]:
    """Steps from each query to each key: along the line, or down and across an image."""
    if qkv.grid is None:
        at, cols = positions(qkv)
        return (at - cols).abs()[None]
    place = qkv.grid.place.to(qkv.device).T  # (2 n)
    off = (place < 0).any(0)
    return (place[:, :, None] - place[:, None]).abs() * ~(off[:, None] | off)


def allowed(qkv: QKV) -> Bool[Tensor, "n m"]:
    """Pairs that causality and masks leave."""
    at, cols = positions(qkv)
    seen = visible(qkv).expand(qkv.n, -1)
    if qkv.causal:
        seen = seen & (cols <= at)
    if qkv.mask is not None:
        seen = seen & qkv.mask(torch.arange(qkv.n, device=qkv.device), cols)
    return seen


def logits(qkv: QKV) -> Float[Tensor, "h n m"]:
    """q·k·scale, after softcap and bias."""
    scores = qkv.q.double() @ per_head(qkv.k, qkv).mT * qkv.factor
    return biased(qkv, capped(qkv, scores))


def capped(qkv: QKV, scores: Float[Tensor, "h n c"]) -> Float[Tensor, "h n c"]:
    """softcap·tanh(score/softcap), where there is one."""
    return scores if qkv.softcap is None else qkv.softcap * torch.tanh(scores / qkv.softcap)


def biased(qkv: QKV, scores: Float[Tensor, "h n m"]) -> Float[Tensor, "h n m"]:
    """The bias added, where there is one."""
    if qkv.bias is None:
        return scores
    rows, cols = (torch.arange(x, device=qkv.device) for x in (qkv.n, qkv.m))
    return scores + qkv.bias(rows, cols).double()


def entries(
    qkv: QKV, z: Float[Tensor, "h n c"], seen: Bool[Tensor, "#h #n #c"] | Bool[Tensor, "#n #c"]
) -> Float[Tensor, "h n cs"]:
    """What a row's softmax is over: its logits, −∞ where unseen, then the sink's, if any."""
    z = z.masked_fill(~seen, -torch.inf)
    if qkv.sinks is None:
        return z
    return torch.cat([z, qkv.sinks.double()[:, None, None].expand(-1, z.shape[1], 1)], -1)


def masked_softmax(
    qkv: QKV, z: Float[Tensor, "h n c"], seen: Bool[Tensor, "#h #n #c"] | Bool[Tensor, "#n #c"]
) -> Float[Tensor, "h n c"]:
    """Softmax over what is seen and the sink, whose weight is dropped; rows of nothing are 0."""
    return entries(qkv, z, seen).softmax(-1).nan_to_num(0)[..., : z.shape[-1]]


def softmax(
    qkv: QKV,
    temperature: float = 1.0,
    pattern: Bool[Tensor, "#h n m"] | Bool[Tensor, "n m"] | None = None,
) -> Float[Tensor, "h n m"]:
    """softmax(z/temperature) over the pairs of a pattern, all if None, that may be seen."""
    seen = allowed(qkv) if pattern is None else allowed(qkv) & pattern
    z = entries(qkv, logits(qkv), seen) / temperature
    return z.softmax(-1).nan_to_num(0)[..., : qkv.m]


def entmax(z: Float[Tensor, "h n c"], alpha: float) -> Float[Tensor, "h n c"]:
    """[(α − 1) z − τ]₊^{1/(α−1)}, the τ at which it sums to 1 found by halving its range."""
    if alpha == 1:
        return z.softmax(-1).nan_to_num(0)
    x = (alpha - 1) * z
    high = x.amax(-1, keepdim=True)  # the largest logit alone has at least the weight 1 at −1
    low = high - 1
    for _ in range(100):
        tau = (low + high) / 2
        over = (x - tau).clamp_min(0).pow(1 / (alpha - 1)).sum(-1, keepdim=True) >= 1
        low, high = torch.where(over, tau, low), torch.where(over, high, tau)
    w = (x - low).clamp_min(0).pow(1 / (alpha - 1)).nan_to_num(0)
    return w / w.sum(-1, keepdim=True).clamp_min(torch.finfo(w.dtype).tiny)


def pooling(seen: Bool[Tensor, " m"], slots: int) -> Float[Tensor, "k m"]:
    """Means over `slots` consecutive parts of the positions seen, sizes differing by at most 1.

    As many parts as positions if these are fewer; one of nothing if there are none.
    """
    at = seen.nonzero()[:, 0]
    parts = at.tensor_split(max(1, min(slots, len(at))))  # the longer parts first
    e = torch.zeros(len(parts), len(seen), dtype=torch.float64, device=seen.device)
    for row, part in zip(e, parts, strict=True):
        row[part] = 1 / max(1, len(part))
    return e
