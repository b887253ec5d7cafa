"""Attention inside segments, and across them through summaries.

No single paper: nearest are blockwise attention (arXiv 1911.02972) for the segments and LongT5's
transient global tokens (arXiv 2112.07916) for the summaries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import QKV, Block, Index, Refusal, index, param
from engine.contract.views import Segments
from engine.kernels import dense, normalisers, patterns
from engine.kernels.composed import Composed
from engine.kernels.rows import BLOCK
from engine.kernels.sdpa import fits_sdpa, safely, sdpa, sdpa_blocks
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism, by_pair, nearby_pairs
from engine.mechanisms.transformer_xl import TransformerXL
from engine.runtime.cached import cached_property

INTEGRATE = ("none", "pool", "attention", "concat")


@dataclass(frozen=True)
class Segmented(Mechanism):
    """Softmax over the row's own segment and, if integrated, the summaries of other segments.

    A summary stands for a segment with one key and one value, weighted alike: "pool" by the mean
    over its visible keys, "attention" by its mean query's softmax over them, "concat" puts both
    side by side. Summaries join the row's own softmax, so that rows sum to 1; causally a row reads
    only segments that ended before its own began. Segment boundaries lie on the keys' axis.

    With `corrected`, a summary counts as many times as its segment has visible keys (half as many
    times where there are two), by the logarithm of that on its score: of keys that are all alike
    every one then weighs 1/n, as in full attention. Without, a summary counts as one key.
    """

    key: ClassVar[str] = "segmented"
    family: ClassVar[str] = "segments"
    paper: ClassVar[str] = "arXiv 1911.02972, 2112.07916"
    complexity: ClassVar[str] = "n·(segment + n/segment)"
    leaves_out: ClassVar[bool] = True
    grows: ClassVar[str] = "segment"
    sizes: ClassVar[tuple[str, ...]] = ("segment",)
    spans: ClassVar[tuple[str, ...]] = ("segment",)

    segment: int = param(64, low=1, slider=(4, 512), unit="tokens", log=True)
    integrate: str = param("none", choices=INTEGRATE)
    corrected: bool = param(True)

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        if self.integrate == "none":
            return
        if (name := by_pair(qkv)) is not None:
            raise Refusal(
                "a segment's summary has no position of its own, so it can't use a {name}: "
                "read nothing across segments",
                name=name,
            )

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        if (own := self.within(qkv)) is not self:
            return own.attend(qkv)
        if self.integrate != "none":
            return Integrated(qkv, self.segment, self.integrate, self.corrected)
        return Composed(
            qkv,
            patterns.Segments(self.segment),
            output=(lambda att: self._output(qkv, att)) if fits_sdpa(qkv) else None,
            views=(Segments(bounds(qkv.m, self.segment)),),
        )

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        own = self.reach(qkv)
        if self.integrate == "none":
            return dense.softmax(qkv, pattern=own)
        at, cols = dense.positions(qkv)
        mine = at.clamp_min(0) // self.segment
        name = torch.arange(-(-qkv.m // self.segment), device=qkv.device)
        holds = (cols // self.segment == name[:, None]) & dense.visible(qkv)  # (S m)
        q, k = qkv.q.double(), dense.per_head(qkv.k, qkv)
        scores = {"pool": k.new_zeros(qkv.heads, len(name), qkv.m)}  # (h S m)
        asks = ((mine.clamp_max(name[-1]) == name) & (at >= 0)).double()  # (n S)
        scores["attention"] = asks.mT @ q / asks.sum(0)[:, None].clamp_min(1) @ k.mT * qkv.factor
        kinds = scores if self.integrate == "concat" else (self.integrate,)
        pool = torch.cat(  # (h kS m) how a summary is made of its segment's keys
            [scores[x].masked_fill(~holds, -torch.inf).softmax(-1).nan_to_num(0) for x in kinds], 1
        )
        z = dense.capped(qkv, q @ torch.cat([k, pool @ k], 1).mT * qkv.factor)  # (h n m+kS)
        if self.corrected:
            z[..., qkv.m :] += (holds.double().sum(-1) / len(kinds)).log().repeat(len(kinds))
        read = ((name < mine) if qkv.causal else (name != mine)) & holds.any(-1)  # (n S)
        seen = torch.cat([own & dense.allowed(qkv), read.repeat(1, len(kinds))], 1)
        w = dense.masked_softmax(qkv, z, seen)
        return w[..., : qkv.m] + w[..., qkv.m :] @ pool

    def reach(self, qkv: QKV) -> Bool[Tensor, "n m"]:
        """The row's own segment in the open."""
        at, cols = dense.positions(qkv)
        return at // self.segment == cols // self.segment

    def _output(self, qkv: QKV, att: Composed) -> Tensor:
        if qkv.key_mask is not None or qkv.mask is not None or qkv.n != qkv.m:
            return sdpa_blocks(att, max(64, min(512, self.segment)))
        whole = qkv.n // self.segment * self.segment
        parts = []
        for a, b, size in ((0, whole, self.segment), (whole, qkv.n, qkv.n - whole)):
            if a == b:
                continue
            q, k, v = (
                x[:, a:b].unflatten(1, (-1, size)).flatten(0, 1) for x in (qkv.q, qkv.k, qkv.v)
            )
            if size == whole == qkv.n or len(q) == len(k):
                out = sdpa(q, k, v, qkv.factor, causal=qkv.causal)
            else:  # segments go between heads and positions, so that key heads stay where they are
                out = _grouped(qkv, a, b, size)
            parts.append(out.unflatten(0, (qkv.heads, -1)).flatten(1, 2))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    @property
    def selects(self) -> bool:
        return self.integrate == "none"

    @property
    def idle(self) -> tuple[str, ...]:
        return ("corrected",) if self.integrate == "none" else ()

    @property
    def formulas(self) -> tuple[str, ...]:
        if self.integrate == "none":
            return ("",)
        sized = "sized_twice" if self.integrate == "concat" else "sized"
        return "integrated", self.integrate, sized if self.corrected else "unsized"

    @property
    def order(self) -> str:
        return "n·segment" if self.integrate == "none" else self.complexity

    def shown(self, qkv: QKV) -> int:
        alone = self.integrate == "none"
        return nearby_pairs(qkv, self.pairs(qkv)) if alone else super().shown(qkv)

    def pairs(self, qkv: QKV) -> int:
        """Those inside segments."""
        return TransformerXL(self.segment, memory=0).pairs(qkv)

    def flops(self, qkv: QKV) -> int:
        s, width, own = (
            min(self.segment, qkv.m),
            qkv.k.shape[-1] + qkv.v.shape[-1],
            self.pairs(qkv),
        )
        if self.integrate == "none":
            return super().flops(qkv)
        kinds = 2 if self.integrate == "concat" else 1
        count = -(-qkv.m // s)
        others = s * count * (count - 1) // (2 if qkv.causal else 1)
        pool = kinds * qkv.m * (width + (0 if self.integrate == "pool" else qkv.k.shape[-1]))
        return 2 * qkv.heads * ((own + kinds * others) * width + pool)


def _grouped(qkv: QKV, a: int, b: int, size: int) -> Float[Tensor, "hs size e"]:
    """Segments of grouped heads: q (rep, g·S, size, d), keys read where they are."""
    rep = qkv.heads // qkv.groups
    q = qkv.q[:, a:b].unflatten(1, (-1, size)).unflatten(0, (qkv.groups, rep))
    q = q.transpose(0, 1).flatten(1, 2)
    k, v = (
        x[:, a:b].unflatten(1, (-1, size)).flatten(0, 1).expand(rep, -1, -1, -1)
        for x in (qkv.k, qkv.v)
    )
    wide, thin = q.shape[-1], v.shape[-1]
    q, scale = safely(q, qkv.factor)
    out = F.scaled_dot_product_attention(
        q, k, F.pad(v, (0, wide - thin)) if thin < wide else v,
        is_causal=qkv.causal, scale=scale,
    )[..., :thin]  # fmt: skip
    return out.unflatten(1, (qkv.groups, -1)).transpose(0, 1).flatten(0, 2)


def bounds(m: int, segment: int) -> Int[Tensor, "S 2"]:
    """Half-open spans of segments, the last one ragged."""
    starts = torch.arange(0, m, segment)
    return torch.stack([starts, (starts + segment).clamp_max(m)], 1)


class Integrated(Attention):
    """Own segment and summaries of the others in one softmax."""

    def __init__(self, qkv: QKV, segment: int, integrate: str, corrected: bool = True) -> None:
        super().__init__(qkv.frame, views=lambda own: (own._view(),))
        self.parts = Composed(qkv, patterns.Segments(segment))
        self.qkv, self.segment = qkv, segment
        self.kinds = {"pool": ("pool",), "attention": ("attention",)}.get(
            integrate, ("pool", "attention")
        )
        self.count = -(-qkv.m // segment)
        self.row_kind = self.parts.row_kind
        visible = qkv.key_mask
        if visible is None:
            visible = torch.ones(qkv.m, dtype=torch.bool, device=qkv.device)
        self.visible = self._cut(visible[:, None])[..., 0]  # (S s), the last segment padded
        stands_for = self.visible.sum(-1).to(self.parts.dtype) / len(self.kinds)
        # (kS) added to the scores of summaries; those of nothing are not read
        self.size = (stands_for.clamp_min(0.5).log() * corrected).repeat(len(self.kinds))

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    def _cut(self, x: Tensor) -> Tensor:
        """(… m f) -> (… S s f), padded with zeros."""
        x = F.pad(x, (0, 0, 0, self.count * self.segment - self.qkv.m))
        return x.unflatten(-2, (self.count, self.segment))

    @cached_property
    def pooling(self) -> Float[Tensor, "h kinds S s"]:
        """How much each key weighs in its segment's summary; sums to 1 where any is visible."""
        qkv, dtype = self.qkv, self.parts.dtype
        h, g = qkv.heads, qkv.groups
        found = []
        for kind in self.kinds:
            if kind == "pool":
                logits = torch.zeros(h, self.count, self.segment, dtype=dtype, device=self.device)
            else:
                # queries of a segment are those at its keys' positions; with none it pools evenly
                at = torch.arange(qkv.n, device=self.device) + qkv.frame.offset
                here = at >= 0
                mean = torch.zeros(h, self.count, qkv.q.shape[-1], dtype=dtype, device=self.device)
                name = (at[here] // self.segment).clamp_max(self.count - 1)
                mean.index_add_(1, name, qkv.q[:, here].to(dtype))
                per = torch.bincount(name, minlength=self.count).clamp_min(1)
                mean = (mean / per[:, None]).unflatten(0, (g, -1))
                keys = self._cut(qkv.k.to(dtype))
                logits = torch.einsum("grSd,gSsd->grSs", mean, keys).flatten(0, 1) * qkv.factor
            logits = logits.masked_fill(~self.visible, -torch.inf)
            found.append(logits.softmax(-1).nan_to_num(0))
        return torch.stack(found, 1)

    def _summaries(self, x: Float[Tensor, "g m f"]) -> Float[Tensor, "h kS f"]:
        """Pooled keys or values: kinds in turn, segments inside."""
        pooling = self.pooling.unflatten(0, (self.qkv.groups, -1))
        pooled = torch.einsum("grkSs,gSsf->grkSf", pooling, self._cut(x.to(pooling)))
        return pooled.flatten(0, 1).flatten(1, 2)

    @cached_property
    def keys(self) -> Float[Tensor, "h kS d"]:
        return self._summaries(self.qkv.k)

    @cached_property
    def values(self) -> Float[Tensor, "h kS e"]:
        return self._summaries(self.qkv.v)

    def _joint(self, rows: Int[Tensor, " r"]) -> tuple[slice, Tensor, Tensor]:
        """The span of own segments, weights in it (h r c), and on summaries (h r kS)."""
        parts, qkv = self.parts, self.qkv
        ((a, b),) = parts.spans(rows)
        cols = torch.arange(a, b, device=self.device)
        everyone = slice(0, qkv.heads)
        q = qkv.q[:, rows].to(parts.dtype) * qkv.factor
        scores = torch.cat([parts.scores(everyone, rows, cols), q @ self.keys.mT], -1)
        own = ((rows + qkv.frame.offset).clamp_min(0) // self.segment)[:, None]
        other = torch.arange(self.count, device=self.device)
        read = (other < own) if qkv.causal else (other != own)
        read = (read & self.visible.any(-1)).repeat(1, len(self.kinds))
        inside = parts.allowed(rows, cols)
        if inside is None:
            inside = torch.ones(len(rows), len(cols), dtype=torch.bool, device=self.device)
        logits = parts.finish(scores, everyone, rows, cols)
        logits[..., b - a :] += self.size
        weights = normalisers.Softmax().weights(
            logits, torch.cat([inside, read], 1), qkv.sinks,
            qkv.frame.seen(rows)[0],
        )  # fmt: skip
        return slice(a, b), weights[..., : b - a], weights[..., b - a :]

    def weighted(self) -> Tensor:
        qkv = self.qkv
        out = qkv.v.new_empty(qkv.heads, qkv.n, qkv.v.shape[-1])
        height = max(1, min(512, BLOCK // (qkv.heads * (self.segment + 2 * self.count + 512))))
        for rows in torch.arange(qkv.n, device=self.device).split(height):
            span, own, far = self._joint(rows)
            block = Block(slice(int(rows[0]), int(rows[-1]) + 1), span, own)
            out[:, block.rows] = (self.parts.weigh(block) + far @ self.values).to(out)
        return out

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        qkv = self.qkv
        at = index(rows, qkv.n, self.device)
        for part in at.split(max(1, BLOCK // (2 * qkv.heads * qkv.m))):
            span, own, far = self._joint(part)
            far = far.unflatten(-1, (len(self.kinds), self.count))
            weights = torch.einsum("hrkS,hkSs->hrSs", far, self.pooling).flatten(2)[..., : qkv.m]
            weights[..., span] += own
            name = slice(int(part[0]), int(part[-1]) + 1)
            yield Block(part if isinstance(rows, Tensor) else name, slice(0, qkv.m), weights)

    def _view(self) -> Segments:
        qkv = self.qkv
        total = torch.zeros(qkv.heads, self.count, self.count, device=self.device)
        of = (torch.arange(qkv.n, device=self.device) + qkv.frame.offset).clamp_min(
            0
        ) // self.segment
        for rows in torch.arange(qkv.n, device=self.device).split(512):
            far = self._joint(rows)[2].unflatten(-1, (len(self.kinds), self.count)).sum(2)
            total.index_add_(1, of[rows], far.to(total))
        per = torch.bincount(of, minlength=self.count).clamp_min(1)
        return Segments(bounds(qkv.m, self.segment), total / per[:, None])
