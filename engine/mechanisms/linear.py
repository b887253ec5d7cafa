"""Attention by an inner product of features, in time linear in the text.

Linear attention (arXiv 2006.16236); Performer's positive random features (arXiv 2009.14794).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Id, Refusal, RowKind, Steps, as_slice, param
from engine.contract.views import Factors
from engine.kernels import dense
from engine.kernels.composed import Composed
from engine.kernels.normalisers import Normaliser
from engine.kernels.patterns import Everything
from engine.kernels.rows import BLOCK
from engine.kernels.scoring import Dot
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism
from engine.runtime.cached import cached_property
from engine.runtime.threads import in_order

FEATURE_MAPS = ("elu1", "relu", "exp")
CHUNK = 64
"""Rows that read each other directly; those before a chunk are read through their sum."""


@dataclass(frozen=True)
class Linear(Mechanism):
    """φ(q)·φ(k) over its row's sum. Sums over keys are carried along, so that nothing is n×n.

    φ is elu(x) + 1 or max(x, 0) of each coordinate, which know no scale, or "exp":
    exp(ω·x − |x|²/2) for random orthogonal ω, whose inner products are softmax's exponentials in
    expectation. A row whose features meet no key's is zero (relu).

    Honours causality, key masks and masks of pairs (these at the cost of all pairs). Sinks,
    softcap and biases belong to the exponential's score, and are refused.
    """

    key: ClassVar[str] = "linear"
    family: ClassVar[str] = "low_rank"
    paper: ClassVar[str] = "arXiv 2006.16236, 2009.14794"
    complexity: ClassVar[str] = "n·features"
    leaves_out: ClassVar[bool] = True

    feature_map: str = param("elu1", choices=FEATURE_MAPS)
    features: int = param(256, low=1, high=8192, slider=(16, 1024), log=True)
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        Dot().check(qkv)
        for name in ("sinks", "softcap", "bias"):
            if getattr(qkv, name) is not None:
                raise Refusal(
                    "linear attention can't use {name}: its weights are not exponentials of a "
                    "score",
                    name=Id(name, f"qkv.{name}"),
                )

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        return Kernel(qkv, self.features_of(qkv), self.width(qkv))

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        q, k = qkv.q.double(), dense.per_head(qkv.k, qkv)
        if self.feature_map == "exp":
            omega = directions(q.shape[-1], self.features, self.seed).to(q)
            # of vectors times √|scale|; exp(−|q|²/2) is one factor a row
            root = abs(qkv.factor) ** 0.5
            q, k = q * root * (1 if qkv.factor >= 0 else -1), k * root
            q = (q @ omega.T - q.square().sum(-1, keepdim=True) / 2).exp()
            k = (k @ omega.T - k.square().sum(-1, keepdim=True) / 2).exp()
        else:
            low = torch.zeros_like if self.feature_map == "relu" else torch.exp
            high = 0 if self.feature_map == "relu" else 1
            q, k = (torch.where(x > 0, x + high, low(x)) for x in (q, k))
        w = (q @ k.mT) * dense.allowed(qkv)
        total = w.sum(-1, keepdim=True)
        return w / total.masked_fill(total == 0, 1)

    def features_of(self, qkv: QKV) -> Features:
        """φ for this QKV's queries and keys."""
        if self.feature_map == "relu":
            return Relu()
        if self.feature_map == "elu1":
            return Elu1()
        return Exponentials.of(qkv, directions(qkv.q.shape[-1], self.features, self.seed))

    def width(self, qkv: QKV) -> int:
        """Number of features."""
        return self.features if self.feature_map == "exp" else qkv.k.shape[-1]

    def held(self, qkv: QKV) -> int:
        """Features, as the maps read them and by pieces."""
        return 3 * 4 * qkv.heads * (qkv.n + qkv.m) * self.width(qkv)

    @property
    def idle(self) -> tuple[str, ...]:
        return () if self.feature_map == "exp" else ("features", "seed")

    @property
    def formulas(self) -> tuple[str, ...]:
        return "", self.feature_map

    def flops(self, qkv: QKV) -> int:
        """Features (of keys twice if random: their largest first), each key's part of the sums,
        each row's reading of them; causally that is the recurrence, to which chunks add up to
        64 pairs a row."""
        f, d, e = self.width(qkv), qkv.k.shape[-1], qkv.v.shape[-1]
        rows, keys = qkv.heads * qkv.n, qkv.groups * qkv.m
        mapping = (rows + 2 * keys) * f * d if self.feature_map == "exp" else 0
        return 2 * (mapping + (rows + keys) * f * (e + 1))


@runtime_checkable
class Features(Protocol):
    """φ, never negative, for queries and for keys."""

    def queries(self, x: Float[Tensor, "h r d"]) -> Float[Tensor, "h r f"]:
        """φ(q), up to a factor a row."""
        ...

    def keys(self, x: Float[Tensor, "g c d"]) -> Float[Tensor, "g c f"]:
        """φ(k)."""
        ...


