"""The best that rank k can do: full attention's map, cut off after k singular values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Block, Index, Refusal, index, param
from engine.contract.views import Factors
from engine.kernels import dense
from engine.kernels.rows import BLOCK
from engine.kernels.scoring import Dot
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism
from engine.mechanisms.softmax import Softmax
from engine.runtime.cached import cached_property

MOST = 1024
"""Positions at most: the whole map is laid out."""


@dataclass(frozen=True)
class TruncatedSVD(Mechanism):
    """U_k Σ_k V_kᵀ of full attention: no map of rank k is nearer to it (Eckart and Young, 1936).

    For analysis: it costs more than full attention. Rows are signed, and need not sum to 1. At
    full rank it is full attention. Causality and masks of pairs, which the truncated map would
    cross, are refused; a hidden key is no column.
    """

    key: ClassVar[str] = "truncated_svd"
    family: ClassVar[str] = "low_rank"
    paper: ClassVar[str] = "Eckart and Young, 1936"
    complexity: ClassVar[str] = "n³"
    causal_ok: ClassVar[bool] = False
    grows: ClassVar[str] = "rank"
    sizes: ClassVar[tuple[str, ...]] = ("rank",)
    blocks_at_once: ClassVar[int] = 8

    rank: int = param(16, low=1, slider=(1, 256), log=True)

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        Dot().check(qkv)
        if qkv.mask is not None:
            raise Refusal(
                "truncated SVD can't use a mask: the truncated map would reach across it"
            )
        if max(qkv.n, qkv.m) > MOST:
            raise Refusal(
                "truncated SVD lays out the whole map: it takes at most {most:,} of queries and "
                "of keys, not {n:,}",
                most=MOST,
                n=max(qkv.n, qkv.m),
            )

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        return Truncated(qkv, self.rank)

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        u, s, vh = torch.linalg.svd(dense.softmax(qkv), full_matrices=False)
        k = self.rank
        return (u[..., :k] * s[:, None, :k]) @ vh[:, :k]

    def held(self, qkv: QKV) -> int:
        """The map in float64, and what its singular vectors come from."""
        return 4 * 8 * qkv.heads * qkv.n * (qkv.n + qkv.m)

    def flops(self, qkv: QKV) -> int:
        """Full attention, n² inner products of its rows, 9 n³ for their eigenvectors (Golub and
        Van Loan, table 8.3.1), and the products with k of them."""
        n, m, d, e = qkv.n, qkv.m, qkv.k.shape[-1], qkv.v.shape[-1]
        k = min(self.rank, n, m)
        return qkv.heads * (2 * (n * m * (d + e) + n * n * m + 2 * k * n * e) + 9 * n**3)


class Truncated(Attention):
    """U_k U_kᵀ A, for U the left singular vectors of A."""

    row_kind = "signed"

    def __init__(self, qkv: QKV, rank: int) -> None:
        super().__init__(qkv.frame, views=lambda own: (own._view(),))
        self.qkv, self.rank = qkv, min(rank, qkv.n, qkv.m)
        self.full = Softmax().attend(qkv.to(dtype=torch.float64))

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    @cached_property
    def map(self) -> Float[Tensor, "h n m"]:
        """Full attention."""
        return self.full.weights()

    @cached_property
    def left(self) -> Float[Tensor, "h n n"]:
        """Left singular vectors, the leading one first."""
        return torch.linalg.eigh(self.map @ self.map.mT)[1].flip(-1)

    def weighted(self) -> Tensor:
        left = self.left[..., : self.rank]
        return (left @ (left.mT @ self.full.output)).to(self.qkv.v)

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        at = index(rows, self.frame.n, self.device)
        left = self.left[..., : self.rank]
        right = left.mT @ self.map
        for part in at.split(max(1, BLOCK // (self.frame.heads * self.frame.m))):
            name = part if isinstance(rows, Tensor) else slice(int(part[0]), int(part[-1]) + 1)
            yield Block(name, slice(0, self.frame.m), left[:, part] @ right)

    def _view(self) -> Factors:
        sigma = (self.left.mT @ self.map).norm(dim=-1)[:, : self.frame.m]
        return Factors(self.rank, self._factors, spectrum=sigma)

    def _factors(self, head: int) -> dict[str, Tensor]:
        left = self.left[head, :, : self.rank]
        return {"left": left, "right": left.mT @ self.map[head]}
