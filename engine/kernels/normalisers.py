"""How scores become weights: the third of a mechanism's three choices.

A sink logit is one more entry of the row's logits whose weight is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import Refusal, RowKind
from engine.kernels import selection

Sinks = Float[Tensor, " h"] | Float[Tensor, "h r"]


@runtime_checkable
class Normaliser(Protocol):
    """Logits of a whole row to its weights.

    Attributes:
        double: weights are so steep in the logits that these must be float64.
        pairwise: a pair's weight depends on no other pair's logit.
    """

    pairwise: ClassVar[bool] = False

    @property
    def double(self) -> bool:
        return False

    @property
    def kind(self) -> RowKind:
        """What its rows are."""
        ...

    def weights(
        self,
        logits: Float[Tensor, "h r c"],
        allowed: Bool[Tensor, "#h r c"] | Bool[Tensor, "r c"] | None,
        sinks: Sinks | None,
        visible: Int[Tensor, " r"],
    ) -> Float[Tensor, "h r c"]:
        """Weights of rows whose logits are all here; 0 where not allowed.

        `visible` counts the keys that causality and masks let each row see, whatever the pattern.
        """
        ...


@dataclass(frozen=True)
class Softmax(Normaliser):
    """exp(z/T) over its row's sum, sink logits in the sum. Streams: any part of a row is
    exp(z/T − lse) once the row's log-sum-exp is known.

    Attributes:
        zero: one more logit of 0 in the sum, after the temperature (softmax1).
    """

    temperature: float = 1.0
    zero: bool = False

    @property
    def kind(self) -> RowKind:
        return "substochastic" if self.zero else "stochastic"

    def weights(
        self, logits: Tensor, allowed: Tensor | None, sinks: Tensor | None, visible: Tensor
    ) -> Tensor:
        logits = logits if self.temperature == 1 else logits / self.temperature
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -torch.inf)
        if sinks is None and not self.zero:  # several times as fast where much is masked
            return logits.softmax(-1).nan_to_num_(0)
        lse = self.with_sinks(logits.logsumexp(-1), sinks)[..., None]
        return (logits - lse.masked_fill(lse == -torch.inf, 0)).exp()

    def with_sinks(self, lse: Float[Tensor, "h r"], sinks: Sinks | None) -> Float[Tensor, "h r"]:
        """The log-sum-exp of rows' keys, with the sinks that join it."""
        if sinks is not None:
            lse = torch.logaddexp(lse, sinks.to(lse).view(len(lse), -1) / self.temperature)
        return torch.logaddexp(lse, torch.zeros_like(lse)) if self.zero else lse


@dataclass(frozen=True)
class Entmax(Normaliser):
    """α-entmax, the maximiser of p·z + Tsallis entropy (arXiv 1602.02068, 1905.05702)."""

    alpha: float = 1.5

    @property
    def kind(self) -> RowKind:
        return "stochastic"

    @property
    def double(self) -> bool:
        """Above 2 a weight rises vertically where it leaves 0."""
        return self.alpha > 2

    def weights(
        self, logits: Tensor, allowed: Tensor | None, sinks: Tensor | None, visible: Tensor
    ) -> Tensor:
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -torch.inf)
        if sinks is None:
            return entmax(logits, self.alpha)
        extra = sinks.to(logits).view(len(logits), -1, 1).expand(-1, logits.shape[1], -1)
        return entmax(torch.cat([logits, extra], -1), self.alpha)[..., :-1]


@dataclass(frozen=True)
class Sigmoid(Normaliser):
    """σ(z − ln n), n = the keys a row may see: no sum, no competition (arXiv 2409.04431)."""

    pairwise: ClassVar[bool] = True

    @property
    def kind(self) -> RowKind:
        return "positive"

    def weights(
        self, logits: Tensor, allowed: Tensor | None, sinks: Tensor | None, visible: Tensor
    ) -> Tensor:
        if sinks is not None:
            raise Refusal("a sigmoid can't use sinks: it has no denominator for them to join")
        weights = (logits - visible.to(logits).clamp_min(1).log()[:, None]).sigmoid_()
        return weights if allowed is None else weights.masked_fill_(~allowed, 0)


@dataclass(frozen=True)
class StickBreaking(Normaliser):
    """σ(z) of what the row's nearer keys have left, Π (1 − σ) of these (arXiv 2410.17980): columns
    rise, and the last that is allowed is the nearest.

    By logarithms, −ln(1 − σ(z)) = softplus(z) and ln σ(z) = z − softplus(z), so that no logit is
    too large.
    """

    @property
    def kind(self) -> RowKind:
        return "substochastic"

    def weights(
        self, logits: Tensor, allowed: Tensor | None, sinks: Tensor | None, visible: Tensor
    ) -> Tensor:
        gone = torch.zeros_like(logits[..., :1])
        back = None if allowed is None else allowed.flip(-1)
        return self.taken(logits.flip(-1), back, gone)[0].flip(-1)

    def taken(
        self,
        logits: Float[Tensor, "h r c"],
        allowed: Bool[Tensor, "#h r c"] | Bool[Tensor, "r c"] | None,
        gone: Float[Tensor, "h r 1"],
    ) -> tuple[Float[Tensor, "h r c"], Float[Tensor, "h r 1"]]:
        """Weights of the next keys, nearest first, and −ln of what is left after them.

        Args:
            gone: −ln of what is left before them.
        """
        most = -torch.log(torch.tensor(torch.finfo(logits.dtype).eps)).item() + 2
        share = F.softplus(logits, threshold=most)
        logits = logits - share
        if allowed is not None:
            share.masked_fill_(~allowed, 0)
            logits.masked_fill_(~allowed, -torch.inf)
        share[..., :1] += gone
        total = share.cumsum(-1)
        logits[..., :1] -= gone
        logits[..., 1:] -= total[..., :-1]
        return logits.exp_(), total[..., -1:]


