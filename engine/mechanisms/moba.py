"""Attention to a few blocks that each query chooses (MoBA, arXiv 2502.13189)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import QKV, param
from engine.contract.views import Routing
from engine.kernels import dense, patterns, selection
from engine.kernels.composed import Composed
from engine.kernels.rows import BLOCK
from engine.kernels.scoring import Dot
from engine.mechanisms.base import Mechanism, numbers


@dataclass(frozen=True)
class MoBA(Mechanism):
    """Softmax over the keys of `top_k` blocks: the query's own, always, and the best others.

    A block is as good as q · mean of its visible keys, exact ties go to the earlier block. Future
    blocks are never chosen causally, and the own block is read causally. Bidirectionally the
    others may lie on both sides (ours; the paper is causal). Nothing is learned. As many blocks as
    there are make it full attention; one makes it segmented attention.

    Honours everything that a QKV can hold; with a mask of pairs or a bias the output comes from
    dense rows, and neither bears on the choice.
    """

    key: ClassVar[str] = "moba"
    family: ClassVar[str] = "routing"
    paper: ClassVar[str] = "arXiv 2502.13189"
    complexity: ClassVar[str] = "n·top_k·block + n²/block"
    leaves_out: ClassVar[bool] = True
    grows: ClassVar[str] = "top_k"
    sizes: ClassVar[tuple[str, ...]] = ("block",)
    spans: ClassVar[tuple[str, ...]] = ("block", "top_k")

    block: int = param(16, low=1, slider=(4, 512), unit="tokens", log=True)
    top_k: int = param(3, low=1, slider=(1, 32), unit="blocks", log=True)

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        Dot().check(qkv)

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        if (own := self.within(qkv)) is not self:
            return own.attend(qkv)
        pattern = patterns.Blocks.of(qkv, self.block, self.top_k)
        gathered = qkv.mask is None and qkv.bias is None
        return Composed(
            qkv,
            pattern,
            output=(lambda _: _output(qkv, pattern)) if gathered else None,
            views=lambda _: (view(qkv, pattern),),
        )

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        return dense.softmax(qkv, pattern=self.reach(qkv))

    def reach(self, qkv: QKV) -> Bool[Tensor, "h n m"]:
        """Keys of the blocks that each query reads, in the open."""
        at, cols = dense.positions(qkv)
        count = -(-qkv.m // self.block)
        name = torch.arange(count, device=qkv.device)
        holds = (cols // self.block == name[:, None]) & dense.visible(qkv)  # (b m)
        mean = holds / holds.sum(-1, keepdim=True).clamp_min(1).double()
        gate = qkv.q.double() @ (mean @ dense.per_head(qkv.k, qkv)).mT * qkv.factor  # (h n b)
        own = (at.clamp_min(0) // self.block).clamp_max(count - 1)  # (n 1)
        chooses = holds.any(-1) & (name < own if qkv.causal else name != own)
        gate = gate.masked_fill(~chooses, -torch.inf).masked_fill(name == own, torch.inf)
        return selection.largest(gate, self.top_k)[..., cols // self.block]

    @property
    def selects(self) -> bool:
        return True

    def held(self, qkv: QKV) -> int:
        """Keys in float64, and the blocks that each query chooses."""
        return 8 * (numbers(qkv) + 3 * qkv.heads * qkv.n * self.top_k)

    def flops(self, qkv: QKV) -> int:
        """Gate and pairs of the chosen blocks."""
        count, width = -(-qkv.m // self.block), qkv.k.shape[-1]
        return 2 * qkv.heads * (qkv.n * count * width + self.read(qkv) * (width + qkv.v.shape[-1]))

    def read(self, qkv: QKV) -> int:
        """Pairs of the chosen blocks; a ragged last block counts whole when chosen from outside
        it."""
        b, count = self.block, -(-qkv.m // self.block)
        position = torch.arange(qkv.n) + qkv.frame.offset
        own = (position.clamp_min(0) // b).clamp_max(count - 1)
        if qkv.causal:
            inside = (position + 1 - own * b).clamp_min(0)
            pairs = inside + own.clamp_max(self.top_k - 1) * b * (position >= 0)
        else:
            inside = (qkv.m - own * b).clamp_max(b)
            pairs = (inside + min(self.top_k - 1, count - 1) * b).clamp_max(qkv.m)
        return int(pairs.sum())


def view(qkv: QKV, pattern: patterns.Blocks) -> Routing:
    """Which blocks were chosen, and by how many queries."""
    count = -(-qkv.m // pattern.block)
    chosen = pattern.chosen
    votes = torch.where(chosen < 0, count, chosen).flatten(1)
    load = torch.zeros(qkv.heads, count + 1, device=qkv.device)
    load.scatter_add_(1, votes, torch.ones_like(votes, dtype=load.dtype))
    labels = torch.arange(qkv.m, device=qkv.device) // pattern.block
    return Routing(
        kind="blocks", load=load[:, :count] / qkv.n, choices=chosen, size=pattern.block,
        labels=labels.expand(qkv.heads, -1),
    )  # fmt: skip


def _output(qkv: QKV, pattern: patterns.Blocks) -> Float[Tensor, "h n e"]:
    """Each query against one chosen block at a time, merged by online softmax.

    Queries that chose the same block are laid side by side in tiles, so that a block's keys are
    read where they lie and no score outside the chosen blocks is computed.
    """
    h, n, m, size = qkv.heads, qkv.n, qkv.m, pattern.block
    dtype = qkv.dtype if qkv.dtype == torch.float64 else torch.float32
    count, rep = -(-m // size), h // qkv.groups
    pad = (0, 0, 0, count * size - m)
    k, v = (
        F.pad(x.to(dtype), pad).unflatten(1, (count, size)).flatten(0, 1) for x in (qkv.k, qkv.v)
    )
    seen = torch.ones(m, dtype=torch.bool, device=qkv.device)
    if qkv.key_mask is not None:
        seen = qkv.key_mask.to(qkv.device)
    seen = F.pad(seen, pad[2:]).unflatten(0, (count, size))
    # one query more takes what fills up short tiles
    q = F.pad((qkv.q.to(dtype) * qkv.factor).flatten(0, 1), (0, 0, 0, 1))
    top = torch.full((h * n + 1,), -torch.inf, dtype=dtype, device=qkv.device)
    if qkv.sinks is not None:
        top[:-1] = qkv.sinks.to(dtype).repeat_interleave(n)
    total = (top > -torch.inf).to(dtype)
    out = torch.zeros(h * n + 1, v.shape[-1], dtype=dtype, device=qkv.device)
    inside = torch.arange(size, device=qkv.device)
    for slot in pattern.chosen.unbind(-1):
        for rows, block in _tiles(slot, count, size):
            head, position = rows // n, rows % n + qkv.frame.offset
            place = (head[:, 0] // rep) * count + block
            scores = q[rows] @ k[place].mT
            if qkv.softcap is not None:
                scores = (scores / qkv.softcap).tanh() * qkv.softcap
            allowed = seen[block][:, None]
            if qkv.causal:
                cols = block[:, None] * size + inside
                allowed = allowed & (cols[:, None] <= position[..., None])
            scores = scores.masked_fill(~allowed, -torch.inf)
            best = torch.maximum(top[rows], scores.amax(-1))
            still = best.masked_fill(best == -torch.inf, 0)
            weights = (scores - still[..., None]).exp()
            kept = (top[rows] - still).exp()
            out[rows] = out[rows] * kept[..., None] + weights @ v[place]
            total[rows] = total[rows] * kept + weights.sum(-1)
            top[rows] = best
    out = out / total.masked_fill(total == 0, 1)[:, None]
    return out[:-1].unflatten(0, (h, n)).to(qkv.v)


def _tiles(
    slot: Int[Tensor, "h n"], count: int, size: int
) -> Iterator[tuple[Int[Tensor, "t r"], Int[Tensor, " t"]]]:
    """Flat query positions, (tiles rows), all of one head and block a tile; and the block.

    Short tiles are filled up with the position h·n.
    """
    h, n = slot.shape
    height = min(64, max(8, size // 2))
    name = (slot + torch.arange(h, device=slot.device)[:, None] * count).flatten()
    at = torch.arange(h * n, device=slot.device)[slot.flatten() >= 0]
    name, order = name[at].sort(stable=True)
    at = at[order]
    per = torch.bincount(name, minlength=h * count)
    tiles = -(-per // height)
    first, start = per.cumsum(0) - per, tiles.cumsum(0) - tiles
    group = torch.arange(h * count, device=slot.device).repeat_interleave(tiles)
    number = torch.arange(len(group), device=slot.device) - start[group]
    inside = number[:, None] * height + torch.arange(height, device=slot.device)
    full, place = inside < per[group][:, None], first[group][:, None] + inside
    rows = torch.where(full, at[torch.where(full, place, 0)], h * n)
    block = group % count
    piece = max(1, BLOCK // (height * size))
    yield from zip(rows.split(piece), block.split(piece), strict=True)