class Relu:
    """max(x, 0)."""

    def queries(self, x: Float[Tensor, "h r d"]) -> Float[Tensor, "h r d"]:
        return x.relu()

    keys = queries


class Elu1:
    """elu(x) + 1, not as a sum with 1, in which small e^x would be lost."""

    def queries(self, x: Float[Tensor, "h r d"]) -> Float[Tensor, "h r d"]:
        return x.clamp_max(0).exp_().add_(x.clamp_min(0))

    keys = queries


def directions(d: int, count: int, seed: int) -> Float[Tensor, "f d"]:
    """Gaussian directions, orthogonal within each d of them (Performer, section 3)."""
    draw = torch.Generator().manual_seed(seed)
    blocks = -(-count // d)
    q, r = torch.linalg.qr(torch.randn(blocks, d, d, generator=draw, dtype=torch.float64))
    turned = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]  # any rotation as likely as any other
    length = torch.randn(blocks, d, d, generator=draw, dtype=torch.float64).norm(dim=-1)
    return (turned * length[..., None]).flatten(0, 1)[:count]


@dataclass(frozen=True, eq=False)
class Exponentials:
    """exp(ω·x − |x|²/2) of keys and, up to a factor a row, of queries.

    What is largest of a feature over all keys is taken from keys and given to queries, and then
    what is largest of a query's features is taken from these: no share of a row moves, and neither
    side overflows.

    Attributes:
        omega: (f d), times the root of the scale's size. sign: of the scale.
        most: (g 1 f) the largest exponent of keys.
    """

    omega: Float[Tensor, "f d"]
    root: float
    sign: int
    most: Float[Tensor, "g 1 #f"]

    @classmethod
    def of(cls, qkv: QKV, omega: Float[Tensor, "f d"]) -> Exponentials:
        """With the largest exponents of this QKV's keys."""
        dtype = qkv.dtype if qkv.dtype == torch.float64 else torch.float32
        root, sign = abs(qkv.factor) ** 0.5, 1 if qkv.factor >= 0 else -1
        omega = omega.to(qkv.device, dtype) * root
        none = torch.zeros(1, 1, 1, dtype=dtype, device=qkv.device)
        bare = cls(omega, root, sign, none)
        pieces = qkv.k.split(height(qkv, len(omega)), 1)
        most = [bare._exponents(k.to(dtype)).amax(1, keepdim=True) for k in pieces]
        return cls(omega, root, sign, torch.stack(most).amax(0))

    def _exponents(self, k: Float[Tensor, "g c d"]) -> Float[Tensor, "g c f"]:
        half = k.square().sum(-1, keepdim=True).mul_(self.root**2 / 2)
        return (k @ self.omega.mT).sub_(half)

    def queries(self, x: Float[Tensor, "h r d"]) -> Float[Tensor, "h r f"]:
        z = (x @ self.omega.mT).mul_(self.sign)
        z.unflatten(0, (len(self.most), -1)).add_(self.most[:, None])
        return z.sub_(z.amax(-1, keepdim=True)).exp_()

    def keys(self, x: Float[Tensor, "g c d"]) -> Float[Tensor, "g c f"]:
        return self._exponents(x).sub_(self.most).exp_()


