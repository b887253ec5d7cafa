"""A memory of fixed size beside the row's own segment (Infini-attention, arXiv 2404.07143)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Parameter

from engine.contract import QKV, Block, Index, Refusal, index, param
from engine.contract.learned import Fidelity, Learned
from engine.contract.views import Parts, Returns, View
from engine.kernels import dense, patterns, selection
from engine.kernels.composed import Composed
from engine.kernels.rows import BLOCK
from engine.kernels.scoring import Dot
from engine.kernels.sdpa import fits_sdpa, sdpa_blocks
from engine.measure import ages
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism, by_pair, numbers
from engine.mechanisms.linear import Elu1
from engine.runtime.cached import cached_property

SAMPLE = 64
"""Rows that gates are fitted to at most."""
PARTS = 32
"""Moments, and pieces of text, of which it is told what the memory returns."""


@dataclass(frozen=True)
class Infini(Mechanism):
    """g · what a memory returns + (1 − g) · softmax over the row's own segment, g = σ(β) of each
    head.

    The memory is one matrix M and one vector z a head, whatever the length: when a segment ends,
    M ← M + Σ φ(k) vᵀ and z ← z + Σ φ(k), with φ = elu + 1, and a row reads φ(q)ᵀM / φ(q)·z. That
    is linear attention to all earlier segments. With the paper's "delta" update a segment first
    takes off what the memory returns for its keys, v − φ(k)ᵀM / φ(k)·z, so that weights may be
    negative. Rows of the first segment find the memory empty and sum to 1 − g.

    The paper trains β with the model. A model that was not trained so has none: "fitted" takes the
    g of each head under which weights come nearest to full attention's, "even" takes ½. A model
    trained this way brings its own. Not causal, a row sees all of its own segment and the memory
    of earlier ones: the recurrence runs left to right.

    Sinks and a softcap bear on the row's own segment alone. Masks of pairs and biases are refused.
    """

    key: ClassVar[str] = "infini"
    family: ClassVar[str] = "memory"
    paper: ClassVar[str] = "arXiv 2404.07143"
    complexity: ClassVar[str] = "n·(segment + d²)"
    leaves_out: ClassVar[bool] = True
    grows: ClassVar[str] = "segment"
    sizes: ClassVar[tuple[str, ...]] = ("segment",)
    spans: ClassVar[tuple[str, ...]] = ("segment",)
    blocks_at_once: ClassVar[int] = 8

    segment: int = param(64, low=1, slider=(4, 512), unit="tokens", log=True)
    update: str = param("linear", choices=("linear", "delta"))
    gate: str = param("fitted", choices=("fitted", "even"))
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        Dot().check(qkv)
        if (name := by_pair(qkv)) is not None:
            raise Refusal(
                "{key} can't use {name}: its memory keeps no key by itself",
                key=self.called, name=name,
            )  # fmt: skip

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        if (own := self.within(qkv)) is not self:
            return own.attend(qkv)
        learned = self.learned or self.learn(qkv)
        att = Remembered(qkv, self, share(qkv, learned))
        att.fidelity = learned and learned.fidelity
        return att

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        at, cols = dense.positions(qkv)
        own = dense.softmax(qkv, pattern=at // self.segment == cols // self.segment)
        q = _elu1(qkv.q.double())
        k = _elu1(dense.per_head(qkv.k, qkv)) * dense.visible(qkv)[:, None]
        memory = torch.zeros(qkv.heads, k.shape[-1], qkv.m, dtype=torch.float64, device=q.device)
        total = torch.zeros(qkv.heads, k.shape[-1], 1, dtype=torch.float64, device=q.device)
        found = torch.zeros_like(own)
        whole = torch.eye(qkv.m, dtype=torch.float64, device=q.device)
        for t in range((max(qkv.n, qkv.m) - 1) // self.segment + 1):
            read = _over(q @ memory, q @ total)
            found = torch.where(at // self.segment == t, read, found)
            new = slice(t * self.segment, (t + 1) * self.segment)
            written, keys = whole[new].expand(qkv.heads, -1, -1), k[:, new]
            if self.update == "delta":
                written = written - _over(keys @ memory, keys @ total)
            memory = memory + keys.mT @ written
            total = total + keys.sum(1)[..., None]
        g = share(qkv, self.learned or self.learn(qkv))[:, None, None]
        return g * found * (at >= 0) + (1 - g) * own

    def learn(self, qkv: QKV) -> Learned | None:
        """beta (h); fidelity: error of the output, beside gates at random."""
        if self.gate == "even":
            return None
        rows = selection.sample(qkv.n, SAMPLE).to(qkv.device)
        memory, own = (x.double() for x in Remembered(qkv, self, share(qkv, None)).ways(rows))
        full = Composed(qkv, patterns.Everything()).weights(rows).double()
        apart = memory - own
        size = apart.square().sum((1, 2))
        g = ((full - own) * apart).sum((1, 2)) / size.clamp_min(1e-30)
        g = torch.where(size > 0, g, 0.5).clamp(0, 1)
        draw = torch.Generator().manual_seed(self.seed)
        chance = torch.rand(g.shape, generator=draw, dtype=torch.float64).to(g)
        v = dense.per_head(qkv.v, qkv)

        def error(g: Float[Tensor, " h"]) -> Float[Tensor, " h"]:
            off = (own + g[:, None, None] * apart - full) @ v
            length = (full @ v).square().sum((1, 2)).sqrt().clamp_min(1e-30)
            return (off.square().sum((1, 2)).sqrt() / length).float().cpu()

        beta = torch.logit(g, eps=1e-6)
        return Learned({"beta": beta}, Fidelity("output_error", error(g), error(chance)))

    def learns(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return {} if self.gate == "even" else self.takes(qkv)

    def takes(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return {"beta": (qkv.heads,)}

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        """Even, if it is not to stay so."""
        return {} if self.gate == "even" else {"beta": Parameter(torch.zeros(heads))}

    @property
    def idle(self) -> tuple[str, ...]:
        return () if self.gate == "fitted" else ("seed",)

    @property
    def formulas(self) -> tuple[str, ...]:
        return ("", self.update)

    def held(self, qkv: QKV) -> int:
        """Features, and the rows of the fit."""
        size = 8 if qkv.dtype == torch.float64 else 4
        return 3 * size * numbers(qkv) + 5 * 8 * qkv.heads * min(qkv.n, SAMPLE) * qkv.m

    def pairs(self, qkv: QKV) -> int:
        """Of the rows' own segments."""
        position = torch.arange(qkv.n) + qkv.frame.offset
        begin = position.div(self.segment, rounding_mode="floor") * self.segment
        stop = position + 1 if qkv.causal else begin + self.segment
        return int((stop.clamp(0, qkv.m) - begin.clamp(0, qkv.m)).clamp_min(0).sum())

    def flops(self, qkv: QKV) -> int:
        """Own segments; each key written once, and read first if with "delta"; each row read."""
        d, e = qkv.k.shape[-1], qkv.v.shape[-1]
        written = qkv.groups * qkv.m * (2 if self.update == "delta" else 1)
        return super().flops(qkv) + 2 * d * (e + 1) * (written + qkv.heads * qkv.n)


