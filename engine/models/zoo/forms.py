"""Each mechanism as something that can be trained: dense, differentiable, a batch at a time.

A trained model has to be the mechanism and not something like it, so a form gives the very weights
that `engine.attend` gives of the same q and k, causal and square; tests hold each against it. What
chooses keys (hashes, blocks, slots) is asked of the mechanism itself and passes no gradient.
A mechanism without a form of its own is trained through its `reference`.

Shapes: b texts, h heads, n tokens, d and e widths.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from engine.contract import QKV, Layer, Learned, Refusal
from engine.kernels import normalisers, positions
from engine.kernels.selection import largest
from engine.mechanisms.base import Mechanism
from engine.mechanisms.delta import Delta
from engine.mechanisms.differential import Differential
from engine.mechanisms.entmax import Entmax
from engine.mechanisms.forgetting import Forgetting
from engine.mechanisms.hierarchical import Hierarchical
from engine.mechanisms.linear import Linear
from engine.mechanisms.lsh import Lsh
from engine.mechanisms.memory_tokens import MemoryTokens, merge
from engine.mechanisms.moba import MoBA
from engine.mechanisms.relative import Relative
from engine.mechanisms.routing import Routed
from engine.mechanisms.segmented import Segmented
from engine.mechanisms.sigmoid import Sigmoid
from engine.mechanisms.softmax import Softmax
from engine.mechanisms.softmax1 import Softmax1
from engine.mechanisms.ssmax import SSMax
from engine.mechanisms.stick_breaking import StickBreaking
from engine.mechanisms.transformer_xl import TransformerXL
from engine.mechanisms.window import Window


@dataclass(frozen=True, eq=False)
class Given:
    """What a layer of a model attends: q (b h n d), k (b h n d), x (b n D), and its learned parts,
    each as the mechanism takes it."""

    q: Float[Tensor, "b h n d"]
    k: Float[Tensor, "b h n d"]
    x: Float[Tensor, "b n D"]
    learned: Mapping[str, Tensor]

    @property
    def n(self) -> int:
        return self.q.shape[2]

    @property
    def scale(self) -> float:
        return self.q.shape[-1] ** -0.5

    @property
    def causal(self) -> Bool[Tensor, "n n"]:
        """Pairs that causality leaves."""
        return torch.ones(self.n, self.n, dtype=torch.bool, device=self.q.device).tril()

    @property
    def counts(self) -> Float[Tensor, "n 1"]:
        """How many keys each row sees."""
        return torch.arange(1, self.n + 1, device=self.q.device, dtype=self.q.dtype)[:, None]

    @property
    def logits(self) -> Float[Tensor, "b h n n"]:
        """q·k·scale of all pairs."""
        return self.q @ self.k.mT * self.scale

    def folded(self) -> QKV:
        """The batch's heads as those of one text, without gradients, for what chooses keys."""
        q, k = (x.detach().flatten(0, 1) for x in (self.q, self.k))
        return QKV(q, k, k, causal=True)


class Form(ABC):
    """Attention that gradients pass through."""

    @abstractmethod
    def weights(self) -> Float[Tensor, "b h n n"]:
        """Every pair's weight."""

    @abstractmethod
    def output(self, v: Float[Tensor, "b h n e"]) -> Float[Tensor, "b h n e"]:
        """Weighted values."""


@dataclass(frozen=True, eq=False)
class Softmaxed(Form):
    """softmax(q·k·scale + mask), by torch's own attention.

    Attributes:
        k: keys, and after the text's own those of summaries, (b h n+s d).
        mask: True where a key may be seen, or what is added; causal if None.
        pool: (b h s n) or (s n) what each summary is made of.
    """

    q: Float[Tensor, "b h n d"]
    k: Float[Tensor, "b h m d"]
    scale: float
    mask: Tensor | None = None
    pool: Tensor | None = None

    def weights(self) -> Float[Tensor, "b h n n"]:
        z, n = self.q @ self.k.mT * self.scale, self.q.shape[2]
        causal = torch.ones_like(z[0, 0], dtype=torch.bool).tril()
        mask = causal if self.mask is None else self.mask
        z = z.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else z + mask
        w = z.softmax(-1)
        return w if self.pool is None else w[..., :n] + w[..., n:] @ self.pool.to(w)

    def output(self, v: Float[Tensor, "b h n e"]) -> Float[Tensor, "b h n e"]:
        if self.pool is not None:
            v = torch.cat([v, self.pool.to(v) @ v], 2)
        mask = self.mask if self.mask is None or self.mask.dtype == torch.bool else self.mask.to(v)
        return F.scaled_dot_product_attention(
            self.q, self.k, v, attn_mask=mask, is_causal=mask is None, scale=self.scale
        )


