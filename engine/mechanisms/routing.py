"""A mixture of attention paths that each token weighs for itself.

P = softmax(X W_r) over the paths, output = Σ P_p Attn_p; keeping a few and renormalising is as in
mixtures of attention heads (arXiv 2210.05144). The paths are full attention, a window, a stride
(both arXiv 1904.10509) and the top keys (arXiv 2106.06899).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import Parameter

from engine.contract import QKV, Block, Index, index, param
from engine.contract.learned import Fidelity, Learned
from engine.contract.views import Parts, Routing
from engine.kernels import dense, patterns, selection
from engine.kernels.composed import Composed
from engine.kernels.normalisers import TopK
from engine.kernels.rows import BLOCK
from engine.kernels.selection import largest
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism, numbers, visible_pairs
from engine.mechanisms.softmax import Softmax
from engine.mechanisms.window import Window

NAMES = ("global", "local", "strided", "top_k")
ROUTES = ("fitted", "uniform", "random")
ROWS = 512
"""Rows of full attention that the router is fitted to; every fourth of them is held out."""
LEAST = 1e-3
"""A captured mass below this counts as this much, in the logarithm that is fitted."""
RIDGES = torch.logspace(-5, 2, 15, dtype=torch.float64)


@dataclass(frozen=True)
class Routed(Mechanism):
    """Σ_p P_p · softmax over path p; the paths are, in this order, global, local (|i − j| <
    width), strided (every width-th key) and top-k (the `width` highest scores).

    P is a softmax of the layer's input x (of the heads' queries side by side, where there is no
    layer) by a W_r of each head; the `top_k` likeliest paths are kept and renormalised. The fitted
    W_r stands for what training would find: ridge regression of the logarithm of full attention's
    mass inside each path, the penalty by generalised cross-validation. Uniform (W_r = 0) and
    random are contrasts. A path that sees no key takes no part in a row. Every path of a layer is
    computed for all rows. Honours everything that a QKV can hold.
    """

    key: ClassVar[str] = "routing"
    family: ClassVar[str] = "routing"
    paper: ClassVar[str] = "arXiv 2210.05144, 1904.10509"
    complexity: ClassVar[str] = "n² + n·width + n²/width"
    sizes: ClassVar[tuple[str, ...]] = ("width",)
    blocks_at_once: ClassVar[int] = 8
    spans: ClassVar[tuple[str, ...]] = ("width",)

    paths: int = param(4, low=1, high=4, slider=(1, 4))
    top_k: int = param(4, low=1, slider=(1, 4))
    route: str = param("fitted", choices=ROUTES)
    width: int = param(32, low=1, slider=(4, 256), unit="tokens", log=True)
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def ways(self, qkv: QKV) -> list[Composed]:
        """The paths, each an attention of its own."""
        width = self.within(qkv).width
        strided = Composed(
            qkv, patterns.Strided(width), output=lambda own: _by_residues(own, width)
        )
        top = Composed(qkv, patterns.Everything(), normaliser=TopK(width))
        near = Window(window=width, sinks=0).attend(qkv)
        return [Softmax().attend(qkv), near, strided, top][: self.paths]

    def learn(self, qkv: QKV) -> Learned:
        """w_r (h D paths) and b_r (h paths), for x as it is; fidelity: overlap of P, on
        rows held out, with each path's share of the captured mass."""
        x, h, p = tokens(qkv), qkv.heads, self.paths
        if self.paths == 1 or self.route == "uniform":
            weights = {"w_r": x.new_zeros(h, x.shape[1], p), "b_r": x.new_zeros(h, p)}
            return Learned(weights)
        rows = selection.sample(qkv.n, ROWS)
        held = torch.arange(len(rows)) % 4 == 3
        used = ~held
        if not held.any():  # fewer than four rows: nothing to hold out
            held = used
        train, test = rows[used], rows[held]
        mean, spread = x[train].mean(0), x[train].std(0, correction=0)
        spread = torch.where(spread > 1e-9, spread, torch.inf)
        draw = torch.Generator().manual_seed(self.seed)
        chance = torch.randn(h, x.shape[1], p, generator=draw, dtype=torch.float64)
        chance = chance * x.shape[1] ** -0.5
        z = (x - mean) / spread
        offset = torch.zeros(h, p, dtype=torch.float64)
        solved, fidelity = chance, None
        if self.route == "fitted":
            mass = self._captured(qkv, rows)
            logits = mass.clamp_min(LEAST).log()
            solved, offset = ridge(z[train], logits[:, used])
            share = mass / mass.sum(-1, keepdim=True).clamp_min(1e-12)
            value, random = (
                overlap((z[test] @ w + b[:, None]).softmax(-1), share[:, held])
                for w, b in ((solved, offset), (chance, torch.zeros_like(offset)))
            )
            fidelity = Fidelity("path_mass", value, random)
        w = solved / spread[:, None]
        b = offset - (mean @ w)
        moved = {"w_r": w.to(qkv.device), "b_r": b.to(qkv.device)}
        return Learned(moved, fidelity)

    def learns(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return {
            "w_r": (qkv.heads, _width(qkv), self.paths),
            "b_r": (qkv.heads, self.paths),
        }

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        """An even mixture."""
        sizes = {"w_r": (heads, read, self.paths), "b_r": (heads, self.paths)}
        return {name: Parameter(torch.zeros(size)) for name, size in sizes.items()}

    def _captured(self, qkv: QKV, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r p"]:
        """Share of full attention's mass on the keys of each path."""
        full, *others = self.ways(qkv)
        cols = torch.arange(qkv.m, device=qkv.device)
        found = []
        for at in rows.to(qkv.device).split(max(1, BLOCK // (qkv.heads * qkv.m))):
            w = full.weights(at).double()
            kept = [w.sum(-1)]
            for way in others:
                if isinstance(way.normaliser, TopK):
                    inside = largest(w, self.width)
                else:
                    inside = way.pattern.allows(at + qkv.frame.offset, cols)
                    assert inside is not None
                kept.append((w * inside).sum(-1))
            found.append(torch.stack(kept, -1) / kept[0][..., None].clamp_min(1e-300))
        return torch.cat(found, 1).cpu()

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        learned = self.learned or self.learn(qkv)
        w, b = (learned.weights[name].to(qkv.device) for name in ("w_r", "b_r"))
        ways = self.ways(qkv)
        logits = tokens(qkv).to(qkv.device) @ w + b[:, None]
        blind = _blind(qkv, ways)
        if blind is not None:
            logits = logits.masked_fill(blind, -torch.inf)
        gate = logits.softmax(-1).nan_to_num(0)
        kept = gate * largest(logits, self.top_k)
        kept = kept / kept.sum(-1, keepdim=True).clamp_min(1e-300)
        att = Mixture(qkv, ways, gate, kept)
        att.fidelity = learned.fidelity
        return att

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        learned = self.learned or self.fit(qkv).learned
        assert learned is not None
        w, b = (learned.weights[name].to(qkv.device) for name in ("w_r", "b_r"))
        seen = dense.allowed(qkv) & (dense.logits(qkv) > -torch.inf)
        at, cols = dense.positions(qkv)
        top = largest(dense.logits(qkv).masked_fill(~seen, -torch.inf), self.width)
        near, strided = dense.steps(qkv).amax(0) < self.width, (at - cols) % self.width == 0
        paths = [seen & x for x in (seen, near, strided, top)][: self.paths]
        logits = tokens(qkv).to(qkv.device) @ w + b[:, None]  # (h n p)
        logits = logits.masked_fill(~torch.stack([x.any(-1) for x in paths], -1), -torch.inf)
        kept = logits.masked_fill(~largest(logits, self.top_k), -torch.inf)
        shares = kept.softmax(-1).nan_to_num(0).unbind(-1)
        ways = (dense.softmax(qkv, pattern=x) for x in paths)
        return torch.stack([p[..., None] * x for p, x in zip(shares, ways, strict=True)]).sum(0)

    @property
    def idle(self) -> tuple[str, ...]:
        return ("seed",) if self.route == "uniform" else ()

    def held(self, qkv: QKV) -> int:
        """What the router reads in float64, the gates, and an output a path."""
        wide = qkv.n * (3 * _width(qkv) + 4 * qkv.heads * self.paths)
        return 8 * wide + 4 * self.paths * numbers(qkv)

    def flops(self, qkv: QKV) -> int:
        """The router and all pairs of every path; choosing the top keys is not counted."""
        width = qkv.k.shape[-1] + qkv.v.shape[-1]
        at = torch.arange(qkv.n) + qkv.frame.offset
        last = at.clamp_max(qkv.m - 1) if qkv.causal else torch.full_like(at, qkv.m - 1)
        near = Window(self.width, sinks=0).pairs(qkv)
        stride = (last - at % self.width).div(self.width, rounding_mode="floor") + 1
        far = visible_pairs(qkv)
        pairs = (far, near, int(stride.clamp_min(0).sum()), far)
        router = qkv.n * _width(qkv) * self.paths if self.paths > 1 else 0
        return 2 * qkv.heads * (sum(pairs[: self.paths]) * width + router)


def tokens(qkv: QKV) -> Float[Tensor, "n D"]:
    """What the router reads: the layer's input, or without a layer all heads' queries."""
    x = _input(qkv)
    return (qkv.q.transpose(0, 1).flatten(1) if x is None else x).double().cpu()


def _input(qkv: QKV) -> Float[Tensor, "n D"] | None:
    x = None if qkv.layer is None else qkv.layer.x
    return None if x is None or len(x) != qkv.n else x


def _width(qkv: QKV) -> int:
    """How many numbers the router reads of a token."""
    x = _input(qkv)
    return qkv.heads * qkv.q.shape[-1] if x is None else x.shape[1]


def ridge(
    x: Float[Tensor, "r D"], y: Float[Tensor, "h r p"]
) -> tuple[Float[Tensor, "h D p"], Float[Tensor, "h p"]]:
    """Ridge regression with an intercept; each head's penalty by generalised cross-validation."""
    mean = y.mean(1)
    rest = y - mean[:, None]
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    along = u.T @ rest  # (h k p)
    best = torch.full((len(y),), torch.inf, dtype=torch.float64)
    found = torch.zeros(len(y), x.shape[1], y.shape[2], dtype=torch.float64)
    for penalty in RIDGES * len(x) * max(1, x.shape[1]):
        keep = s**2 / (s**2 + penalty)
        left = len(x) - 1 - keep.sum()
        if left < 1:
            continue
        error = (rest - u @ (keep[:, None] * along)).square().sum((1, 2)) / left**2
        w = vt.T @ ((s / (s**2 + penalty))[:, None] * along)
        better = error < best
        found[better], best[better] = w[better], error[better]
    return found, mean


def overlap(found: Float[Tensor, "h r p"], truth: Float[Tensor, "h r p"]) -> Float[Tensor, " h"]:
    """What two distributions over paths share, Σ min, averaged over rows; 1 if they are one."""
    return torch.minimum(found, truth).sum(-1).mean(1).float()


def _blind(qkv: QKV, ways: list[Composed]) -> Bool[Tensor, "h n p"] | None:
    """Rows that see no key by a path; None where every row sees its own key. A key whose bias is
    −inf is not seen."""
    if qkv.key_mask is None and qkv.mask is None and qkv.bias is None and qkv.n == qkv.m:
        return None
    cols = torch.arange(qkv.m, device=qkv.device)
    found = torch.zeros(qkv.heads, qkv.n, len(ways), dtype=torch.bool, device=qkv.device)
    everyone = torch.arange(qkv.n, device=qkv.device)
    for rows in everyone.split(max(1, BLOCK // (qkv.heads * qkv.m))):
        open_ = None if qkv.bias is None else qkv.bias(rows, cols) > -torch.inf
        for p, way in enumerate(ways):
            seen = way.allowed(rows, cols)
            if open_ is not None:
                seen = open_ if seen is None else seen & open_
            found[:, rows, p] = False if seen is None else ~seen.any(-1)
    return found


def _by_residues(att: Composed, stride: int) -> Float[Tensor, "h n e"]:
    """Strided attention as attention among positions with one remainder, n²/stride pairs."""
    frame, everyone = att.frame, slice(0, att.frame.heads)
    out = torch.zeros(
        frame.heads, frame.n, att.qkv.v.shape[-1], dtype=att.dtype, device=att.device
    )
    at = torch.arange(frame.n, device=att.device)
    for remainder in range(min(stride, frame.m)):
        cols = torch.arange(remainder, frame.m, stride, device=att.device)
        mine = at[(at + frame.offset) % stride == remainder]
        for rows in mine.split(max(1, BLOCK // (2 * frame.heads * len(cols)))):
            if len(rows):
                logits = att.finish(att.scores(everyone, rows, cols), everyone, rows, cols)
                block = Block(rows, cols, att.normalise(logits, rows, cols))
                out[:, rows] = att.weigh(block)
    return out.to(att.qkv.v)


class Mixture(Attention):
    """Paths of one QKV, mixed row by row."""

    def __init__(
        self,
        qkv: QKV,
        ways: list[Composed],
        gate: Float[Tensor, "h n p"],
        kept: Float[Tensor, "h n p"],
    ) -> None:
        super().__init__(qkv.frame, views=lambda own: (own._view(), own._parts()))
        self.qkv, self.ways, self.gate, self.kept = qkv, ways, gate, kept
        self.row_kind = ways[0].row_kind

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    def weighted(self) -> Tensor:
        found = torch.zeros((), dtype=self.ways[0].dtype, device=self.device)
        for p, way in enumerate(self.ways):
            share = self.kept[..., p, None].to(found)
            found = found + share * way.output.to(found)
        return found.to(self.qkv.v)

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        qkv, full = self.qkv, self.ways[0]
        everyone, cols = slice(0, qkv.heads), torch.arange(qkv.m, device=self.device)
        at = index(rows, qkv.n, self.device)
        for part in at.split(max(1, BLOCK // (2 * qkv.heads * qkv.m))):
            logits = full.finish(full.scores(everyone, part, cols), everyone, part, cols)
            weights = torch.zeros_like(logits)
            for p, way in enumerate(self.ways):
                share = self.kept[:, part, p, None].to(weights)
                weights += share * way.normalise(logits, part, cols)
            yield Block(part, slice(0, qkv.m), weights)

    def _view(self) -> Routing:
        labels = None
        if self.qkv.n == self.qkv.m:
            labels = torch.where(self.kept.sum(-1) > 0, self.kept.argmax(-1), -1)
        return Routing(
            kind="paths", names=NAMES[: len(self.ways)], load=(self.kept > 0).float().mean(1),
            probabilities=self.kept, gate=self.gate, labels=labels,
        )  # fmt: skip

    def part(self, p: int, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r m"]:
        """What path p brings to the weights of these rows."""
        found = self.ways[p].weights(rows)
        return found * self.kept[:, rows, p, None].to(found)

    def _parts(self) -> Parts:
        return Parts(
            {name: partial(self.part, p) for p, name in enumerate(NAMES[: len(self.ways)])}
        )
