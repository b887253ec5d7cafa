"""The Nadaraya–Watson estimator with a Gaussian kernel (Nadaraya 1964; Watson 1964)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Id, Refusal, param
from engine.kernels import dense
from engine.kernels.composed import Composed
from engine.kernels.patterns import Everything
from engine.kernels.scoring import Gaussian as Kernel
from engine.kernels.sdpa import fits_sdpa, sdpa_whole
from engine.mechanisms.base import Mechanism, numbers, visible_pairs

LARGEST = 32.0
"""Scores up to which float32 is exact enough: its rounding there is 2⁻¹⁹."""


@dataclass(frozen=True)
class Gaussian(Mechanism):
    """softmax(−|q − k|² / (2 width²)): values of the keys that lie near, weighed by how near.

    `width` is the kernel's standard deviation σ, in units of |q − k|; where a text has w, it is
    1/σ. Wide, every key counts alike; narrow, only the nearest does. Keys of one length make it
    softmax of q·k/σ². The QKV's scale plays no part and a bias is added to the score; sinks and
    softcap are refused, since a dot product is what they were learned beside.
    """

    key: ClassVar[str] = "gaussian"
    family: ClassVar[str] = "full"
    paper: ClassVar[str] = "Nadaraya 1964; Watson 1964"
    complexity: ClassVar[str] = "n²"

    width: float = param(2.0, low=0.0, open_low=True, slider=(0.2, 20.0), log=True)

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        Kernel(self.width).check(qkv)
        refuse_levels(self.called, qkv)

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        kernel = Kernel(self.width)
        made = centred(qkv, self.width)
        fast = fits_sdpa(qkv)
        output = None
        if fast or made.dtype != qkv.dtype:
            output = lambda _: self._output(made, kernel, fast).to(qkv.dtype)  # noqa: E731
        return Composed(made, Everything(), kernel, output=output)

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        apart = qkv.q.double()[:, :, None] - dense.per_head(qkv.k, qkv)[:, None]  # (h n m d)
        z = -apart.square().sum(-1) / (2 * self.width**2)
        return dense.masked_softmax(qkv, dense.biased(qkv, z), dense.allowed(qkv))

    def _output(self, made: QKV, kernel: Kernel, fast: bool) -> Tensor:
        if not fast:
            return Composed(made, Everything(), kernel).output
        features = made.replace(
            q=kernel.queries(made, made.q), k=kernel.keys(made, made.k), scale=1.0, layer=None
        )
        return sdpa_whole(Composed(features, Everything()))

    def held(self, qkv: QKV) -> int:
        """Queries, keys and values about the mean key in float64, and their features."""
        return 2 * 8 * numbers(qkv)

    def flops(self, qkv: QKV) -> int:
        d, e = qkv.k.shape[-1], qkv.v.shape[-1]
        vectors = qkv.heads * qkv.n + qkv.groups * qkv.m
        # a row's own half square and each key's join the inner product; squares are summed once
        return 2 * (qkv.heads * visible_pairs(qkv) * (d + 2 + e) + vectors * d)

    def sharpened(self, factor: float, n: float) -> Gaussian:
        return replace(self, width=factor**-0.5)


def refuse_levels(key: Id, qkv: QKV) -> None:
    """Raises ValueError for what compares a score with a level of its own."""
    for name in ("sinks", "softcap"):
        if getattr(qkv, name) is not None:
            raise Refusal(
                "{key} can't use {name}: a level learned for scaled dot products means nothing "
                "for other scores",
                key=key,
                name=Id(name, f"qkv.{name}"),
            )


def centred(qkv: QKV, width: float) -> QKV:
    """The same distances with the mean key at the origin, so that squares cancel less.

    In float64 where squares are so large beside width² that float32 would show in the weights;
    half precision is lifted to float32 at least.
    """
    k = qkv.k.double()
    centre = k.mean(1, keepdim=True)
    q = qkv.q.double() - centre.repeat_interleave(qkv.heads // qkv.groups, 0)
    k = k - centre
    largest = sum(float(x.square().sum(-1).max()) for x in (q, k)) / (2 * width**2)
    double = qkv.dtype == torch.float64 or largest > LARGEST
    dtype = torch.float64 if double else torch.float32
    return qkv.replace(q=q.to(dtype), k=k.to(dtype), v=qkv.v.to(dtype))
