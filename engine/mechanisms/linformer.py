"""Keys and values projected along the text before attention (Linformer, arXiv 2006.04768)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Block, Index, Refusal, index, param
from engine.contract.learned import Fidelity, Learned
from engine.contract.views import Factors
from engine.kernels import dense
from engine.kernels.composed import Composed
from engine.kernels.projection import Dense, Pooling
from engine.kernels.rows import BLOCK
from engine.kernels.scoring import Dot
from engine.measure.attention import Attention
from engine.measure.comparison import evenly
from engine.mechanisms.base import Mechanism, by_pair, numbers
from engine.mechanisms.softmax import Softmax
from engine.runtime.cached import cached_property

PROJECTIONS = ("mean", "fitted", "svd", "random")
FIT = 256
"""Rows of full attention that projections are fitted to, at least; 4 times the rank if more."""
ROWS = 128
"""Rows of full attention that fidelity is measured on."""
EXACT = 1e-8
"""Singular values below this share of the largest are rounding, in float64."""


@dataclass(frozen=True)
class Linformer(Mechanism):
    """softmax(q (E K)ᵀ) F V: each row attends to `rank` slots, mixtures of all positions.

    The effective weights are softmax(q (E K)ᵀ) F, of rank at most `rank`. What the paper learns,
    E and F, is stood in for by

    - "mean": E = F = contiguous mean pooling. Rows sum to 1 and are never negative; with as many
      slots as keys it is full attention.
    - "fitted": E pools, F by least squares on rows of the layer's own full attention: the most
      that learning F could do for this very text. With a slot a key it is full attention.
    - "svd": E = the leading right singular vectors of those rows, as long as pooling's rows, F by
      least squares. (Singular vectors for F, too, would be softmax's weights on signed slots,
      which is further from full attention than no attention at all.)
    - "random": entries N(0, 1/rank), as in the paper's theorem 1, for contrast.

    All but the first have signed rows. A hidden key is in no slot. Keys are mixed before they are
    weighed, so that causality, masks of pairs and biases have no meaning here and are refused;
    sinks and softcap join the softmax over slots.
    """

    key: ClassVar[str] = "linformer"
    family: ClassVar[str] = "low_rank"
    paper: ClassVar[str] = "arXiv 2006.04768"
    complexity: ClassVar[str] = "n·rank"
    causal_ok: ClassVar[bool] = False
    grows: ClassVar[str] = "rank"
    sizes: ClassVar[tuple[str, ...]] = ("rank",)

    rank: int = param(64, low=1, slider=(4, 512), log=True)
    projection: str = param("mean", choices=PROJECTIONS)
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        Dot().check(qkv)
        if (name := by_pair(qkv)) is not None:
            raise Refusal(
                "a Linformer slot mixes keys and has no position of its own, so it can't use "
                "a {name}",
                name=name,
            )

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        return Compressed(self, qkv, *self.projections(qkv))

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        if self.projection == "mean":
            e = f = dense.pooling(dense.visible(qkv), self.rank)[None]
        else:
            e, f = (x.matrix(qkv.q.double()) for x in self.projections(qkv))
        slots = e @ dense.per_head(qkv.k, qkv)  # (h k d)
        z = dense.capped(qkv, qkv.q.double() @ slots.mT * qkv.factor)  # (h n k)
        return dense.masked_softmax(qkv, z, torch.ones_like(z, dtype=torch.bool)) @ f

    def projections(self, qkv: QKV) -> tuple[Pooling | Dense, Pooling | Dense]:
        """E and F."""
        pool = Pooling(qkv.m, self.rank, qkv.key_mask)
        if self.projection == "mean":
            return pool, pool
        if self.projection == "random":
            draw = torch.Generator().manual_seed(self.seed)
            both = torch.randn(2, 1, pool.slots, qkv.m, generator=draw) * pool.slots**-0.5
            e, f = both.to(qkv.device, self.dtype(qkv))
        else:
            learned = self.learned or self.learn(qkv)
            assert learned is not None
            e, f = (learned.weights[name].to(qkv.device) for name in ("e", "f"))
        if qkv.key_mask is not None:
            e, f = (x * qkv.key_mask.to(x) for x in (e, f))
        return Dense(e), Dense(f)

    def dtype(self, qkv: QKV) -> torch.dtype:
        """What is computed in; fitted values may weigh slots heavily against each other."""
        fitted = self.projection in ("fitted", "svd")
        return torch.float64 if fitted or qkv.dtype == torch.float64 else torch.float32

    def learns(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        if self.projection not in ("fitted", "svd"):
            return {}
        heads = qkv.heads if self.projection == "svd" else 1
        return {"e": (heads, None, qkv.m), "f": (qkv.heads, None, qkv.m)}

    def learn(self, qkv: QKV) -> Learned | None:
        """E (1 or h, k, m) and F (h k m) of "fitted" and "svd"; the others learn nothing.

        F solves softmax(q (E K)ᵀ) F = full attention by least squares, on evenly spaced rows, or
        on all if they are few. Fidelity: see `Compressed.fidelity`.
        """
        if self.projection not in ("fitted", "svd"):
            return None
        pool = Pooling(qkv.m, self.rank, qkv.key_mask)
        rows = evenly(qkv.n, max(FIT, 4 * pool.slots)).to(qkv.device)
        es, fs = [], []
        for h in range(qkv.heads):
            one = qkv.head(h).to(dtype=torch.float64)
            one = one.replace(q=one.q[:, rows], grid=None)
            full = Softmax().attend(one).weights()
            e = pool if self.projection == "fitted" else Dense(_leading(full, pool))
            weights = _slots(one, e, e, torch.float64).weights()
            es.append(e.matrix(full))
            fs.append(torch.linalg.pinv(weights, rtol=EXACT) @ full)
        e = es[0] if self.projection == "fitted" else torch.cat(es)
        found = {"e": e, "f": torch.cat(fs)}
        made = replace(self, learned=Learned(found)).attend(qkv)
        return Learned(found, made.fidelity)

    @property
    def idle(self) -> tuple[str, ...]:
        return () if self.projection == "random" else ("seed",)

    def held(self, qkv: QKV) -> int:
        """Dense projections, and the rows of full attention that they are fitted to."""
        if self.projection == "mean":
            return 4 * numbers(qkv)
        slots = min(self.rank, qkv.m)
        rows = max(FIT, 4 * slots) + 2 * (qkv.heads + 1) * slots
        return 8 * (numbers(qkv) + 3 * rows * qkv.m)

    def flops(self, qkv: QKV) -> int:
        """Projections and attention to slots; fitting is not counted, as training is not."""
        k, d, e = min(self.rank, qkv.m), qkv.k.shape[-1], qkv.v.shape[-1]
        dense = k * qkv.m
        along = {
            "mean": qkv.m * qkv.groups * (d + e),
            "fitted": dense * (qkv.groups * d + qkv.heads * e),
            "svd": dense * qkv.heads * (d + e),
            "random": dense * qkv.groups * (d + e),
        }[self.projection]
        return 2 * (along + qkv.heads * qkv.n * k * (d + e))


def _leading(full: Float[Tensor, "1 r m"], pool: Pooling) -> Float[Tensor, "1 k m"]:
    """The leading right singular vectors, as many and each as long as the rows of a pooling.

    Where there are fewer, the rest is zero.
    """
    k = pool.slots
    values, left = torch.linalg.eigh(full @ full.mT)
    sigma = values.clamp_min(0).sqrt().flip(-1)[..., :k, None]
    right = left.flip(-1).mT[:, :k] @ full
    right = torch.where(sigma > EXACT**0.5 * sigma[:, :1], right / sigma, 0)
    missing = right.new_zeros(1, k - right.shape[1], right.shape[2])
    return torch.cat([right, missing], 1) * (k / max(1, pool.count)) ** 0.5


def _slots(qkv: QKV, e: Pooling | Dense, f: Pooling | Dense, dtype: torch.dtype) -> Composed:
    """Softmax over slots."""
    k, v = e.project(qkv.k.to(dtype)), f.project(qkv.v.to(dtype))
    if len(k) != len(v):
        k, v = (x.repeat_interleave(qkv.heads // len(x), 0) for x in (k, v))
    return Softmax().attend(
        QKV(qkv.q.to(dtype), k, v, scale=qkv.scale, sinks=qkv.sinks, softcap=qkv.softcap)
    )


class Compressed(Attention):
    """Softmax over slots, and what it means for the keys in them."""

    def __init__(
        self, mechanism: Linformer, qkv: QKV, e: Pooling | Dense, f: Pooling | Dense
    ) -> None:
        super().__init__(qkv.frame, views=lambda own: (Factors(own.slots.frame.m, own._factors),))
        self.mechanism, self.qkv, self.e, self.f = mechanism, qkv, e, f
        self.slots = _slots(qkv, e, f, mechanism.dtype(qkv))
        self.row_kind = self.slots.row_kind if isinstance(f, Pooling) else "signed"

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    def weighted(self) -> Tensor:
        return self.slots.output.to(self.qkv.v)

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        frame = self.frame
        at = index(rows, frame.n, self.device)
        for part in at.split(max(1, BLOCK // (frame.heads * max(frame.m, self.slots.frame.m)))):
            name = part if isinstance(rows, Tensor) else slice(int(part[0]), int(part[-1]) + 1)
            slots = torch.cat([block.weights for block in self.slots.blocks(part)], 1)
            yield Block(name, slice(0, frame.m), self.f.spread(slots))

    def _factors(self, head: int) -> dict[str, Tensor]:
        one = Composed(self.slots.qkv.head(head), self.slots.pattern)
        f = self.f.matrix(self.slots.qkv.v)
        return {"compressed": one.weights()[0], "projection": f[head if len(f) > 1 else 0]}

    @cached_property
    def fidelity(self) -> Fidelity | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Relative error of the output on evenly spaced rows, beside random projections."""
        if self.mechanism.learned is not None and self.mechanism.learned.fidelity is not None:
            return self.mechanism.learned.fidelity
        rows = evenly(self.qkv.n, ROWS).to(self.device)
        qkv = self.qkv.replace(q=self.qkv.q[:, rows], grid=None)
        full = Softmax().attend(qkv).output.double()

        def error(e: Pooling | Dense, f: Pooling | Dense) -> Float[Tensor, " h"]:
            apart = Compressed(self.mechanism, qkv, e, f).output.double() - full
            return (apart.norm(dim=(1, 2)) / full.norm(dim=(1, 2)).clamp_min(1e-30)).float()

        chance = replace(self.mechanism, projection="random", learned=None).projections(qkv)
        return Fidelity("output_error", error(self.e, self.f), error(*chance))
