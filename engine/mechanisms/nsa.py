"""Compressed, selected and near keys, three attentions under gates (NSA, arXiv 2502.11089)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import Parameter

from engine.contract import QKV, Block, Index, Refusal, index, param
from engine.contract.learned import Fidelity, Learned
from engine.contract.views import Parts, View
from engine.kernels import dense, patterns, selection
from engine.kernels.composed import Composed
from engine.kernels.picked import Picked
from engine.kernels.rows import BLOCK
from engine.kernels.scoring import Dot
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism, by_pair, numbers
from engine.mechanisms.gated import read, read_size
from engine.mechanisms.moba import MoBA
from engine.mechanisms.moba import view as by_blocks
from engine.mechanisms.window import Window

BRANCHES = ("compressed", "selected", "near")
SAMPLE = 64
"""Rows that gates are fitted to at most."""
STEPS = 200
"""Of the fit of three numbers in 0 … 1."""


@dataclass(frozen=True)
class NSA(Mechanism):
    """g₁ · attention to the mean key and value of each block + g₂ · attention to the keys of the
    `top_k` blocks whose mean key scores highest, the own one always + g₃ · a window.

    Causally a block is compressed once it is complete, so that early rows have nothing compressed
    to read. The paper learns how a block is compressed (here: its mean) and lets its blocks
    overlap (here not); its gates are σ(w·x + b) of the token, each by itself, so that rows need
    not sum to 1. A model that was not trained so has none: "fitted" takes three numbers a head
    under which the sum comes nearest to full attention, "even" takes thirds. A model trained this
    way brings its own w and b.

    Key masks, sinks and a softcap bear on all three. Masks of pairs and biases are refused.
    """

    key: ClassVar[str] = "nsa"
    family: ClassVar[str] = "routing"
    paper: ClassVar[str] = "arXiv 2502.11089"
    complexity: ClassVar[str] = "n·(n/block + top_k·block + window)"
    grows: ClassVar[str] = "top_k"
    sizes: ClassVar[tuple[str, ...]] = ("block", "window")
    blocks_at_once: ClassVar[int] = 10
    spans: ClassVar[tuple[str, ...]] = ("block", "top_k", "window")

    block: int = param(16, low=1, slider=(4, 128), unit="tokens", log=True)
    top_k: int = param(3, low=1, slider=(1, 32), unit="blocks", log=True)
    window: int = param(32, low=1, slider=(4, 512), unit="tokens", log=True)
    gate: str = param("fitted", choices=("fitted", "even"))
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        Dot().check(qkv)
        if (name := by_pair(qkv)) is not None:
            raise Refusal(
                "{key} can't use {name}: its compressed keys stand at no one position",
                key=self.called, name=name,
            )  # fmt: skip

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        if (own := self.within(qkv)) is not self:
            return own.attend(qkv)
        learned = self.learned or self.learn(qkv)
        att = Branched(qkv, self, gates(qkv, learned))
        att.fidelity = learned and learned.fidelity
        return att

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        at, cols = dense.positions(qkv)
        name = torch.arange(-(-qkv.m // self.block), device=qkv.device)
        holds = (cols // self.block == name[:, None]) & dense.visible(qkv)  # (b m)
        mean = holds / holds.sum(-1, keepdim=True).clamp_min(1).double()
        last = ((name + 1) * self.block).clamp_max(qkv.m) - 1
        seen = holds.any(-1) & ((last <= at) if qkv.causal else torch.ones_like(at).bool())
        keys = mean @ dense.per_head(qkv.k, qkv)
        z = dense.capped(qkv, qkv.q.double() @ keys.mT * qkv.factor)
        parts = (
            dense.masked_softmax(qkv, z, seen) @ mean,
            dense.softmax(qkv, pattern=MoBA(self.block, self.top_k).reach(qkv)),
            dense.softmax(qkv, pattern=Window(self.window, 0).reach(qkv)),
        )
        shares = gates(qkv, self.learned or self.learn(qkv))
        return sum(
            (shares[..., i, None] * part for i, part in enumerate(parts)),
            start=torch.zeros_like(parts[0]),
        )

    def learn(self, qkv: QKV) -> Learned | None:
        """w_gate (h 3 D), of zeros, and b_gate (h 3); fidelity: error of the output."""
        if self.gate == "even":
            return None
        rows = selection.sample(qkv.n, SAMPLE).to(qkv.device)
        parts = Branched(qkv, self, gates(qkv, None)).parts_of(rows)
        full = Composed(qkv, patterns.Everything()).weights(rows)
        shares = nearest(torch.stack(parts, 1).double(), full.double())  # (h 3)
        draw = torch.Generator().manual_seed(self.seed)
        chance = torch.rand(shares.shape, generator=draw, dtype=torch.float64).to(shares)
        v = dense.per_head(qkv.v, qkv)
        truth, outputs = full.double() @ v, torch.stack(parts, 1).double() @ v[:, None]

        def error(shares: Tensor) -> Float[Tensor, " h"]:
            off = (shares[..., None, None] * outputs).sum(1) - truth
            size = truth.square().sum((1, 2)).sqrt().clamp_min(1e-30)
            return (off.square().sum((1, 2)).sqrt() / size).float().cpu()

        w = shares.new_zeros(*shares.shape, read(qkv).shape[-1])
        weights = {"w_gate": w, "b_gate": torch.logit(shares, eps=1e-6)}
        return Learned(weights, Fidelity("output_error", error(shares), error(chance)))

    def learns(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return {} if self.gate == "even" else self.takes(qkv)

    def takes(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return {"w_gate": (qkv.heads, 3, read(qkv).shape[-1]), "b_gate": (qkv.heads, 3)}

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        """All gates half open, if they are not to stay even."""
        if self.gate == "even":
            return {}
        return {
            "w_gate": Parameter(torch.zeros(heads, 3, read)),
            "b_gate": Parameter(torch.zeros(heads, 3)),
        }

    @property
    def idle(self) -> tuple[str, ...]:
        return () if self.gate == "fitted" else ("seed",)

    def held(self, qkv: QKV) -> int:
        """Keys in float64, blocks' means, choices and gates, and the rows of the fit."""
        rows = 5 * 8 * qkv.heads * min(qkv.n, SAMPLE) * qkv.m
        chosen = 3 * qkv.heads * qkv.n * (self.top_k + 3)
        return 8 * (2 * numbers(qkv) + chosen + read_size(qkv)) + rows

    def pairs(self, qkv: QKV) -> int:
        """Blocks compressed, keys chosen, and keys near, one after the other."""
        count = -(-qkv.m // self.block)
        return (
            qkv.n * count
            + MoBA(self.block, self.top_k).read(qkv)
            + Window(self.window, 0).pairs(qkv)
        )


def gates(qkv: QKV, learned: Learned | None) -> Float[Tensor, "h n 3"]:
    """How far each branch's gate is open for each row, in float64; thirds where none is known."""
    if learned is None:
        shape = (qkv.heads, qkv.n, 3)
        return torch.full(shape, 1 / 3, dtype=torch.float64, device=qkv.device)
    w, b = (learned.weights[x].double().to(qkv.device) for x in ("w_gate", "b_gate"))
    return torch.sigmoid(read(qkv) @ w.mT + b[:, None])


def nearest(parts: Float[Tensor, "h p r m"], full: Float[Tensor, "h r m"]) -> Float[Tensor, "h p"]:
    """Numbers in 0 … 1 under which the parts' sum comes nearest to the whole, in least squares, by
    projected gradients."""
    flat = parts.flatten(2)
    gram, aim = flat @ flat.mT, (flat @ full.flatten(1)[..., None])[..., 0]
    step = 1 / gram.diagonal(dim1=-2, dim2=-1).sum(-1).clamp_min(1e-30)[:, None]
    found = torch.full_like(aim, 1 / parts.shape[1])
    for _ in range(STEPS):
        slope = (gram @ found[..., None])[..., 0] - aim
        found = (found - step * slope).clamp(0, 1)
    return found


@dataclass(frozen=True)
class Complete:
    """Blocks of which a row sees every key. offset: position of query 0. m: keys."""

    block: int
    offset: int
    m: int
    causal: bool

    def __call__(self, rows: Tensor, cols: Tensor) -> Bool[Tensor, "r c"]:
        last = ((cols + 1) * self.block).clamp_max(self.m) - 1
        if not self.causal:
            return torch.ones(len(rows), len(cols), dtype=torch.bool, device=rows.device)
        return last <= rows[:, None] + self.offset


class Branched(Attention):
    """Three attentions, each under a gate of the row."""

    def __init__(self, qkv: QKV, mechanism: NSA, shares: Float[Tensor, "h n 3"]) -> None:
        super().__init__(qkv.frame, views=type(self)._own)
        self.qkv, self.shares = qkv, shares
        block, frame = mechanism.block, qkv.frame
        self.per = selection.held(qkv, block)
        self.block = block
        self.slots = Composed(
            QKV(
                qkv.q, self._means(qkv.k), self._means(qkv.v), scale=qkv.scale, sinks=qkv.sinks,
                softcap=qkv.softcap, key_mask=self.per > 0,
                mask=Complete(block, frame.offset, qkv.m, qkv.causal),
            ),
            patterns.Everything(),
        )  # fmt: skip
        self.chosen = Picked(qkv, patterns.Blocks.of(qkv, block, mechanism.top_k))
        self.near = Window(mechanism.window, 0).attend(qkv)
        most = float(shares.sum(-1).max())
        self.row_kind = "substochastic" if most <= 1 + 1e-9 else "positive"

    def _means(self, x: Float[Tensor, "g m f"]) -> Float[Tensor, "g b f"]:
        """Of each block's visible keys."""
        if self.qkv.key_mask is not None:
            x = x * self.qkv.key_mask.to(x)[:, None]
        whole = F.pad(x, (0, 0, 0, -x.shape[1] % self.block)).unflatten(1, (-1, self.block))
        return (whole.double().sum(2) / self.per.clamp_min(1)[:, None]).to(x)

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    def spread(self, weights: Float[Tensor, "h r b"]) -> Float[Tensor, "h r m"]:
        """A block's weight shared out among its visible keys."""
        each = (weights / self.per.clamp_min(1).to(weights)).repeat_interleave(self.block, -1)
        each = each[..., : self.qkv.m]
        return each if self.qkv.key_mask is None else each * self.qkv.key_mask.to(each)

    def parts_of(self, rows: Int[Tensor, " r"]) -> tuple[Tensor, Tensor, Tensor]:
        """The three attentions of some rows, (h r m) each."""
        return (
            self.spread(self.slots.weights(rows)), self.chosen.weights(rows),
            self.near.weights(rows),
        )  # fmt: skip

    def weighted(self) -> Float[Tensor, "h n e"]:
        found = torch.zeros((), dtype=self.near.dtype, device=self.device)
        for i, way in enumerate((self.slots, self.chosen, self.near)):
            found = found + self.shares[..., i, None].to(found) * way.output.to(found)
        return found.to(self.qkv.v)

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        qkv, frame = self.qkv, self.frame
        everyone = slice(0, qkv.heads)
        at = index(rows, qkv.n, self.device)
        whole = not isinstance(rows, Tensor) and (rows is None or rows.step in (None, 1))
        every = torch.arange(self.slots.frame.m, device=self.device)
        for part in at.split(max(1, BLOCK // (4 * qkv.heads * qkv.m))):
            stop = min(frame.m, max(1, int(part.max()) + frame.offset + 1))
            cols = torch.arange(stop if frame.causal else frame.m, device=self.device)
            share = self.shares[:, part, :, None].to(self.near.dtype)
            scores = self.slots.scores(everyone, part, every)
            slots = self.slots.normalise(
                self.slots.finish(scores, everyone, part, every), part, every
            )
            found = self.spread(slots)[..., : len(cols)] * share[:, :, 0]
            first = 0
            for block in self.chosen.blocks(part):
                rows = slice(first, first := first + block.weights.shape[1])
                weights = block.weights * share[:, rows, 1]
                if isinstance(block.cols, Tensor) and block.cols.ndim == 3:
                    place = block.cols.clamp_min(0)
                    found[:, rows].scatter_add_(2, place, weights.masked_fill(block.cols < 0, 0))
                else:
                    found[:, rows, block.cols] += weights
            for start, end in self.near.spans(part):
                some = torch.arange(start, end, device=self.device)
                logits = self.near.finish(
                    self.near.scores(everyone, part, some), everyone, part, some
                )
                found[..., start:end] += self.near.normalise(logits, part, some) * share[:, :, 2]
            name = slice(int(part[0]), int(part[-1]) + 1) if whole else part
            yield Block(name, slice(0, len(cols)), found)

    def room(self) -> Float[Tensor, "h n e"]:
        return self.qkv.v.new_empty(self.frame.heads, self.frame.n, self.qkv.v.shape[-1])

    def weigh(self, block: Block) -> Float[Tensor, "h r e"]:
        return block.weigh(self.qkv.v)

    def part(self, i: int, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r m"]:
        """What one branch brings to the weights of these rows."""
        found = self.parts_of(rows)[i]
        return found * self.shares[:, rows, i, None].to(found)

    def _own(self) -> tuple[View, ...]:
        maps = {name: partial(self.part, i) for i, name in enumerate(BRANCHES)}
        return Parts(maps, self.shares.float()), by_blocks(self.qkv, self.chosen.pattern)