def height(qkv: QKV, width: int) -> int:
    """Positions whose features are held at once: whole chunks, about a processor's cache."""
    most = BLOCK // 8 if qkv.device.type == "cpu" else 4 * BLOCK
    return CHUNK * max(1, most // (qkv.heads * width * CHUNK))


class Share(Normaliser):
    """Scores, none negative, over their row's sum."""

    @property
    def kind(self) -> RowKind:
        return "stochastic"

    def weights(
        self, logits: Tensor, allowed: Tensor | None, sinks: Tensor | None, visible: Tensor
    ) -> Tensor:
        if allowed is not None:
            logits = logits.masked_fill(~allowed, 0)
        total = logits.sum(-1, keepdim=True)
        return logits / total.masked_fill(total == 0, 1)


class Kernel(Composed):
    """Attention by features, worked out a piece of the text at a time."""

    def __init__(self, qkv: QKV, features: Features, count: int) -> None:
        super().__init__(qkv, Everything(), normaliser=Share(), views=lambda own: (own._view(),))
        self.features, self.count = features, count

    def q(self, rows: slice) -> Float[Tensor, "h r f"]:
        """Features of queries."""
        return self.features.queries(self.qkv.q[:, rows].to(self.dtype))

    def k(self, cols: slice) -> Float[Tensor, "g c f"]:
        """Features of keys; a hidden key has none."""
        k, seen = self.features.keys(self.qkv.k[:, cols].to(self.dtype)), self.qkv.key_mask
        return k if seen is None else k.mul_(seen[cols, None].to(k))

    def v(self, cols: slice) -> Float[Tensor, "g c e1"]:
        """Values, and a column of ones that adds up a row's sum."""
        return F.pad(self.qkv.v[:, cols].to(self.dtype), (0, 1), value=1.0)

    @cached_property
    def mapped(self) -> tuple[Float[Tensor, "h n f"], Float[Tensor, "g m f"]]:
        """All features, for the maps."""
        return self.q(slice(None)), self.k(slice(None))

    def scores(self, heads: slice, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"]:
        q, k = self.mapped
        per = len(q) // len(k)
        start, stop, _ = heads.indices(len(q))
        q, k = q[heads, rows], k[start // per : (stop - 1) // per + 1, as_slice(cols)]
        q = q.unflatten(0, (len(k), -1))
        return (q.flatten(1, 2) @ k.mT).unflatten(1, q.shape[1:3]).flatten(0, 1)

    def weighted(self) -> Tensor:
        qkv, n = self.qkv, self.frame.n
        if qkv.mask is not None:
            return super().weighted()
        out = qkv.v.new_zeros(qkv.heads, n, qkv.v.shape[-1])
        step = height(qkv, self.count)

        def add(cols: slice) -> Float[Tensor, "g f e1"]:
            return self.k(cols).mT @ self.v(cols)

        def read(rows: slice, state: Float[Tensor, "g f e1"]) -> None:
            x = self.q(rows).unflatten(0, (qkv.groups, -1))
            out[:, rows] = shares((x.flatten(1, 2) @ state).unflatten(1, x.shape[1:3])).to(out)

        everyone = max(0, qkv.frame.offset) if qkv.causal else qkv.m  # keys that all rows see
        state = torch.zeros(
            qkv.groups, self.count, qkv.v.shape[-1] + 1, dtype=self.dtype, device=self.device
        )
        sums = (partial(add, cols) for cols in pieces(0, everyone, step))
        for _ in in_order(sums, self.device, state.add_):
            pass
        if not qkv.causal:
            reads = (partial(read, rows, state) for rows in pieces(0, n, step))
            for _ in in_order(reads, self.device):
                pass
            return out
        for rows in pieces(max(0, -qkv.frame.offset), n, step):
            cols = slice(rows.start + qkv.frame.offset, rows.stop + qkv.frame.offset)
            x = self.q(rows).unflatten(0, (qkv.groups, -1))
            part, state = chunked(x, self.k(cols), self.v(cols), state)
            out[:, rows] = shares(part).to(out)
        return out

    def steps(self, head: int, row: int) -> Steps:
        raise LookupError("a row's weights are not exponentials of its scores")

    def _view(self) -> Factors:
        return Factors(self.count, self._factors)

    def _factors(self, head: int) -> dict[str, Tensor]:
        q, k = self.mapped
        q, k = q[head], k[head // (len(q) // len(k))]
        sums = F.pad(k.cumsum(0), (0, 0, 1, 0))
        last = torch.arange(len(q), device=self.device) + self.frame.offset + 1
        total = (q * sums[last.clamp(0, len(k)) if self.frame.causal else [-1]]).sum(-1, True)
        return {"queries": q / total.masked_fill(total == 0, 1), "keys": k.mT}


def pieces(start: int, stop: int, step: int) -> Iterator[slice]:
    """Consecutive slices of at most `step`."""
    for a in range(start, stop, step):
        yield slice(a, min(a + step, stop))


def shares(part: Float[Tensor, "g r l e1"]) -> Float[Tensor, "h l e"]:
    """Sums of weighed values over the sums of weights beside them; 0 where these are 0."""
    values, total = part.flatten(0, 1).split([part.shape[-1] - 1, 1], -1)
    return values / total.masked_fill(total == 0, 1)


def chunked(
    q: Float[Tensor, "g r l f"],
    k: Float[Tensor, "g l f"],
    v: Float[Tensor, "g l e"],
    state: Float[Tensor, "g f e"],
) -> tuple[Float[Tensor, "g r l e"], Float[Tensor, "g f e"]]:
    """q_i·state + Σ over j ≤ i of (q_i·k_j) v_j, and the state after: + Σ k vᵀ."""
    length = q.shape[2]
    pad = (0, 0, 0, -length % CHUNK)
    q = F.pad(q, pad).unflatten(2, (-1, CHUNK))
    k, v = (F.pad(x, pad).unflatten(1, (-1, CHUNK)) for x in (k, v))
    before = torch.cat([state[:, None], k.mT @ v], 1).cumsum(1)
    inside = (q @ k.mT[:, None]).tril_()
    found = q @ before[:, None, :-1] + inside @ v[:, None]
    return found.flatten(2, 3)[:, :, :length], before[:, -1]
