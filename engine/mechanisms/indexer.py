"""Attention to the few keys that a cheap index picks (DeepSeek Sparse Attention and its kin)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from engine.contract import QKV, param
from engine.contract.learned import Fidelity, Learned
from engine.contract.views import Index, View
from engine.kernels import dense, patterns, selection
from engine.kernels.composed import Composed
from engine.kernels.picked import Picked
from engine.kernels.rows import BLOCK
from engine.kernels.scoring import Dot
from engine.mechanisms.base import Mechanism, numbers
from engine.mechanisms.moba import MoBA
from engine.mechanisms.moba import view as by_blocks

SCORES = ("learned", "mean", "max", "bounds")
UNITS = 4
"""Of the learned index."""
ROWS, KEYS = 64, 256
"""Queries and keys that it is fitted to at most."""
STEPS, RATE = 20, 0.04
"""Of Adam, and how far one goes, as a share of the weights' size."""
SEEN = 256
"""Rows of which the view tells."""


@dataclass(frozen=True)
class Indexer(Mechanism):
    """Softmax over the keys of `top_k` blocks: the query's own, always, and those that an index
    puts first. With `block` 1 these are single keys, as in DeepSeek Sparse Attention.

    "learned" is its lightning indexer, Σ_u w_u ReLU(A_u q · B k) with projections into `width`
    dimensions, a block as good as its best key; it is fitted to the head's own weights by their
    KL divergence, as in the paper's warm-up, from the best product of that width. (The paper
    reads the layer's input, one index for all heads, and lets the token decide w.) "mean" takes
    q · mean key (MoBA, which this is then), "max" the block's largest q·k (MiniMax-M3), "bounds"
    what q·k can't exceed within the block's range of each dimension (Quest). Exact ties go to the
    earlier block. Blocks enough for the whole text make it full attention.

    Honours everything that a QKV can hold; masks of pairs and biases don't bear on the choice.
    """

    key: ClassVar[str] = "indexer"
    family: ClassVar[str] = "routing"
    paper: ClassVar[str] = "arXiv 2512.02556, 2406.10774, 2502.13189"
    complexity: ClassVar[str] = "n·top_k·block + n²·width"
    leaves_out: ClassVar[bool] = True
    by_head: ClassVar[bool] = True
    grows: ClassVar[str] = "top_k"
    sizes: ClassVar[tuple[str, ...]] = ("top_k", "block")
    blocks_at_once: ClassVar[int] = 8
    spans: ClassVar[tuple[str, ...]] = ("block", "top_k")

    score: str = param("learned", choices=SCORES)
    block: int = param(1, low=1, slider=(1, 64), unit="tokens", log=True)
    top_k: int = param(32, low=1, slider=(1, 512), unit="blocks", log=True)
    width: int = param(8, low=1, high=1024, slider=(1, 64), log=True)
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        Dot().check(qkv)

    def attend(self, qkv: QKV) -> Picked:
        self.check(qkv)
        if (own := self.within(qkv)) is not self:
            return own.attend(qkv)
        learned = self.learned or self.learn(qkv)
        gate = self.gate(qkv, learned)
        pattern = patterns.Blocks.of(qkv, self.block, self.top_k, gate)
        att = Picked(qkv, pattern, views=lambda _: _views(qkv, pattern, gate))
        att.fidelity = learned and learned.fidelity
        return att

    def gate(self, qkv: QKV, learned: Learned | None) -> selection.Gate:
        """What the index says of every block, in float64."""
        if self.score == "mean":
            return selection.by_mean(qkv, self.block)
        if self.score == "bounds":
            return _bounds(qkv, self.block)
        if self.score == "max":
            return lambda rows, count: _best(
                qkv, _products(qkv, rows, count * self.block), self.block
            )
        assert learned is not None
        a, b, w = (learned.weights[x].double().to(qkv.device) for x in "abw")
        keys = dense.per_head(qkv.k, qkv) @ b.mT  # (h m c)

        def gate(rows: Tensor, count: int) -> Tensor:
            some = keys[:, : count * self.block].mT
            read = qkv.q[:, rows].double() @ a.flatten(1, 2).mT  # (h r u·c)
            total = None
            for each, weight in zip(read.split(a.shape[2], -1), w.unbind(1), strict=True):
                one = (each @ some).clamp_min_(0).mul_(weight[:, None, None])
                total = one if total is None else total.add_(one)
            assert total is not None
            return _best(qkv, total, self.block)

        return gate

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        return dense.softmax(qkv, pattern=self.reach(qkv))

    def reach(self, qkv: QKV) -> Bool[Tensor, "h n m"]:
        """Keys of the blocks that each query reads, in the open."""
        if self.score == "mean":
            return MoBA(self.block, self.top_k).reach(qkv)
        at, cols = dense.positions(qkv)
        name = torch.arange(-(-qkv.m // self.block), device=qkv.device)
        holds = (cols // self.block == name[:, None]) & dense.visible(qkv)  # (b m)
        q, k = qkv.q.double(), dense.per_head(qkv.k, qkv)
        if self.score == "bounds":
            inside = holds[..., None]
            low = k[:, None].masked_fill(~inside, torch.inf).amin(2)[:, None]  # (h 1 b d)
            high = k[:, None].masked_fill(~inside, -torch.inf).amax(2)[:, None]
            q = q[:, :, None] * qkv.factor
            index = torch.maximum(q * low, q * high).sum(-1)
        else:
            z = q @ k.mT * qkv.factor
            if self.score == "learned":
                learned = self.learned or self.learn(qkv)
                assert learned is not None
                a, b, w = (learned.weights[x].double() for x in "abw")
                units = torch.einsum("hucd,hnd,hce,hme->hunm", a, q, b, k).relu()
                z = (units * w[:, :, None, None]).sum(1)
            index = z[:, :, None].masked_fill(~holds, -torch.inf).amax(-1)  # (h n b)
        own = (at.clamp_min(0) // self.block).clamp_max(len(name) - 1)
        chooses = holds.any(-1) & (name < own if qkv.causal else name != own)
        index = index.masked_fill(~chooses, -torch.inf).masked_fill(name == own, torch.inf)
        return selection.largest(index, self.top_k)[..., cols // self.block]

    @property
    def idle(self) -> tuple[str, ...]:
        return () if self.score == "learned" else ("width", "seed")

    @property
    def formulas(self) -> tuple[str, ...]:
        return ("", self.score)

    @property
    def selects(self) -> bool:
        return True

    def learn(self, qkv: QKV) -> Learned | None:
        """a (h u c d), b (h c d) and w (h u) of the learned index."""
        if self.score != "learned":
            return None
        draw = torch.Generator().manual_seed(self.seed)
        width = min(self.width, qkv.q.shape[-1])
        chance = random(qkv.heads, qkv.q.shape[-1], width, draw)
        found = {name: x.to(qkv.device) for name, x in fitted(qkv, width, chance).items()}
        kept = (
            captured(qkv, self.gate(qkv, Learned(weights)), self.block, self.top_k)
            for weights in (found, chance)
        )
        return Learned(found, Fidelity("captured_mass", *kept))

    def learns(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        if self.score != "learned":
            return {}
        h, d = qkv.heads, qkv.q.shape[-1]
        c = min(self.width, d)
        return {"a": (h, UNITS, c, d), "b": (h, c, d), "w": (h, UNITS)}

    def held(self, qkv: QKV) -> int:
        """Keys in float64 as the index has them, what is chosen, and scores of a few rows."""
        rows = 8 * 4 * selection.GATES + 8 * 6 * qkv.heads * min(qkv.n, ROWS) * min(qkv.m, KEYS)
        return 8 * (2 * numbers(qkv) + 3 * qkv.heads * qkv.n * self.top_k) + rows

    def shown(self, qkv: QKV) -> int:
        return self.pairs(qkv)

    def pairs(self, qkv: QKV) -> int:
        """Those of the chosen blocks; a ragged last block counts whole when chosen from outside
        it."""
        return MoBA(self.block, self.top_k).read(qkv)

    def flops(self, qkv: QKV) -> int:
        """The index of every block or key, and the pairs of those chosen; not the fit."""
        count, d = -(-qkv.m // self.block), qkv.k.shape[-1]
        each = {
            "mean": count * 2 * d,
            "bounds": count * 4 * d,
            "max": qkv.m * 2 * d,
            "learned": qkv.m * UNITS * (2 * min(self.width, d) + 2),
        }[self.score]
        return qkv.heads * (qkv.n * each + 2 * self.pairs(qkv) * (d + qkv.v.shape[-1]))


def _products(qkv: QKV, rows: Tensor, keys: int) -> Float[Tensor, "h r c"]:
    """Scaled products with the first keys."""
    q = qkv.q[:, rows].double().mul(qkv.factor).unflatten(0, (qkv.groups, -1))
    z = q.flatten(1, 2) @ qkv.k[:, :keys].double().mT
    return z.unflatten(1, q.shape[1:3]).flatten(0, 1)


def _best(qkv: QKV, scores: Float[Tensor, "h r m"], block: int) -> Float[Tensor, "h r b"]:
    """The best visible key of each of the first blocks; scores may be changed."""
    if qkv.key_mask is not None:
        hidden = ~qkv.key_mask.to(scores.device)[: scores.shape[-1]]
        scores = scores.masked_fill_(hidden, -torch.inf)
    if block == 1:
        return scores
    scores = F.pad(scores, (0, -scores.shape[-1] % block), value=-torch.inf)
    return scores.unflatten(-1, (-1, block)).amax(-1)


def _bounds(qkv: QKV, block: int) -> selection.Gate:
    """Σ_d max(q_d · least k_d, q_d · largest k_d) of a block's visible keys."""
    k, pad = qkv.k.double(), (0, 0, 0, -qkv.m % block)
    hidden = torch.zeros(qkv.m, 1, dtype=torch.bool, device=k.device)
    if qkv.key_mask is not None:
        hidden = ~qkv.key_mask.to(k.device)[:, None]
    low, high = (
        F.pad(k.masked_fill(hidden, edge), pad, value=edge).unflatten(1, (-1, block))
        for edge in (torch.inf, -torch.inf)
    )
    # of blocks without a visible key nothing is asked
    low = low.amin(2).nan_to_num(posinf=0.0).mT
    high = high.amax(2).nan_to_num(neginf=0.0).mT

    def gate(rows: Tensor, count: int) -> Tensor:
        q = qkv.q[:, rows].double().mul(qkv.factor).unflatten(0, (qkv.groups, -1))
        shape, q = q.shape[1:3], q.flatten(1, 2)
        found = q.clamp_min(0) @ high[..., :count] + q.clamp_max(0) @ low[..., :count]
        return found.unflatten(1, shape).flatten(0, 1)

    return gate


def random(heads: int, d: int, width: int, draw: torch.Generator) -> dict[str, Tensor]:
    """An index before any training, in float64."""
    shapes = {"a": (heads, UNITS, width, d), "b": (heads, width, d), "w": (heads, UNITS)}
    return {
        name: torch.randn(shape, generator=draw, dtype=torch.float64) * shape[-1] ** -0.5
        for name, shape in shapes.items()
    }


def fitted(qkv: QKV, width: int, chance: dict[str, Tensor]) -> dict[str, Tensor]:
    """The index whose softmax comes nearest to the head's own weights: in float64 and on the CPU,
    so that each device makes the same choice.

    It starts as the best product of that width, x = ReLU(x) − ReLU(−x), with further units that
    weigh nothing, and goes down the mean of KL(weights ‖ softmax(index)) over a sample of rows.
    """
    rows, keys = (selection.sample(x, most) for x, most in ((qkv.n, ROWS), (qkv.m, KEYS)))
    rows, keys = rows.to(qkv.device), keys.to(qkv.device)
    seen = qkv.frame.visible(rows, keys)
    if seen is None:
        seen = torch.ones(len(rows), len(keys), dtype=torch.bool, device=qkv.device)
    seen = seen.cpu()
    full = Composed(qkv, patterns.Everything()).weights(rows)[..., keys].double().cpu()
    target = full / full.sum(-1, keepdim=True).clamp_min(1e-300)
    q, k = qkv.q.double().cpu(), dense.per_head(qkv.k, qkv).cpu()
    # what a row's scores share is nothing to a softmax: keys count from their mean
    q_root, q_back = _roots(q)
    k_root, k_back = _roots(k - k.mean(1, keepdim=True))
    u, s, vh = torch.linalg.svd(qkv.factor * q_root @ k_root)
    share = s[:, :width, None].sqrt()
    a, b = share * u.mT[:, :width] @ q_back, share * vh[:, :width] @ k_back
    spare = 0.1 * a.square().mean().sqrt() * chance["a"][:, 2:]
    w = torch.zeros(qkv.heads, UNITS, dtype=torch.float64)
    w[:, 0], w[:, 1] = 1, -1
    start = {"a": torch.cat([torch.stack([a, -a], 1), spare], 1), "b": b, "w": w}
    return descended(q[:, rows.cpu()], k[:, keys.cpu()], target, seen, start)


def _roots(x: Float[Tensor, "h r d"]) -> tuple[Float[Tensor, "h d d"], Float[Tensor, "h d d"]]:
    """Root of the second moment, and its inverse; directions that hardly occur count little."""
    values, vectors = torch.linalg.eigh(x.mT @ x / x.shape[1])
    size = values.clamp_min(1e-4 * values.amax(-1, keepdim=True)).clamp_min(1e-12).sqrt()
    return (vectors * size[:, None]) @ vectors.mT, (vectors / size[:, None]) @ vectors.mT


def divergence(
    q: Float[Tensor, "h r d"],
    k: Float[Tensor, "h m d"],
    target: Float[Tensor, "h r m"],
    seen: Bool[Tensor, "r m"],
    weights: dict[str, Tensor],
) -> tuple[Float[Tensor, " h"], dict[str, Tensor]]:
    """Mean KL(target ‖ softmax(index)) over rows that see a key, and its gradient."""
    a, b, w = (weights[x] for x in "abw")
    read, keys = q[:, None] @ a.mT, k @ b.mT  # (h u r c), (h m c)
    s = read @ keys.mT[:, None]  # (h u r m)
    unit = s.relu()
    index = (unit * w[..., None, None]).sum(1)
    index = index.masked_fill(~seen, -torch.inf)
    rows = seen.any(-1)
    log = index.log_softmax(-1).masked_fill(~seen, 0)
    log = torch.where(rows[:, None], log, 0)
    count = rows.sum().clamp_min(1)
    loss = (torch.xlogy(target, target) - target * log).sum((-2, -1)) / count
    slope = ((log.exp() - target) * (seen & rows[:, None])) / count  # d loss / d index
    into = slope[:, None] * w[..., None, None] * (s > 0)
    return loss, {
        "a": (into @ keys[:, None]).mT @ q[:, None],
        "b": (into.mT @ read).sum(1).mT @ k,
        "w": (slope[:, None] * unit).sum((-2, -1)),
    }


def descended(
    q: Tensor, k: Tensor, target: Tensor, seen: Tensor, start: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The best of STEPS steps of Adam (arXiv 1412.6980), each head's by itself."""
    weights = {name: x.clone() for name, x in start.items()}
    size = {n: x.flatten(1).square().mean(1).sqrt().clamp_min(1e-12) for n, x in start.items()}
    first, second = ({n: torch.zeros_like(x) for n, x in start.items()} for _ in range(2))
    best, least = dict(start), torch.full((len(q),), torch.inf, dtype=torch.float64)
    for step in range(1, STEPS + 2):
        loss, slope = divergence(q, k, target, seen, weights)
        better = loss < least
        least = torch.where(better, loss, least)
        for n, x in weights.items():
            each = (-1,) + (1,) * (x.ndim - 1)
            best[n] = torch.where(better.view(each), x, best[n])
            first[n] = 0.9 * first[n] + 0.1 * slope[n]
            second[n] = 0.99 * second[n] + 0.01 * slope[n].square()
            by = first[n] / (1 - 0.9**step) / ((second[n] / (1 - 0.99**step)).sqrt() + 1e-12)
            weights[n] = x - RATE * size[n].view(each) * by
    return best


def captured(qkv: QKV, gate: selection.Gate, block: int, top_k: int) -> Float[Tensor, " h"]:
    """Share of full attention's weight on what the index picks, over a sample of rows."""
    rows = selection.sample(qkv.n, ROWS).to(qkv.device)
    full = Composed(qkv, patterns.Everything()).weights(rows)
    pattern = patterns.Blocks(selection.blocks(qkv, block, top_k, gate, rows), block)
    inside = pattern.allows(torch.arange(len(rows)), torch.arange(qkv.m, device=qkv.device))
    return ((full * inside).sum((1, 2)) / full.sum((1, 2)).clamp_min(1e-12)).float().cpu()


def _views(qkv: QKV, pattern: patterns.Blocks, gate: selection.Gate) -> tuple[View, ...]:
    """What was chosen, and the index beside what it stands in for."""
    rows = selection.sample(qkv.n, SEEN).to(qkv.device)
    cols = torch.arange(qkv.m, device=qkv.device)
    found, lost = [], []
    for part in rows.split(max(1, BLOCK // (4 * qkv.heads * qkv.m))):
        full = Composed(qkv, patterns.Everything()).weights(part)
        inside = pattern.allows(part + qkv.frame.offset, cols)
        read = inside & (full > 0)
        count = read.sum(-1, keepdim=True)
        # the row's largest weights, as many as it reads
        rank = full.argsort(stable=True, dim=-1, descending=True).argsort(-1)
        found.append((read & (rank < count)).sum(-1) / count.squeeze(-1).clamp_min(1))
        lost.append(full.masked_fill(inside, 0).sum(-1))

    def score(rows: Tensor) -> Tensor:
        count = -(-qkv.m // pattern.block)
        scores = gate(rows, count)
        own = ((rows + qkv.frame.offset).clamp_min(0) // pattern.block)[:, None]
        ahead = torch.arange(count, device=qkv.device) > own
        return scores.masked_fill(ahead, -torch.inf) if qkv.causal else scores

    index = Index(
        score, pattern.chosen, pattern.block, rows, torch.cat(found, 1).float(),
        torch.cat(lost, 1).float(),
    )  # fmt: skip
    return (index,) if pattern.block == 1 else (by_blocks(qkv, pattern), index)
