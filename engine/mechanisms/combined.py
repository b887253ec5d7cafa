"""A person's own mechanism: any pattern with any bias, scale and normaliser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from engine.contract import QKV, Learned, Refusal, param
from engine.kernels import dense, normalisers, patterns, selection
from engine.kernels.composed import Composed
from engine.mechanisms._distances import LEARNED, blank, fitted, tables
from engine.mechanisms.adaptive_temperature import beta, entropy
from engine.mechanisms.base import Mechanism, nearby_pairs, numbers, visible_pairs
from engine.mechanisms.lsh import Lsh
from engine.mechanisms.moba import MoBA
from engine.mechanisms.relative import KINDS, Relative, on_a_line, plain_logits, positioned
from engine.mechanisms.segmented import Segmented
from engine.mechanisms.ssmax import length_scale
from engine.mechanisms.transformer_xl import TransformerXL
from engine.mechanisms.window import Window

PATTERNS = ("all", "window", "segments", "recurrent", "hashed", "clusters", "blocks")
DISTANCE = 128
"""Distances told apart by a bias that is fitted."""


@dataclass(frozen=True)
class Combined(Mechanism):
    """Which keys a row may see, what position adds, how sharp, and how scores become weights.

    `size` is the window (both ways, the query counted), the segment and the memory before it, the
    keys of a cluster, or a block; `count` the hash buckets (one round), the clusters, or the
    blocks that a query reads. Positions, and choices by content, are those of the mechanisms of
    those names; `adaptive` takes the entropy of softmax over the pattern. A row whose pattern
    leaves it no key is zero. Sigmoid refuses sinks. Choosing keys by content reads the whole text.
    """

    key: ClassVar[str] = "combined"
    family: ClassVar[str] = "remedies"
    paper: ClassVar[str] = "a combination of several"
    complexity: ClassVar[str] = "n·keys of the pattern; n² by content"
    leaves_out: ClassVar[bool] = True
    by_head: ClassVar[bool] = True
    selection_causal: ClassVar[bool] = False
    sizes: ClassVar[tuple[str, ...]] = ("size",)
    spans: ClassVar[tuple[str, ...]] = ("size",)

    pattern: str = param("window", choices=PATTERNS)
    bias: str = param("alibi", choices=("none", *KINDS))
    scale: str = param("ssmax", choices=("none", "ssmax", "adaptive"))
    normaliser: str = param("softmax", choices=("softmax", "entmax", "softmax1", "sigmoid"))
    size: int = param(64, low=1, slider=(4, 512), unit="tokens", log=True)
    count: int = param(8, low=1, high=256, slider=(1, 64), log=True)
    s: float = param(0.43, low=0.0, slider=(0.05, 2.0), step=0.01)
    alpha: float = param(1.5, low=1.0, slider=(1.0, 2.0), step=0.05)
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        if self.normaliser == "sigmoid" and qkv.sinks is not None:
            raise Refusal("a sigmoid can't use sinks: it has no denominator for them to join")
        on_a_line(qkv, self.bias)

    @property
    def exact_zeros(self) -> bool:
        return self.normaliser == "entmax" and self.alpha > 1

    @property
    def sets_temperature(self) -> bool:
        return self.scale == "adaptive"

    @property
    def selects(self) -> bool:
        return self.pattern != "all"

    def learn(self, qkv: QKV) -> Learned | None:
        """What the bias learns, if it is one that is learnt."""
        return fitted(qkv, self.bias, DISTANCE, self.seed) if self.bias in LEARNED else None

    def learns(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return tables(qkv, self.bias)

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        return blank(self.bias, DISTANCE, heads, width)

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        learned = self.learned or self.learn(qkv)
        made = self._positioned(qkv, learned)
        pattern, normaliser = self._pattern(made), self._normaliser()

        def sharpness(rows: torch.Tensor) -> torch.Tensor:
            if self.scale == "ssmax":
                return length_scale(made, rows, self.s)
            return beta(entropy(Composed(made, pattern), rows))

        scale = None if self.scale == "none" else sharpness
        att = Composed(made, pattern, None, normaliser, beta=scale)
        if made.dtype != qkv.dtype:
            lifted = att
            att = Composed(
                made, pattern, None, normaliser, beta=scale,
                output=lambda _: lifted.output.to(qkv.dtype),
            )  # fmt: skip
        att.fidelity = learned and learned.fidelity
        return att

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        learned, seen = self.learned or self.learn(qkv), dense.allowed(qkv)
        count = seen.sum(-1, keepdim=True).clamp_min(1).double()
        # keys are chosen among q and k with their positions in them
        pairs, how = self.reach(self._positioned(qkv, learned)), self._relative(learned)
        z = dense.logits(qkv) if how is None else plain_logits(qkv, how)
        z = dense.entries(qkv, z, seen & pairs)
        if self.scale == "ssmax":
            z = z * (self.s * count.log()).clamp_min(torch.finfo(z.dtype).tiny)
        elif self.scale == "adaptive":
            w = z.softmax(-1).nan_to_num(0)
            z = z * beta(-torch.xlogy(w, w).sum(-1, keepdim=True))
        match self.normaliser:
            case "entmax":
                w = dense.entmax(z, self.alpha)
            case "sigmoid":
                w = torch.sigmoid(z - count.log())
            case "softmax1":
                w = F.pad(z, (0, 1)).softmax(-1)
            case _:
                w = z.softmax(-1).nan_to_num(0)
        return w[..., : qkv.m]

    def _relative(self, learned: Learned | None) -> Relative | None:
        """The mechanism whose positions these are; None where they stay as given."""
        if self.bias == "none":
            return None
        return Relative(self.bias, DISTANCE, self.seed, learned=learned)

    def _positioned(self, qkv: QKV, learned: Learned | None) -> QKV:
        how = self._relative(learned)
        return qkv if how is None else positioned(qkv, how)

    def reach(self, qkv: QKV) -> Bool[Tensor, "h n m"] | Bool[Tensor, "n m"]:
        """The pattern in the open."""
        size, count = self.size, self.count
        match self.pattern:
            case "window":
                return Window(size, 0).reach(qkv)
            case "segments":
                return Segmented(size).reach(qkv)
            case "recurrent":
                return TransformerXL(size, size).reach(qkv)
            case "hashed":
                return Lsh(buckets=count, rounds=1, seed=self.seed).reach(qkv)
            case "clusters":
                centroids = selection.centroids(qkv, count, self.seed)
                queries, keys = selection.members(qkv, centroids, size)  # (h C n), (h C m)
                return (queries[..., None] & keys[:, :, None]).any(1)
            case "blocks":
                return MoBA(size, count).reach(qkv)
            case _:
                return torch.ones(qkv.n, qkv.m, dtype=torch.bool, device=qkv.device)

    def _pattern(self, qkv: QKV) -> patterns.Pattern:
        size, count = self.within(qkv).size, self.count
        match self.pattern:
            case "window":
                return patterns.near(qkv.frame, size)
            case "segments":
                return patterns.Segments(size)
            case "recurrent":
                return patterns.Recurrent(size, size)
            case "hashed":
                return patterns.Hashed.of(qkv, count, 1, self.seed)
            case "clusters":
                return patterns.Clusters.of(qkv, count, size, self.seed)
            case "blocks":
                return patterns.Blocks.of(qkv, size, count)
            case _:
                return patterns.Everything()

    def _normaliser(self) -> normalisers.Normaliser:
        match self.normaliser:
            case "entmax":
                return normalisers.Entmax(self.alpha)
            case "sigmoid":
                return normalisers.Sigmoid()
            case name:
                return normalisers.Softmax(zero=name == "softmax1")

    def shown(self, qkv: QKV) -> int:
        return nearby_pairs(qkv, self.pairs(qkv))

    def pairs(self, qkv: QKV) -> int:
        """Those of the pattern; all, where it goes by content."""
        match self.pattern:
            case "window":
                return Window(self.size, sinks=0).pairs(qkv)
            case "segments":
                return TransformerXL(self.size, memory=0).pairs(qkv)
            case "recurrent":
                return TransformerXL(self.size, self.size).pairs(qkv)
            case _:
                return visible_pairs(qkv)

    @property
    def idle(self) -> tuple[str, ...]:
        size, fits = self.pattern not in ("all", "hashed"), self.bias in LEARNED
        bears = {
            "size": size, "count": self.pattern in ("hashed", "clusters", "blocks"),
            "s": self.scale == "ssmax", "alpha": self.normaliser == "entmax",
            "seed": fits or self.pattern in ("hashed", "clusters"),
        }  # fmt: skip
        return tuple(name for name, does in bears.items() if not does)

    @property
    def order(self) -> str:
        return "n·size" if self.pattern in ("window", "segments", "recurrent") else "n²"

    def held(self, qkv: QKV) -> int:
        """What positions, hashes or clusters need, whichever is most."""
        return 2 * 8 * numbers(qkv) + 8 * 4 * qkv.heads * self.count * (qkv.n + qkv.m)

    def flops(self, qkv: QKV) -> int:
        """Products with keys and values; positions and choices of keys not counted."""
        passes = 2 if self.scale == "adaptive" else 1
        return 2 * qkv.heads * self.pairs(qkv) * (passes * qkv.k.shape[-1] + qkv.v.shape[-1])