def share(qkv: QKV, learned: Learned | None) -> Float[Tensor, " h"]:
    """The memory's part of each head, in float64; half where none is known."""
    if learned is None:
        return torch.full((qkv.heads,), 0.5, dtype=torch.float64, device=qkv.device)
    return torch.sigmoid(learned.weights["beta"].double().to(qkv.device))


def _elu1(x: Tensor) -> Tensor:
    """elu(x) + 1, not as a sum with 1, in which small e^x would be lost."""
    return torch.where(x > 0, x + 1, x.clamp_max(0).exp())


def _over(x: Tensor, total: Tensor) -> Tensor:
    """x / total; 0 where nothing was written yet."""
    return x / total.masked_fill(total == 0, torch.inf)


class Remembered(Attention):
    """Memory and own segment under one gate."""

    def __init__(self, qkv: QKV, mechanism: Infini, share: Float[Tensor, " h"]) -> None:
        super().__init__(qkv.frame, views=type(self)._own)
        self.qkv, self.share = qkv, share
        self.segment, self.delta = mechanism.segment, mechanism.update == "delta"
        height = min(512, max(64, mechanism.segment))
        fast = (lambda own: sdpa_blocks(own, height)) if fits_sdpa(qkv) else None
        self.near = Composed(qkv, patterns.Segments(self.segment), output=fast)
        self.row_kind = "signed" if self.delta else "substochastic"
        self.count = -(-qkv.m // self.segment)

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    @cached_property
    def keys(self) -> Float[Tensor, "g m d"]:
        """φ(k); a hidden key has none."""
        k = Elu1().keys(self.qkv.k.to(self.near.dtype))
        return k if self.qkv.key_mask is None else k * self.qkv.key_mask.to(k)[:, None]

    @cached_property
    def totals(self) -> Float[Tensor, "g S1 d"]:
        """z as each segment begins, and after the last."""
        short = -self.qkv.m % self.segment
        each = F.pad(self.keys, (0, 0, 0, short)).unflatten(1, (-1, self.segment)).sum(2)
        return F.pad(each.cumsum(1), (0, 0, 1, 0))

    @cached_property
    def taken(self) -> Float[Tensor, "g m"]:
        """1 / φ(k)·z of each key as its segment ends, by which a later update has lessened what
        was there; 0 where there was nothing, or where nothing is taken off."""
        if not self.delta:
            return self.keys.new_zeros(self.keys.shape[:2])
        before = torch.arange(self.qkv.m, device=self.device) // self.segment
        return _over(torch.ones_like(self.keys[..., 0]),
                     (self.keys * self.totals[:, before]).sum(-1))  # fmt: skip

    def queries(self, rows: Index) -> Float[Tensor, "g q r d"]:
        """φ(q)."""
        q = Elu1().queries(self.qkv.q[:, rows].to(self.near.dtype))
        return q.unflatten(0, (self.qkv.groups, -1))

    def begun(self, rows: Int[Tensor, " r"]) -> Int[Tensor, " r"]:
        """How many segments had ended when the row's own began."""
        at = (rows + self.frame.offset).clamp_min(0)
        return (at // self.segment).clamp_max(self.count)

    def back(self, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r c"]:
        """The memory's weights for rows that rise, over all keys of segments that had ended.

        A query goes back from one segment to the one before, less what each took off.
        """
        begun = self.begun(rows)
        last = int(begun[-1])
        stop = min(self.qkv.m, last * self.segment)
        q = self.queries(rows)
        q = _over(q, (q * self.totals[:, begun][:, None]).sum(-1, keepdim=True))
        if not self.delta:
            found = (q.flatten(1, 2) @ self.keys[:, :stop].mT).unflatten(1, q.shape[1:3])
            seen = torch.arange(stop, device=q.device) // self.segment < begun[:, None]
            return found.masked_fill_(~seen, 0).flatten(0, 1)
        found = q.new_zeros(*q.shape[:3], stop)
        first = torch.searchsorted(begun, torch.arange(last, device=q.device), right=True).tolist()
        for s in range(last - 1, -1, -1):
            cols = slice(s * self.segment, min(stop, (s + 1) * self.segment))
            keys = self.keys[:, None, cols]
            w = found[:, :, first[s] :, cols] = q[:, :, first[s] :] @ keys.mT
            q[:, :, first[s] :] -= (w * self.taken[:, None, None, cols]) @ keys
        return found.flatten(0, 1)

    def ways(self, rows: Int[Tensor, " r"]) -> tuple[Tensor, Tensor]:
        """What the memory returns and the own segment, of some rows, (h r m) each."""
        up, order = rows.sort()
        found = self.back(up)
        found = F.pad(found, (0, self.qkv.m - found.shape[-1]))
        return found[:, order.argsort()], self.near.weights(rows)

    def part(self, i: int, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r m"]:
        """What one of the two brings to the weights of these rows."""
        found = self.ways(rows)[i]
        g = self.share if i == 0 else 1 - self.share
        return found * g[:, None, None].to(found)

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        frame, everyone = self.frame, slice(0, self.frame.heads)
        at = index(rows, frame.n, self.device)
        whole = not isinstance(rows, Tensor) and (rows is None or rows.step in (None, 1))
        g = self.share[:, None, None].to(self.near.dtype)
        for part in at.split(max(1, BLOCK // (4 * frame.heads * frame.m))):
            up, order = part.sort()
            past = self.back(up)
            (start, stop), *_ = self.near.spans(up)
            found = past.new_zeros(*past.shape[:2], max(stop, past.shape[-1]))
            found[..., : past.shape[-1]] = past.mul_(g)
            cols = torch.arange(start, stop, device=self.device)
            logits = self.near.finish(
                self.near.scores(everyone, up, cols), everyone, up, cols
            )  # fmt: skip
            found[..., start:stop] += self.near.normalise(logits, up, cols) * (1 - g)
            name = slice(int(part[0]), int(part[-1]) + 1) if whole else part
            found = found if whole else found[:, order.argsort()]
            yield Block(name, slice(0, found.shape[-1]), found)

    def memories(self) -> Iterator[tuple[Float[Tensor, "g d e"], Float[Tensor, "g d 1"]]]:
        """M and z as each segment begins, and after the last."""
        v = self.qkv.v.to(self.near.dtype)
        memory = v.new_zeros(len(v), self.keys.shape[-1], v.shape[-1])
        for t in range(self.count + 1):
            total = self.totals[:, t, :, None]
            yield memory, total
            if t < self.count:
                cols = slice(t * self.segment, (t + 1) * self.segment)
                keys, written = self.keys[:, cols], v[:, cols]
                if self.delta:
                    written = written - (keys @ memory) * self.taken[:, cols, None]
                memory = memory + keys.mT @ written

    def weighted(self) -> Float[Tensor, "h n e"]:
        g = self.share[:, None, None].to(self.near.dtype)
        out = self.near.output.to(self.near.dtype) * (1 - g)
        rows = torch.arange(self.frame.n, device=self.device)
        edges = torch.searchsorted(self.begun(rows), torch.arange(self.count + 2).to(rows))
        for t, (memory, total) in enumerate(self.memories()):
            mine = slice(int(edges[t]), int(edges[t + 1]))
            if t and mine.start < mine.stop:
                q = self.queries(mine)
                read = _over(q @ memory[:, None], q @ total[:, None])
                out[:, mine] += read.flatten(0, 1) * g
        return out.to(self.qkv.v)

    def returns(self) -> Returns:
        """How much of each piece of the text the memory still gives back, as more is written."""
        per = -(-self.count // PARTS)
        size, rep = per * self.segment, self.frame.heads // self.qkv.groups
        moments = [min(self.count, (a + 1) * per) for a in range(-(-self.count // per))]
        v = self.qkv.v.to(self.near.dtype)
        seen = dense.visible(self.qkv).to(v)
        mean = (v * seen[:, None]).sum(1, keepdim=True) / seen.sum().clamp_min(1)
        pieces = torch.arange(self.qkv.m, device=self.device) // size
        count = torch.zeros(len(moments)).to(v).index_add_(0, pieces, seen)
        found = v.new_full((len(v), len(moments), len(moments)), torch.nan)
        for t, (memory, total) in enumerate(self.memories()):
            if t in moments:
                a = moments.index(t)
                back = _over(self.keys @ memory, self.keys @ total) - mean
                alike = F.cosine_similarity(back, v - mean, dim=-1) * seen
                sums = torch.zeros(len(v), len(moments)).to(v).index_add_(1, pieces, alike)
                found[:, a, : a + 1] = (sums / count)[:, : a + 1]
        return Returns(size, found.float().repeat_interleave(rep, 0))

    def _own(self) -> tuple[View, ...]:
        maps = {name: partial(self.part, i) for i, name in enumerate(("memory", "segment"))}
        g = self.share[:, None].expand(-1, self.frame.n)
        return (
            ages.memory(self, self.segment, None),
            self.returns(),
            Parts(maps, torch.stack([g, 1 - g], -1).float()),
        )