@dataclass(frozen=True, eq=False)
class Mixed(Form):
    """Σ share · part; a share is (b h n 1) or broadcasts to it."""

    parts: tuple[tuple[Tensor, Form], ...]

    def weights(self) -> Float[Tensor, "b h n n"]:
        return torch.stack([share * part.weights() for share, part in self.parts]).sum(0)

    def output(self, v: Float[Tensor, "b h n e"]) -> Float[Tensor, "b h n e"]:
        return torch.stack([share * part.output(v) for share, part in self.parts]).sum(0)


@dataclass(frozen=True, eq=False)
class Dense(Form):
    """Weights held in the open."""

    held: Float[Tensor, "b h n n"]

    def weights(self) -> Float[Tensor, "b h n n"]:
        return self.held

    def output(self, v: Float[Tensor, "b h n e"]) -> Float[Tensor, "b h n e"]:
        return self.held.to(v) @ v


def form(mechanism: Mechanism, given: Given) -> Form:
    """A mechanism over what a layer attends, for training."""
    make = FORMS.get(type(mechanism))
    return by_reference(mechanism, given) if make is None else make(mechanism, given)


def by_reference(mechanism: Mechanism, given: Given) -> Form:
    """The weights by the mechanism's own dense formula, text by text in float64. Raises ValueError
    where that would be fitted to each text, since no way to begin is declared (`initial`)."""
    known = replace(mechanism, learned=Learned(given.learned) if given.learned else None)
    found = []
    for q, k, x in zip(given.q, given.k, given.x, strict=True):
        qkv = QKV(q, k, k, causal=True, layer=Layer(x=x))
        known.check(qkv)
        if not given.learned and known.learns(qkv):
            raise Refusal("{key} doesn't say with what its learned parts begin", key=known.key)
        found.append(known.reference(qkv))
    return Dense(torch.stack(found).to(given.q))


def softmax(mechanism: Softmax, given: Given) -> Form:
    return Softmaxed(given.q, given.k, given.scale / mechanism.temperature)


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


def gate(given: Given, name: str) -> Float[Tensor, "b h n"]:
    """w·x + b of each token and head."""
    w, b = (given.learned[f"{part}_{name}"].to(given.x) for part in "wb")
    found = torch.einsum("bnD,hD->bhn", given.x, w) + b[:, None]
    return found.to(torch.promote_types(found.dtype, torch.float32))  # they are added up


def ssmax(mechanism: SSMax, given: Given) -> Form:
    if mechanism.form != "log" or mechanism.b:
        return by_reference(mechanism, given)
    s = given.learned["s"].to(given.q)[:, None, None].clamp_min(0)  # (h 1 1), as the mechanism's
    return Softmaxed(given.q * (s * given.counts.log()), given.k, given.scale)


def softmax1(mechanism: Softmax1, given: Given) -> Form:
    """One more key of zeros, with a value of zeros."""
    k = F.pad(given.k, (0, 0, 0, 1))
    return Softmaxed(
        given.q, k, given.scale, F.pad(given.causal, (0, 1), value=True),
        torch.zeros(1, given.n, device=k.device),
    )  # fmt: skip


def sigmoid(mechanism: Sigmoid, given: Given) -> Form:
    return Dense(torch.sigmoid(given.logits - given.counts.log()) * given.causal)


def stick_breaking(mechanism: StickBreaking, given: Given) -> Form:
    """By logarithms: ln σ(z) of a key, and ln (1 − σ(z)) of those between it and the row."""
    z = given.logits.to(torch.promote_types(given.q.dtype, torch.float32))
    seen = given.causal.tril(0 if mechanism.current else -1)
    left = F.logsigmoid(-z).masked_fill(~seen, 0).flip(-1).cumsum(-1).flip(-1)
    return Dense((F.logsigmoid(z) + F.pad(left[..., 1:], (0, 1))).exp() * seen)


