"""Attention through a few mean queries and mean keys (Nyströmformer, arXiv 2102.03902)."""

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
from engine.kernels.composed import Composed
from engine.kernels.projection import Pooling
from engine.kernels.rows import BLOCK
from engine.kernels.scoring import Dot
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism, by_pair, numbers
from engine.mechanisms.softmax import Softmax
from engine.runtime.cached import cached_property

EXACT = 1e-9
"""Singular values below this share of the largest are rounding, in float64."""


@dataclass(frozen=True)
class Nystrom(Mechanism):
    """softmax(Q K̃ᵀ) softmax(Q̃ K̃ᵀ)⁺ softmax(Q̃ Kᵀ); Q̃ and K̃ are means of consecutive segments.

    With a landmark a key it is full attention. Rows are signed, and need not sum to 1. The
    pseudo-inverse is exact (the paper iterates towards it, and stops early), and where landmarks
    are alike its matrix is close to singular: everything is worked out in float64.

    A hidden key is in no landmark; sinks and softcap join all three softmaxes. Causality, masks of
    pairs and biases have no meaning for landmarks, and are refused.
    """

    key: ClassVar[str] = "nystrom"
    family: ClassVar[str] = "low_rank"
    paper: ClassVar[str] = "arXiv 2102.03902"
    complexity: ClassVar[str] = "n·landmarks + landmarks³"
    causal_ok: ClassVar[bool] = False
    grows: ClassVar[str] = "landmarks"
    sizes: ClassVar[tuple[str, ...]] = ("landmarks",)
    blocks_at_once: ClassVar[int] = 8

    landmarks: int = param(64, low=1, slider=(4, 256), log=True)

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        Dot().check(qkv)
        if (name := by_pair(qkv)) is not None:
            raise Refusal(
                "a Nyström landmark mixes positions and has none of its own, so it can't use "
                "a {name}",
                name=name,
            )

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        return Landmarks(qkv, self.landmarks)

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        def softmax(q: Tensor, k: Tensor, seen: Tensor) -> Tensor:
            return dense.masked_softmax(qkv, dense.capped(qkv, q @ k.mT * qkv.factor), seen)

        q, k = qkv.q.double(), dense.per_head(qkv.k, qkv)
        everyone, keys = k.new_ones(1, qkv.n, dtype=torch.bool), dense.visible(qkv)[None]
        mean_q = dense.pooling(everyone[0], self.landmarks) @ q  # (h a d)
        mean_k = dense.pooling(keys[0], self.landmarks) @ k  # (h b d)
        some = everyone[:, :1]
        middle = torch.linalg.pinv(softmax(mean_q, mean_k, some), rtol=EXACT)  # (h b a)
        return softmax(q, mean_k, some) @ middle @ softmax(mean_q, k, keys)

    def held(self, qkv: QKV) -> int:
        """Q, K and V in float64, and weights between landmarks and positions."""
        return 8 * (2 * numbers(qkv) + 3 * qkv.heads * self.landmarks * (qkv.n + qkv.m))

    def flops(self, qkv: QKV) -> int:
        """The three softmaxes and their products; the pseudo-inverse as 22 a³ (singular values
        and vectors by QR, Golub and Van Loan, table 8.6.1) and its product."""
        a, b = min(self.landmarks, qkv.n), min(self.landmarks, qkv.m)
        d, e = qkv.k.shape[-1], qkv.v.shape[-1]
        pooled = (qkv.heads * qkv.n + qkv.groups * qkv.m) * d
        each = qkv.n * b * (d + e) + a * b * d + a * qkv.m * (d + e) + a * b * e + 11 * a * b * b
        return 2 * (pooled + qkv.heads * each)


class Landmarks(Attention):
    """Three softmaxes, the middle one inverted."""

    row_kind = "signed"

    def __init__(self, qkv: QKV, landmarks: int) -> None:
        super().__init__(qkv.frame, views=lambda own: (own._view(),))
        self.qkv = qkv
        wide = qkv.to(dtype=torch.float64)
        q = Pooling(qkv.n, landmarks).project(wide.q)
        k = Pooling(qkv.m, landmarks, qkv.key_mask).project(wide.k)
        self.k = k.repeat_interleave(qkv.heads // qkv.groups, 0)
        self.wide = wide
        self.right = Softmax().attend(wide.replace(q=q, grid=None))
        """Mean queries over keys."""

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    def _over_landmarks(self, q: Float[Tensor, "h r d"], v: Float[Tensor, "h b e"]) -> Composed:
        qkv = self.wide
        return Softmax().attend(
            QKV(q, self.k, v, scale=qkv.scale, sinks=qkv.sinks, softcap=qkv.softcap)
        )

    @cached_property
    def middle(self) -> Float[Tensor, "h b a"]:
        """The pseudo-inverse of mean queries over mean keys."""
        kernel = self._over_landmarks(self.right.qkv.q, self.k).weights()
        return torch.linalg.pinv(kernel, rtol=EXACT)

    def weighted(self) -> Tensor:
        values = self.middle @ self.right.output
        return self._over_landmarks(self.wide.q, values).output.to(self.qkv.v)

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        frame = self.frame
        at = index(rows, frame.n, self.device)
        left = self._over_landmarks(self.wide.q, self.k)
        right = self.middle @ self.right.weights()
        for part in at.split(max(1, BLOCK // (2 * frame.heads * frame.m))):
            name = part if isinstance(rows, Tensor) else slice(int(part[0]), int(part[-1]) + 1)
            weights = torch.cat([block.weights for block in left.blocks(part)], 1)
            yield Block(name, slice(0, frame.m), weights @ right)

    def _view(self) -> Factors:
        return Factors(min(self.middle.shape[1:]), self._factors)

    def _factors(self, head: int) -> dict[str, Tensor]:
        left = Composed(
            self._over_landmarks(self.wide.q, self.k).qkv.head(head), self.right.pattern
        )
        right = Composed(self.right.qkv.head(head), self.right.pattern)
        return {
            "to_landmarks": left.weights()[0],
            "inverse": self.middle[head],
            "from_landmarks": right.weights()[0],
        }
