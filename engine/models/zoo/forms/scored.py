"""Softmaxes that differ in their scores, or in what is kept of their rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from engine.kernels import positions
from engine.mechanisms.differential import Differential, neighbours
from engine.mechanisms.forgetting import Forgetting
from engine.mechanisms.gated import Gated
from engine.mechanisms.relative import Relative
from engine.mechanisms.softmax import Softmax
from engine.mechanisms.ssmax import SSMax
from engine.models.zoo.forms.base import Form, Given, Mixed, Softmaxed, by_reference, gate


def softmax(mechanism: Softmax, given: Given) -> Form:
    return Softmaxed(given.q, given.k, given.scale / mechanism.temperature)


def relative(mechanism: Relative, given: Given) -> Form:
    """ALiBi and T5, whose positions are a bias; the others through their reference."""
    at = torch.arange(given.n, device=given.q.device)
    far = at[:, None] - at
    if mechanism.kind == "alibi":
        bias = -positions.slopes(given.q.shape[1]).to(given.q)[:, None, None] * far.abs()
    elif mechanism.kind == "t5":
        name = positions.buckets(far.clamp_min(0), True, mechanism.max_distance)
        bias = given.learned["t5"].to(given.q)[:, name, 0]
    else:
        return by_reference(mechanism, given)
    return Softmaxed(given.q, given.k, given.scale, bias.masked_fill(~given.causal, -torch.inf))


def forgetting(mechanism: Forgetting, given: Given) -> Form:
    """A bias of the logarithms of what each token leaves."""
    total = F.logsigmoid(gate(given, "forget")).cumsum(-1)
    since = total[..., None] - total[..., None, :]
    return Softmaxed(given.q, given.k, given.scale, since.masked_fill(~given.causal, -torch.inf))


def ssmax(mechanism: SSMax, given: Given) -> Form:
    if mechanism.form != "log" or mechanism.b:
        return by_reference(mechanism, given)
    s = given.learned["s"].to(given.q)[:, None, None].clamp_min(0)  # (h 1 1), as the mechanism's
    return Softmaxed(given.q * (s * given.counts.log()), given.k, given.scale)


def differential(mechanism: Differential, given: Given) -> Form:
    if mechanism.second:
        other = given.q[:, neighbours(given.q.shape[1])]
        both = (Softmaxed(q, given.k, given.scale) for q in (given.q, other))
        share = torch.sigmoid(gate(given, "lambda"))[..., None].to(given.q)
        return Mixed(tuple(zip((torch.ones_like(share), -share), both, strict=True)))
    half, scale = given.q.shape[-1] // 2, given.scale * 2**0.5
    first, second = (
        Softmaxed(given.q[..., at], given.k[..., at], scale)
        for at in (slice(0, half), slice(half, None))
    )
    share = given.learned["lambda"].to(given.q)[:, None, None]
    return Mixed(((torch.ones_like(share), first), (-share, second)))


def gated(mechanism: Gated, given: Given) -> Form:
    """A row's gate on what its softmax gives."""
    whole = Softmaxed(given.q, given.k, given.scale)
    if not given.learned:
        return whole
    return Mixed(((torch.sigmoid(gate(given, "gate"))[..., None].to(given.q), whole),))