def entmax(mechanism: Entmax, given: Given) -> Form:
    z = given.logits.masked_fill(~given.causal, -torch.inf)
    return Dense(_Entmax.apply(z, mechanism.alpha))  # pyright: ignore[reportArgumentType]


class _Entmax(torch.autograd.Function):
    """α-entmax with its exact gradient: with s = w^(2 − α), dz = s (g − Σ s g / Σ s).

    Source: Peters et al. 2019, arXiv 1905.05702, proposition 2.
    """

    @staticmethod
    def forward(ctx, z: Tensor, alpha: float) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        w = normalisers.entmax(z, alpha)
        ctx.save_for_backward(w)
        ctx.alpha = alpha
        return w

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (w,) = ctx.saved_tensors
        s = w.sqrt() if ctx.alpha == 1.5 else torch.where(w > 0, w, 1) ** (2 - ctx.alpha) * (w > 0)
        g = g * s
        return g - s * (g.sum(-1, keepdim=True) / s.sum(-1, keepdim=True).clamp_min(1e-30)), None


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
    exact = torch.promote_types(erased.dtype, torch.float32)  # which a half precision can't solve
    read = torch.linalg.solve_triangular(
        erased.to(exact), ((q @ k.mT) * since).to(exact), upper=False, left=False,
        unitriangular=True,
    )  # fmt: skip
    return Dense(read * beta[..., None, :])


def differential(mechanism: Differential, given: Given) -> Form:
    half, scale = given.q.shape[-1] // 2, given.scale * 2**0.5
    first, second = (
        Softmaxed(given.q[..., at], given.k[..., at], scale)
        for at in (slice(0, half), slice(half, None))
    )
    share = given.learned["lambda"].to(given.q)[:, None, None]
    return Mixed(((torch.ones_like(share), first), (-share, second)))


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


def hierarchical(mechanism: Hierarchical, given: Given) -> Form:
    """Over groups of 8, 64 and 512 tokens, as there are no units of a text."""
    if mechanism.aggregate != "mean" or mechanism.open:
        return by_reference(mechanism, given)
    sizes = (8, 64, 512)[: mechanism.levels]
    short = -given.n % sizes[-1]
    z = F.pad(given.logits, (0, short))
    count = F.pad(given.causal, (0, short)).to(z)  # how many keys a row sees in each unit
    total, score = z * count, z.masked_fill(count == 0, -torch.inf)
    shares, size = [], 1
    for wide in sizes:
        inside = score.unflatten(-1, (-1, wide // size))
        shares.append(_shares(inside).flatten(-2))
        total, count = (x.unflatten(-1, (-1, wide // size)).sum(-1) for x in (total, count))
        some = count.clamp_min(1)
        score = (total / some + some.log()).masked_fill(count == 0, -torch.inf)
        size = wide
    mass = _shares(score)
    for share in reversed(shares):
        mass = mass.repeat_interleave(share.shape[-1] // mass.shape[-1], -1) * share
    return Dense(mass[..., : given.n])


def _shares(z: Tensor) -> Tensor:
    """Softmax along the last dimension; nothing where nothing is seen."""
    blind = (z == -torch.inf).all(-1, keepdim=True)
    return z.masked_fill(blind, 0).softmax(-1).masked_fill(blind, 0)


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


FORMS: dict[type[Mechanism], Callable[..., Form]] = {
    Softmax: softmax,
    Window: reaching,
    TransformerXL: reaching,
    MoBA: moba,
    Lsh: lsh,
    Relative: relative,
    Forgetting: forgetting,
    SSMax: ssmax,
    Softmax1: softmax1,
    Sigmoid: sigmoid,
    StickBreaking: stick_breaking,
    Entmax: entmax,
    Linear: linear,
    Differential: differential,
    Delta: delta,
    Routed: routing,
    Hierarchical: hierarchical,
    Segmented: segmented,
    MemoryTokens: memory_tokens,
}
