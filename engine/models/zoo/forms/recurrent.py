"""Memories: of fixed size, and slots that stand for what came before."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from engine.mechanisms.delta import Delta
from engine.mechanisms.infini import Infini
from engine.mechanisms.linear import Linear
from engine.mechanisms.log_linear import LogLinear, even
from engine.mechanisms.memory_tokens import MemoryTokens, merge
from engine.models.zoo.forms.base import (
    Dense,
    Erasing,
    Form,
    Given,
    Mixed,
    Softmaxed,
    by_reference,
    gate,
)


def linear(mechanism: Linear, given: Given) -> Form:
    if mechanism.feature_map == "exp":
        return by_reference(mechanism, given)
    q, k = given.q, given.k
    if mechanism.feature_map == "relu":
        q, k = q.relu(), k.relu()
    else:  # elu(x) + 1, not as a sum with 1, in which small e^x would be lost
        q, k = (torch.where(x > 0, x + 1, x.clamp_max(0).exp()) for x in (q, k))
    w = (q @ k.mT) * given.causal
    total = w.sum(-1, keepdim=True)
    return Dense(w / total.masked_fill(total == 0, 1))


def delta(mechanism: Delta, given: Given) -> Form:
    """The rule unrolled: what keys erase of each other is one triangular system."""
    rate = given.learned["rate"].to(given.x).exp()[:, None]
    total = (-rate * F.softplus(gate(given, "decay"))).cumsum(-1)
    beta = torch.sigmoid(gate(given, "write"))
    since = (total[..., None] - total[..., None, :]).masked_fill(~given.causal, -torch.inf).exp()
    q, k = F.normalize(given.q, dim=-1), F.normalize(given.k, dim=-1)
    erased = (beta[..., None] * (k @ k.mT) * since).tril(-1)
    return Erasing((q @ k.mT) * since, erased, beta[..., None])


def memory_tokens(mechanism: MemoryTokens, given: Given) -> Form:
    """Own segment, and the slots as they stood when it began: which slot takes a key is chosen as
    the mechanism chooses it, and gradients pass through the means that slots hold."""
    size, n = mechanism.segment, given.n
    ended = (n - 1) // size
    slots = min(mechanism.slots, ended * size)
    at = torch.arange(n, device=given.q.device)
    own = given.causal & (at // size == (at // size)[:, None])
    if not slots:
        return Softmaxed(given.q, given.k, given.scale, own)
    k = given.k.detach().flatten(0, 1).double()
    member = k.new_zeros(len(k), slots, n)  # whether a slot stands for a key
    biases = [torch.where(own, 0.0, -torch.inf).expand(len(k), -1, -1)]
    shares = []
    for t in range(ended):
        new = slice(t * size, (t + 1) * size)
        count = member.sum(-1)
        points = torch.cat([member / count[..., None].clamp_min(1) @ k, k[:, new]], 1)
        weight = torch.cat([count, torch.ones_like(k[:, new, 0])], 1)
        goes = merge(points, weight, slots)[:, None] == torch.arange(slots).to(at)[:, None]
        member = goes[..., :slots].double() @ member
        member[..., new] += goes[..., slots:]
        count = member.sum(-1, keepdim=True)
        shares.append(member / count.clamp_min(1))
        bias = k.new_full((n, 1), -torch.inf)
        bias[(t + 1) * size : (t + 2) * size] = 0
        biases.append(bias + count.log().mT)
    pool = torch.cat(shares, 1).to(given.k).unflatten(0, given.k.shape[:2])  # (b h tC n)
    mask = torch.cat(biases, -1).to(given.q).unflatten(0, given.k.shape[:2])
    return Softmaxed(given.q, torch.cat([given.k, pool @ given.k], 2), given.scale, mask, pool)


def infini(mechanism: Infini, given: Given) -> Form:
    """The memory as each segment finds it, and the row's own segment."""
    size, n = mechanism.segment, given.n
    at = torch.arange(n, device=given.q.device)
    here = at // size
    own = Softmaxed(given.q, given.k, given.scale, given.causal & (here == here[:, None]))
    exact = torch.promote_types(given.q.dtype, torch.float32)  # features are added up
    # elu(x) + 1, not as a sum with 1, in which small e^x would be lost
    q, k = (torch.where(x > 0, x + 1, x.clamp_max(0).exp()).to(exact) for x in (given.q, given.k))
    total = F.pad(k, (0, 0, 0, -n % size)).unflatten(2, (-1, size)).sum(3).cumsum(2)
    before = F.pad(total, (0, 0, 1, 0))[:, :, here]  # (b h n d) z as the token's segment begins
    first = (here == 0)[:, None]
    query = (q / (q * before).sum(-1, keepdim=True).masked_fill(first, 1)).masked_fill(first, 0)
    past = here < here[:, None]
    read = (query @ k.mT) * past
    memory: Form = Dense(read)
    if mechanism.update == "delta":  # what earlier segments take off
        key = (k / (k * before).sum(-1, keepdim=True).masked_fill(first, 1)).masked_fill(first, 0)
        memory = Erasing(read, (key @ k.mT) * past)
    g = torch.tensor(0.5) if not given.learned else given.learned["beta"].sigmoid()[:, None, None]
    return Mixed(((g.to(read), memory), (1 - g.to(read), own)))


def log_linear(mechanism: LogLinear, given: Given) -> Form:
    """Products of features, each times what its power of two counts for the row."""
    q, k = given.q, given.k
    if mechanism.feature_map == "elu1":
        q, k = (torch.where(x > 0, x + 1, x.clamp_max(0).exp()) for x in (q, k))
    w = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * given.causal
    at = torch.arange(given.n, device=q.device)
    level = torch.frexp((at[:, None] ^ at).double()).exponent.long()  # digits that are not alike
    if not given.learned:
        return Dense(w * even(int(level.max()) + 1).to(w)[level])
    weights, b = (given.learned[x].to(given.x) for x in ("w_level", "b_level"))
    share = F.softplus(torch.einsum("bnD,hlD->bhnl", given.x, weights) + b[:, None])
    level = level.clamp_max(share.shape[-1] - 1)
    return Dense(w * share.gather(-1, level.expand(*w.shape)).to(w))