@dataclass(frozen=True)
class TopK(Normaliser):
    """Softmax over the `keys` largest logits, exact ties to the first (arXiv 2106.06899)."""

    keys: int = 32

    @property
    def kind(self) -> RowKind:
        return "stochastic"

    def weights(
        self, logits: Tensor, allowed: Tensor | None, sinks: Tensor | None, visible: Tensor
    ) -> Tensor:
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -torch.inf)
        logits = logits.masked_fill(~selection.largest(logits, self.keys), -torch.inf)
        return Softmax().weights(logits, None, sinks, visible)


NEAR = 2**18
"""Logits worked on at once: they stay in a processor's cache."""


def entmax(z: Float[Tensor, "*b c"], alpha: float) -> Float[Tensor, "*b c"]:
    """α-entmax along the last dimension; −inf has weight 0, and rows of nothing else are 0.

    Weights are (1 + a (z − μ))₊^(1/a) with a = α − 1, which is exp(z − μ) in the limit. The one
    unknown μ is at least the largest logit, so that a key 1/a below that has no weight: where
    rows have few others, these alone are worked on.
    """
    a = alpha - 1.0
    if a == 0:
        return z.softmax(-1).nan_to_num_(0)
    out = z.clone(memory_format=torch.contiguous_format)
    width = z.shape[-1]
    rows = max(1, (NEAR if z.device.type == "cpu" else 2**9 * NEAR) // width)
    for x in out.view(-1, width).split(rows):
        top = x.amax(-1, keepdim=True)
        x.sub_(top.masked_fill_(top == -torch.inf, 0))
        some = x > -1 / a
        count = some.count_nonzero(-1)
        most = int(count.max())
        if 2 * most > width:
            _normalise(x, a)
            continue
        near = some.flatten().nonzero()[:, 0]
        # from row × most, as far on as the key is among its row's
        shift = torch.arange(len(x), device=x.device) * most - (count.cumsum(0) - count)
        place = torch.arange(len(near), device=x.device) + shift[near // width]
        few = x.new_full((len(x), most), -torch.inf)
        few.view(-1)[place] = x.view(-1)[near]
        _normalise(few, a)
        x.zero_().view(-1)[near] = few.view(-1)[place]
    return out


def _normalise(x: Float[Tensor, "b c"], a: float) -> None:
    """Weights in place of logits whose largest is 0."""
    if not x.shape[-1]:
        return
    x.sub_(_threshold(x, a))
    total = _powers(x, a).sum(-1, keepdim=True)
    x.div_(total.masked_fill_(total == 0, 1))


def _powers(x: Tensor, a: float) -> Tensor:
    """(1 + a x)₊^(1/a), in place."""
    if a == 1:
        return x.add_(1).clamp_min_(0)
    if a == 0.5:
        return x.mul_(a).add_(1).clamp_min_(0).square_()
    on = x.mul_(a) > -1  # logarithms of 0 are many times slower than others
    return x.clamp_min_(torch.finfo(x.dtype).eps - 1).log1p_().div_(a).exp_().mul_(on)


def _threshold(x: Float[Tensor, "b c"], a: float) -> Float[Tensor, "b 1"]:
    """μ at which the weights sum to 1: from 0 to what equal logits would need."""
    mu = torch.zeros_like(x[:, :1])
    if a > 1:  # the sum is not convex in μ
        high = torch.full_like(mu, -torch.expm1(-a * x.new_tensor(x.shape[-1]).log()).item() / a)
        for _ in range(64):
            middle = (mu + high) / 2
            above = _powers(x - middle, a).sum(-1, keepdim=True) >= 1
            mu, high = torch.where(above, middle, mu), torch.where(above, high, middle)
        return mu
    # Newton on the norm (Σ u^(1/a))^a of u = 1 + a (x − μ): convex in μ, so that it rises to the
    # root from below, and nearly straight where a is small
    eps, tiny = 16 * torch.finfo(x.dtype).eps, torch.finfo(x.dtype).tiny
    for _ in range(64):
        off = x - mu
        if a == 1:
            u = off.add_(1).clamp_min_(0)
            norm, slope = u.sum(-1, keepdim=True), u.count_nonzero(-1)[:, None]
        elif a == 0.5:
            u = off.mul_(a).add_(1).clamp_min_(0)
            norm = torch.linalg.vector_norm(u, dim=-1, keepdim=True)
            slope = u.sum(-1, keepdim=True) / norm
        else:
            w = _powers(off.clone(), a)
            log = w.sum(-1, keepdim=True).log()
            norm = (a * log).exp()
            # where w is 0, u may be anything above
            w.div_(off.mul_(a).add_(1).clamp_min_(tiny))
            slope = w.sum(-1, keepdim=True) * ((a - 1) * log).exp()
        step = (norm - 1) / (a * slope)
        step = step.nan_to_num_(0).clamp_min_(0)  # rows of nothing stay
        mu += step
        if not bool((step > eps * (1 + mu)).any()):
            break
    return mu
