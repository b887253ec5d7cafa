"""What forms are made of: what a layer attends, and weights in the shapes that most have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from engine.contract import QKV, Layer, Learned, Refusal
from engine.mechanisms.base import Mechanism


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


@dataclass(frozen=True, eq=False)
class Erasing(Form):
    """read · (1 + erased)⁻¹: what is read of a memory in which tokens write over each other.

    Attributes:
        read: what each row reads of each token, before any was written over.
        erased: strictly lower triangular, how much of each earlier token a token takes off.
        write: (b h n 1) how much each token writes; 1 if None.
    """

    read: Float[Tensor, "b h n n"]
    erased: Float[Tensor, "b h n n"]
    write: Float[Tensor, "b h n 1"] | None = None

    def weights(self) -> Float[Tensor, "b h n n"]:
        exact = _solvable(self.erased)
        w = torch.linalg.solve_triangular(
            exact, self.read.to(exact), upper=False, left=False, unitriangular=True
        )
        return w if self.write is None else w * self.write.mT

    def output(self, v: Float[Tensor, "b h n e"]) -> Float[Tensor, "b h n e"]:
        """By n·e unknowns, where the weights have n·n."""
        exact = _solvable(self.erased)
        written = v.to(exact) if self.write is None else v.to(exact) * self.write
        kept = torch.linalg.solve_triangular(exact, written, upper=False, unitriangular=True)
        return (self.read.to(exact) @ kept).to(v)


def _solvable(x: Tensor) -> Tensor:
    """In a precision in which triangular systems can be solved: a half one can't."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@dataclass(frozen=True, eq=False)
class Pooled(Form):
    """Weights on summaries, each of which stands for a mean of tokens.

    Attributes:
        pool: what each summary is made of.
    """

    held: Float[Tensor, "b h n s"]
    pool: Float[Tensor, "s n"]

    def weights(self) -> Float[Tensor, "b h n n"]:
        return self.held @ self.pool.to(self.held)

    def output(self, v: Float[Tensor, "b h n e"]) -> Float[Tensor, "b h n e"]:
        return self.held.to(v) @ (self.pool.to(v) @ v)


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


def gate(given: Given, name: str) -> Float[Tensor, "b h n"]:
    """w·x + b of each token and head."""
    w, b = (given.learned[f"{part}_{name}"].to(given.x) for part in "wb")
    found = torch.einsum("bnD,hD->bhn", given.x, w) + b[:, None]
    return found.to(torch.promote_types(found.dtype, torch.float32))  # they are added up


def shares(z: Tensor) -> Tensor:
    """Softmax along the last dimension; nothing where nothing is seen."""
    blind = (z == -torch.inf).all(-1, keepdim=True)
    return z.masked_fill(blind, 0).softmax(-1).masked_fill(blind, 0)
