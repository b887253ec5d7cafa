"""Softmaxes over some of the keys: near ones, or those that a choice finds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F

from engine.contract import QKV, Learned
from engine.kernels.selection import largest
from engine.mechanisms.lsh import Lsh
from engine.mechanisms.moba import MoBA
from engine.mechanisms.nsa import NSA
from engine.mechanisms.routing import Routed
from engine.mechanisms.transformer_xl import TransformerXL
from engine.mechanisms.window import Window
from engine.models.zoo.forms.base import Form, Given, Mixed, Pooled, Softmaxed, shares


def reaching(mechanism: Window | TransformerXL, given: Given) -> Form:
    """Softmax over a pattern that all heads of all texts share."""
    one = QKV(*(x[0].detach() for x in (given.q, given.k, given.k)), causal=True)
    return Softmaxed(given.q, given.k, given.scale, mechanism.reach(one) & given.causal)


def moba(mechanism: MoBA, given: Given) -> Form:
    seen = mechanism.reach(given.folded()).unflatten(0, given.q.shape[:2]) & given.causal
    return Softmaxed(given.q, given.k, given.scale, seen)


def lsh(mechanism: Lsh, given: Given) -> Form:
    """With shared queries and keys, as the paper trains it, or with both."""
    k = F.normalize(given.q, dim=-1) if mechanism.shared_qk else given.k
    qkv, centre = given.folded(), given.learned.get("centre")
    if centre is not None:
        whole = {"centre": centre.repeat(len(given.q), 1)}
        mechanism = replace(mechanism, learned=Learned(whole))
    seen = mechanism.reach(qkv).unflatten(0, given.q.shape[:2]) & given.causal
    return Softmaxed(given.q, k, given.scale, seen)


def routing(mechanism: Routed, given: Given) -> Form:
    at = torch.arange(given.n, device=given.q.device)
    far, width = at[:, None] - at, mechanism.width
    masks = [None, given.causal & (far < width), given.causal & (far % width == 0)]
    if mechanism.paths == 4:
        scores = given.logits.detach().masked_fill(~given.causal, -torch.inf)
        masks.append(largest(scores, width))
    w_r, b_r = (given.learned[name].to(given.x) for name in ("w_r", "b_r"))
    logits = torch.einsum("bnD,hDp->bhnp", given.x, w_r) + b_r[:, None]
    kept = largest(logits.detach(), mechanism.top_k)
    shares = logits.masked_fill(~kept, -torch.inf).softmax(-1).split(1, -1)
    ways = [partial(Softmaxed, given.q, given.k, given.scale)(mask) for mask in masks]
    return Mixed(tuple(zip(shares, ways[: mechanism.paths], strict=True)))


def nsa(mechanism: NSA, given: Given) -> Form:
    """Means of complete blocks, blocks that are chosen, and a window, each under its gate."""
    size, at = mechanism.block, torch.arange(given.n, device=given.q.device)
    name = torch.arange(-(-given.n // size), device=at.device)
    holds = at // size == name[:, None]  # (s n)
    mean = (holds / holds.sum(-1, keepdim=True)).to(given.q)
    last = ((name + 1) * size).clamp_max(given.n) - 1
    z = given.q @ (mean @ given.k).mT * given.scale
    ways = (
        Pooled(shares(z.masked_fill(last > at[:, None], -torch.inf)), mean),
        moba(MoBA(size, mechanism.top_k), given),
        reaching(Window(mechanism.window, 0), given),
    )
    if not given.learned:
        return Mixed(tuple((given.q.new_full((1,), 1 / 3), way) for way in ways))
    w, b = (given.learned[name].to(given.x) for name in ("w_gate", "b_gate"))
    gates = torch.sigmoid(torch.einsum("bnD,hpD->bhnp", given.x, w) + b[:, None])
    return Mixed(tuple(zip(gates.to(given.q).split(1, -1), ways, strict=True)))
