"""Texts in pieces, and attention to the pieces."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from engine.contract import QKV
from engine.kernels.selection import largest
from engine.mechanisms.hierarchical import Hierarchical
from engine.mechanisms.landmark import Landmark
from engine.mechanisms.segmented import Segmented
from engine.models.zoo.forms.base import Dense, Form, Given, Softmaxed, by_reference, shares


def hierarchical(mechanism: Hierarchical, given: Given) -> Form:
    """Over groups of 8, 64 and 512 tokens, as there are no units of a text."""
    if mechanism.aggregate != "mean" or mechanism.open:
        return by_reference(mechanism, given)
    sizes = (8, 64, 512)[: mechanism.levels]
    short = -given.n % sizes[-1]
    z = F.pad(given.logits, (0, short))
    count = F.pad(given.causal, (0, short)).to(z)  # how many keys a row sees in each unit
    total, score = z * count, z.masked_fill(count == 0, -torch.inf)
    levels, size = [], 1
    for wide in sizes:
        inside = score.unflatten(-1, (-1, wide // size))
        levels.append(shares(inside).flatten(-2))
        total, count = (x.unflatten(-1, (-1, wide // size)).sum(-1) for x in (total, count))
        some = count.clamp_min(1)
        score = (total / some + some.log()).masked_fill(count == 0, -torch.inf)
        size = wide
    mass = shares(score)
    for share in reversed(levels):
        mass = mass.repeat_interleave(share.shape[-1] // mass.shape[-1], -1) * share
    return Dense(mass[..., : given.n])


def segmented(mechanism: Segmented, given: Given) -> Form:
    """Own segment, and summaries of those that ended before it."""
    one = QKV(*(x[0].detach() for x in (given.q, given.k, given.k)), causal=True)
    own = mechanism.reach(one) & given.causal
    if mechanism.integrate == "none":
        return Softmaxed(given.q, given.k, given.scale, own)
    at = torch.arange(given.n, device=own.device)
    name = torch.arange(-(-given.n // mechanism.segment), device=own.device)
    holds = at // mechanism.segment == name[:, None]  # (S n)
    even = (holds / holds.sum(-1, keepdim=True)).to(given.q)
    asked = (even @ given.q @ given.k.mT * given.scale).masked_fill(~holds, -torch.inf).softmax(-1)
    kinds = {"pool": [even.expand_as(asked)], "attention": [asked]}.get(
        mechanism.integrate, [even.expand_as(asked), asked]
    )
    pool = torch.cat(kinds, 2)  # (b h kS n)
    read = (name < (at // mechanism.segment)[:, None]).repeat(1, len(kinds))  # (n kS)
    keys = torch.cat([given.k, pool @ given.k], 2)
    seen = torch.cat([own, read], 1)
    if not mechanism.corrected:
        return Softmaxed(given.q, keys, given.scale, seen, pool)
    size = (holds.sum(-1).to(given.q) / len(kinds)).log().repeat(len(kinds))
    more = torch.cat([size.new_zeros(given.n), size]).expand(seen.shape)
    return Softmaxed(given.q, keys, given.scale, more.masked_fill(~seen, -torch.inf), pool)


def landmark(mechanism: Landmark, given: Given) -> Form:
    """Own block's keys and other blocks' landmarks, shared out inside them."""
    size, n = mechanism.block, given.n
    exact = torch.promote_types(given.q.dtype, torch.float32)  # sums of exponentials are compared
    z = given.logits.to(exact).masked_fill(~given.causal, -torch.inf)
    z = F.pad(z, (0, -n % size), value=-torch.inf).unflatten(-1, (-1, size))  # (b h n s l)
    own = torch.arange(n, device=z.device)[:, None] // size
    name = torch.arange(z.shape[-2], device=z.device)
    sums = z.masked_fill((name > own)[..., None], 0).logsumexp(-1)
    marks = sums
    if mechanism.aggregate == "mean":
        keys = F.pad(given.k, (0, 0, 0, -n % size)).unflatten(2, (-1, size)).mean(3)
        marks = (given.q @ keys.mT * given.scale).to(exact)
        marks = marks + given.learned["bias"].to(exact)[:, None, None]
    marks = marks.masked_fill(name >= own, -torch.inf)
    if mechanism.top_k:
        marks = marks.masked_fill(~largest(marks.detach(), mechanism.top_k), -torch.inf)
    top = torch.where(name == own, sums, marks).softmax(-1)
    return Dense((top[..., None] * shares(z)).flatten(-2)[..., :n])
