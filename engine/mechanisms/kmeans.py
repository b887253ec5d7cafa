"""Attention inside clusters of keys (Routing Transformer, arXiv 2003.05997)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import QKV, Block, Index, index, param
from engine.contract.learned import Fidelity, Learned
from engine.contract.views import Routing
from engine.kernels import dense, patterns, selection
from engine.kernels.composed import Composed
from engine.kernels.rows import BLOCK
from engine.kernels.scoring import Dot
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism, numbers
from engine.runtime.cached import cached_property

SAMPLE = 128
"""Rows of full attention that a choice is judged by."""


def captured(qkv: QKV, pattern: patterns.Pattern) -> Float[Tensor, " h"]:
    """Share of full attention's mass on the pairs of a pattern, over a sample of rows."""
    rows = selection.sample(qkv.n, SAMPLE).to(qkv.device)
    full = Composed(qkv, patterns.Everything()).weights(rows)
    inside = pattern.allows(rows + qkv.frame.offset, torch.arange(qkv.m, device=qkv.device))
    kept = full if inside is None else full * inside
    return (kept.sum((1, 2)) / full.sum((1, 2)).clamp_min(1e-12)).float()


@dataclass(frozen=True)
class KMeans(Mechanism):
    """Softmax among the `window` queries and `window` keys nearest to each centroid.

    Queries and keys are cut off from their means and brought to length 1; a query in several
    clusters gets the mean of what it reads in each (of those in which it sees a key), a query in
    none gets a zero row, as in the paper's code, and is flagged. Centroids, which the paper learns
    by moving averages, are fitted per head to the layer's own queries and keys by spherical
    k-means; random directions are the contrast. One cluster with room for all is full attention.

    Who is in a cluster is decided over the whole text: causally nothing later is weighed, but the
    choice has read it (`selection_causal`). Honours everything that a QKV can hold.
    """

    key: ClassVar[str] = "kmeans"
    family: ClassVar[str] = "routing"
    paper: ClassVar[str] = "arXiv 2003.05997"
    complexity: ClassVar[str] = "clusters·(window² + n)"
    leaves_out: ClassVar[bool] = True
    by_head: ClassVar[bool] = True
    selection_causal: ClassVar[bool] = False
    grows: ClassVar[str] = "window"
    groups: ClassVar[str] = "clusters"
    sizes: ClassVar[tuple[str, ...]] = ("window",)

    clusters: int = param(8, low=1, high=256, slider=(1, 64), log=True)
    window: int = param(32, low=1, slider=(4, 512), unit="tokens", log=True)
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        Dot().check(qkv)

    def learn(self, qkv: QKV) -> Learned:
        """Centroids (h clusters d); fidelity: full attention's mass on pairs that share one."""
        found = selection.centroids(qkv, self.clusters, self.seed)
        draw = torch.Generator().manual_seed(self.seed)
        chance = torch.randn(found.shape, generator=draw, dtype=torch.float64).to(found.device)
        value, random = (
            captured(qkv, self._pattern(qkv, c)) for c in (found, selection.unit(chance))
        )
        return Learned({"centroids": found}, Fidelity("captured_mass", value, random))

    def learns(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return {"centroids": (qkv.heads, self.clusters, qkv.q.shape[-1])}

    def _pattern(self, qkv: QKV, centroids: Tensor) -> patterns.Clusters:
        return patterns.Clusters(*selection.members(qkv, centroids, self.window), qkv.frame.offset)

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        learned = self.learned or self.learn(qkv)
        centroids = learned.weights["centroids"].to(qkv.device)
        att = Clustered(qkv, self._pattern(qkv, centroids), centroids)
        att.fidelity = learned.fidelity
        return att

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        learned = self.learned or self.fit(qkv).learned
        assert learned is not None
        queries, keys = selection.members(qkv, learned.weights["centroids"], self.window)
        out = torch.zeros(qkv.heads, qkv.n, qkv.m, dtype=torch.float64, device=qkv.device)
        times = torch.zeros_like(out[..., :1])
        seen = dense.allowed(qkv) & (dense.logits(qkv) > -torch.inf)
        for q, k in zip(queries.unbind(1), keys.unbind(1), strict=True):  # (h n), (h m)
            inside = q[..., None] & k[:, None] & seen
            out += dense.softmax(qkv, pattern=inside) * inside.any(-1, keepdim=True)
            times += inside.any(-1, keepdim=True)
        return out / times.clamp_min(1)

    @property
    def selects(self) -> bool:
        return True

    def held(self, qkv: QKV) -> int:
        """Queries and keys of one length in float64, and who is in which cluster."""
        return 8 * (2 * numbers(qkv) + 4 * qkv.heads * self.clusters * (qkv.n + qkv.m))

    def flops(self, qkv: QKV) -> int:
        """Distances to centroids, and all pairs inside clusters; a masked key counts."""
        width = qkv.k.shape[-1]
        pairs = min(self.window, qkv.n) * min(self.window, qkv.m)
        near = (qkv.n + qkv.m) * width
        return 2 * qkv.heads * self.clusters * (near + pairs * (width + qkv.v.shape[-1]))


class Clustered(Attention):
    """The mean, over the clusters of each query, of softmax inside the cluster."""

    def __init__(
        self, qkv: QKV, pattern: patterns.Clusters, centroids: Float[Tensor, "h C d"]
    ) -> None:
        super().__init__(qkv.frame, views=lambda own: (own._view(),))
        self.qkv, self.pattern, self.centroids = qkv, pattern, centroids
        self.parts = Composed(qkv, patterns.Everything())
        self.row_kind = self.parts.row_kind
        # every cluster holds as many: positions rise, (h C wq) and (h C wk)
        self.queries, self.keys = (
            x.nonzero()[:, 2].view(*x.shape[:2], -1) for x in (pattern.queries, pattern.keys)
        )

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    @cached_property
    def shares(self) -> Float[Tensor, "h n C"]:
        """1 over the number of clusters in which the query sees a key; 0 where it sees none. A key
        whose bias is −inf is not seen."""
        qkv, cols = self.qkv, torch.arange(self.qkv.m, device=self.device)
        if qkv.mask is None and qkv.bias is None:
            # the first key of a cluster is the first that a causal row may see of it
            first = torch.where(self.pattern.keys, cols, qkv.m).amin(-1)  # (h C)
            last = torch.arange(qkv.n, device=self.device) + qkv.frame.offset
            last = last if qkv.causal else torch.full_like(last, qkv.m - 1)
            reads = first[:, None] <= last[:, None]
        else:
            reads = torch.empty(
                qkv.heads, qkv.n, self.keys.shape[1], dtype=torch.bool, device=self.device
            )
            everyone = torch.arange(qkv.n, device=self.device)
            for rows in everyone.split(max(1, BLOCK // (qkv.heads * qkv.m))):
                seen = qkv.frame.visible(rows, cols)
                if seen is None:
                    seen = torch.ones(len(rows), qkv.m, dtype=torch.bool, device=self.device)
                if qkv.bias is not None:
                    seen = seen & (qkv.bias(rows, cols) > -torch.inf)
                reads[:, rows] = (seen.float() @ self.pattern.keys.float().mT) > 0
        reads = (reads & self.pattern.queries.mT).to(self.parts.dtype)
        return reads / reads.sum(-1, keepdim=True).clamp_min(1)

    def weighted(self) -> Tensor:
        qkv, parts = self.qkv, self.parts
        h = torch.arange(qkv.heads, device=self.device)[:, None]
        g = h // (qkv.heads // qkv.groups)
        out = torch.zeros(qkv.heads, qkv.n, qkv.v.shape[-1], dtype=parts.dtype, device=self.device)
        height = max(1, BLOCK // (qkv.heads * max(1, self.keys.shape[2])))
        for c in range(self.keys.shape[1]):
            cols = self.keys[:, c]
            k, v = qkv.k[g, cols].to(parts.dtype), qkv.v[g, cols].to(parts.dtype)
            for rows in self.queries[:, c].split(height, 1):
                scores = (qkv.q[h, rows].to(parts.dtype) * qkv.factor) @ k.mT
                weights = self._softmax(self._finish(scores, rows, cols))
                share = self.shares[h, rows, c].to(weights)
                out[h, rows] += (weights @ v) * share[..., None]
        return out.to(qkv.v)

    def _finish(
        self, scores: Float[Tensor, "h r c"], rows: Int[Tensor, "h r"], cols: Int[Tensor, "h c"]
    ) -> Float[Tensor, "h r c"]:
        """Softcap, bias and masks of pairs that differ between heads."""
        qkv = self.qkv
        if qkv.softcap is not None:
            scores = (scores / qkv.softcap).tanh() * qkv.softcap
        if qkv.causal:
            late = cols[:, None] > rows[..., None] + qkv.frame.offset
            scores = scores.masked_fill(late, -torch.inf)
        for head in range(qkv.heads):
            if qkv.bias is not None:
                scores[head] += qkv.bias(rows[head], cols[head])[head].to(scores)
            if qkv.mask is not None:
                scores[head].masked_fill_(~qkv.mask(rows[head], cols[head]), -torch.inf)
        return scores

    def _softmax(self, logits: Float[Tensor, "h *r c"]) -> Float[Tensor, "h *r c"]:
        lse = logits.logsumexp(-1, keepdim=True)
        if self.qkv.sinks is not None:
            sinks = self.qkv.sinks.to(lse).view(-1, *[1] * (lse.ndim - 1))
            lse = torch.logaddexp(lse, sinks)
        return (logits - lse.masked_fill(lse == -torch.inf, 0)).exp()

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        qkv, parts = self.qkv, self.parts
        at = index(rows, qkv.n, self.device)
        most = int((self.shares > 0).sum(-1).max())
        wide = self.keys.shape[2]
        height = max(1, BLOCK // (2 * qkv.heads * (qkv.m + max(1, most) * wide)))
        everyone, cols = slice(0, qkv.heads), torch.arange(qkv.m, device=self.device)
        h = torch.arange(qkv.heads, device=self.device)[:, None, None]
        for part in at.split(height):
            logits = parts.finish(parts.scores(everyone, part, cols), everyone, part, cols)
            seen = qkv.frame.visible(part, cols)
            if seen is not None:
                logits.masked_fill_(~seen, -torch.inf)
            weights = torch.zeros_like(logits)
            share = self.shares[:, part].to(logits)
            if most and wide:
                share, slot = share.topk(most)  # the clusters that each row reads
                keys = self.keys[h, slot].flatten(2)
                inside = self._softmax(logits.gather(2, keys).unflatten(2, (most, wide)))
                weights.scatter_add_(2, keys, (inside * share[..., None]).flatten(2))
            yield Block(part, slice(0, qkv.m), weights)

    def _view(self) -> Routing:
        q, k = selection.features(self.qkv)
        nearest = (q @ self.centroids.mT).argmax(-1)
        count = self.centroids.shape[1]
        load = torch.nn.functional.one_hot(nearest, count).float().mean(1)
        near = (k @ self.centroids.mT).masked_fill(~self.pattern.keys.mT, -torch.inf)
        labels = torch.where(self.pattern.keys.any(1), near.argmax(-1), -1)
        return Routing(
            kind="clusters", load=load, probabilities=self.shares, labels=labels,
            dropped=(self.shares == 0).all(-1), centroids=self.centroids,
        )  # fmt: skip
