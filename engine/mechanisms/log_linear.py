"""Linear attention with a weight for each power of two back (arXiv 2506.04761)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Parameter

from engine.contract import QKV, Block, Id, Index, Refusal, index, param
from engine.contract.learned import Fidelity, Learned
from engine.contract.views import Octaves
from engine.kernels import dense, patterns, selection
from engine.kernels.composed import Composed
from engine.kernels.rows import BLOCK
from engine.kernels.scoring import Dot
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism, numbers, pairs_back
from engine.mechanisms.gated import read, read_size
from engine.mechanisms.linear import Elu1
from engine.runtime.cached import cached_property

CHUNK = 64
"""Rows that read each other directly; those before a chunk are read through their sums."""
SAMPLE = 64
"""Rows that weights of levels are fitted to at most."""
TRAINED = 18
"""Levels of a model that is trained this way: for 131,072 tokens."""
LEAST = 1e-6
"""Of a level's weight that is fitted."""


@dataclass(frozen=True)
class LogLinear(Mechanism):
    """λ of the key's level · φ(q)·φ(k), each φ of length 1: linear attention whose past is cut in
    buckets of 1, 1, 2, 4, 8 … tokens, which a row may weigh differently.

    The buckets are those of a Fenwick tree: the row's own token is level 0, and level l holds
    2^(l−1) tokens, one for each digit 1 of the row's position in binary, the nearest the smallest.
    So a memory of log n sums is enough, whatever the row. Nothing is normalised.

    φ is elu(x) + 1, or x itself, as in the paper, whose weights may be negative ("none"). The
    paper trains λ = softplus(w·x + b) of each token, head and level. A model that was not trained
    so has none: "fitted" takes for each head and level the number under which weights come nearest
    to full attention's, "even" lets a bucket count as one token. A model trained this way brings
    its own; levels beyond those that it has count as the last. The paper's decay by token is left
    out: `delta` has it.

    It looks back only: where the QKV lets a row see keys after it, it gives them nothing. A hidden
    key is in no sum. Masks of pairs, sinks, softcap and biases are refused.
    """

    key: ClassVar[str] = "log_linear"
    family: ClassVar[str] = "memory"
    paper: ClassVar[str] = "arXiv 2506.04761"
    complexity: ClassVar[str] = "n·log n·d²"
    leaves_out: ClassVar[bool] = True
    blocks_at_once: ClassVar[int] = 6

    feature_map: str = param("elu1", choices=("elu1", "none"))
    levels: str = param("fitted", choices=("fitted", "even"))
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        Dot().check(qkv)
        for name in ("sinks", "softcap", "bias", "mask"):
            if getattr(qkv, name) is not None:
                raise Refusal(
                    "{key} can't use {name}: its keys are added up before they are weighed",
                    key=self.called, name=Id(name, f"qkv.{name}"),
                )  # fmt: skip

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        learned = self.learned or self.learn(qkv)
        att = Doubling(qkv, self.feature_map, factors(qkv, learned))
        att.fidelity = learned and learned.fidelity
        return att

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        q, k = qkv.q.double(), dense.per_head(qkv.k, qkv)
        if self.feature_map == "elu1":
            q, k = (torch.where(x > 0, x + 1, x.clamp_max(0).exp()) for x in (q, k))
        at, cols = dense.positions(qkv)
        seen = (cols <= at) & dense.visible(qkv)
        # what is left of a row's past is cut at the last digit 1 of its length, again and again
        level = torch.where(cols == at, 0, -1)
        left, digit = at.clamp_min(0), 1
        while bool((left > 0).any()):
            size = 2 ** (digit - 1)
            cut = left - left % (2 * size)
            level = torch.where((cols >= cut) & (cols < left), digit, level)
            left, digit = cut, digit + 1
        found = factors(qkv, self.learned or self.learn(qkv))
        level = level.clamp(0, found.shape[-1] - 1).expand(qkv.heads, -1, -1)
        return F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * found.gather(-1, level) * seen

    def learn(self, qkv: QKV) -> Learned | None:
        """w_level (h L D), of zeros, and b_level (h L); fidelity: error of the output, beside the
        same numbers in another order."""
        if self.levels == "even":
            return None
        rows = selection.sample(qkv.n, SAMPLE).to(qkv.device)
        most = count(qkv)
        ones = torch.ones(qkv.heads, qkv.n, most, dtype=torch.float64, device=qkv.device)
        plain = Doubling(qkv, self.feature_map, ones)
        full = Composed(qkv, patterns.Everything()).weights(rows).double()
        made, level = plain.weights(rows).double(), plain.level(rows)
        where = level.clamp_min(0).expand(qkv.heads, -1, -1).flatten(1)

        def by_level(x: Tensor) -> Float[Tensor, "h L"]:
            total = torch.zeros(qkv.heads, most, dtype=torch.float64, device=qkv.device)
            return total.scatter_add_(1, where, x.flatten(1))

        size = by_level(made.square())
        found = by_level(made * full) / size.clamp_min(1e-30)
        found = torch.where(size > 0, found, 0).clamp_min(LEAST)
        draw = torch.Generator().manual_seed(self.seed)
        chance = found[:, torch.randperm(most, generator=draw).to(found.device)]
        v = dense.per_head(qkv.v, qkv)

        def error(of: Float[Tensor, "h L"]) -> Float[Tensor, " h"]:
            off = (made * of.gather(1, where).view(made.shape) - full) @ v
            length = (full @ v).square().sum((1, 2)).sqrt().clamp_min(1e-30)
            return (off.square().sum((1, 2)).sqrt() / length).float().cpu()

        w = found.new_zeros(*found.shape, read(qkv).shape[-1])
        weights = {"w_level": w, "b_level": found.expm1().log()}  # softplus⁻¹
        return Learned(weights, Fidelity("output_error", error(found), error(chance)))

    def learns(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return {} if self.levels == "even" else self.takes(qkv)

    def takes(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return {"w_level": (qkv.heads, None, read(qkv).shape[-1]), "b_level": (qkv.heads, None)}

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        """A bucket counts as one token, if it is not to stay so."""
        if self.levels == "even":
            return {}
        return {
            "w_level": Parameter(torch.zeros(heads, TRAINED, read)),
            "b_level": Parameter(even(TRAINED).expm1().log().float().repeat(heads, 1)),
        }

    @property
    def idle(self) -> tuple[str, ...]:
        return () if self.levels == "fitted" else ("seed",)

    @property
    def formulas(self) -> tuple[str, ...]:
        return ("", self.feature_map)

    def pairs(self, qkv: QKV) -> int:
        return pairs_back(qkv)

    def held(self, qkv: QKV) -> int:
        """Features, weights of levels, and the rows of the fit."""
        size = 8 if qkv.dtype == torch.float64 else 4
        levels = 8 * qkv.heads * qkv.n * 3 * count(qkv)
        rows = 6 * 8 * qkv.heads * min(qkv.n, SAMPLE) * qkv.m
        return 2 * size * numbers(qkv) + levels + 8 * 2 * read_size(qkv) + rows

    def flops(self, qkv: QKV) -> int:
        """Every key added once a level, at most, and each row's reading of its buckets: as many as
        its position has digits 1."""
        at = (torch.arange(qkv.n) + qkv.frame.offset).clamp_min(0)
        buckets = sum(int((at >> b & 1).sum()) for b in range(count(qkv)))
        state = qkv.k.shape[-1] * qkv.v.shape[-1]
        return 2 * state * (qkv.heads * (buckets + qkv.n) + qkv.groups * qkv.m)


def even(levels: int) -> Float[Tensor, " L"]:
    """One over the tokens of a level's bucket."""
    return 0.5 ** (torch.arange(levels, dtype=torch.float64) - 1).clamp_min(0)


def count(qkv: QKV) -> int:
    """Levels that some row has."""
    return max(1, qkv.n - 1 + qkv.frame.offset).bit_length() + 1


def factors(qkv: QKV, learned: Learned | None) -> Float[Tensor, "h n L"]:
    """λ of every row and level, in float64; as `even` where none is known."""
    if learned is None:
        return even(count(qkv)).to(qkv.device).expand(qkv.heads, qkv.n, -1)
    w, b = (learned.weights[x].double().to(qkv.device) for x in ("w_level", "b_level"))
    w, b = w[:, : count(qkv)], b[:, : count(qkv)]
    found = F.softplus(read(qkv) @ w.mT + b[:, None], threshold=40)
    return F.pad(found, (0, count(qkv) - found.shape[-1]), mode="replicate")


class Doubling(Attention):
    """Products of features, each times what its level counts."""

    def __init__(self, qkv: QKV, feature_map: str, factors: Float[Tensor, "h n L"]) -> None:
        super().__init__(qkv.frame, views=lambda own: (Octaves(own.level, own.factors.float()),))
        self.qkv, self.feature_map, self.factors = qkv, feature_map, factors
        self.dtype = qkv.dtype if qkv.dtype == torch.float64 else torch.float32
        self.row_kind = "positive" if feature_map == "elu1" else "signed"

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    def _mapped(self, x: Float[Tensor, "a b d"]) -> Float[Tensor, "a b d"]:
        x = x.to(self.dtype)
        return F.normalize(Elu1().keys(x) if self.feature_map == "elu1" else x, dim=-1)

    @cached_property
    def keys(self) -> Float[Tensor, "g m d"]:
        """φ(k); a hidden key has none."""
        k = self._mapped(self.qkv.k)
        return k if self.qkv.key_mask is None else k * self.qkv.key_mask.to(k)[:, None]

    def queries(self, rows: Index) -> Float[Tensor, "g q r d"]:
        """φ(q)."""
        return self._mapped(self.qkv.q[:, rows]).unflatten(0, (self.qkv.groups, -1))

    def level(self, rows: Int[Tensor, " r"]) -> Int[Tensor, "r m"]:
        """Which level each key is to a row: the digits of the two positions that are not the same;
        −1 after the row."""
        cols = torch.arange(self.frame.m, device=self.device)
        return self._levels(rows.to(self.device) + self.frame.offset, cols)

    def _levels(self, at: Int[Tensor, " r"], cols: Int[Tensor, " c"]) -> Int[Tensor, "r c"]:
        apart = at.clamp_min(0)[:, None] ^ cols
        digits = torch.frexp(apart.double()).exponent.long()
        return digits.masked_fill_(cols > at[:, None], -1)

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        frame = self.frame
        at = index(rows, frame.n, self.device)
        whole = not isinstance(rows, Tensor) and (rows is None or rows.step in (None, 1))
        height = max(1, BLOCK // (4 * frame.heads * frame.m))
        height = 1 << (height.bit_length() - 1)  # such rows share their buckets before them
        for part in at.split(height):
            place = part + frame.offset
            stop = min(frame.m, max(1, int(place.max()) + 1))
            q = self.queries(part)
            found = (q.flatten(1, 2) @ self.keys[:, :stop].mT).view(frame.heads, len(part), stop)
            share = self.factors[:, part].to(self.dtype)
            low, high = max(0, int(place.min())), max(0, int(place.max()))
            digits = (low ^ high).bit_length()
            base = min(stop, low >> digits << digits)
            for level in range(digits + 1, share.shape[-1]):
                if base >> (level - 1) & 1:
                    first = base >> level << level
                    found[..., first : first + 2 ** (level - 1)] *= share[..., level, None]
            own = torch.arange(base, stop, device=self.device)
            level = self._levels(place, own)
            each = share.gather(-1, level.clamp_min(0).expand(frame.heads, -1, -1))
            found[..., base:].mul_(each).masked_fill_(level < 0, 0)
            if low != int(place.min()):
                found.masked_fill_((place < 0)[:, None], 0)
            name = slice(int(part[0]), int(part[-1]) + 1) if whole else part
            yield Block(name, slice(0, stop), found)

    def weighted(self) -> Float[Tensor, "h n e"]:
        """Chunk by chunk: pairs inside, and one sum for each digit 1 of the chunk's number."""
        qkv, frame = self.qkv, self.frame
        out = torch.zeros(frame.heads, frame.n, qkv.v.shape[-1], dtype=self.dtype).to(self.device)
        v = qkv.v.to(self.dtype)
        place = torch.arange(frame.n, device=self.device) + frame.offset
        chunks = max(0, int(place[-1])) // CHUNK + 1
        edges = torch.searchsorted(place, torch.arange(chunks + 1).to(place) * CHUNK).tolist()
        sums: dict[int, Tensor] = {}  # by digit, (g d e)
        inside = CHUNK.bit_length() - 1
        for c in range(chunks):
            mine = slice(edges[c], edges[c + 1])
            cols = slice(c * CHUNK, min(frame.m, (c + 1) * CHUNK))
            k, values = self.keys[:, cols], v[:, cols]
            if mine.start < mine.stop:
                q = self.queries(mine)
                share = self.factors[:, mine].to(self.dtype)
                level = self._levels(place[mine], torch.arange(cols.start, cols.start + len(k[0]))
                                     .to(place))  # fmt: skip
                each = share.gather(-1, level.clamp_min(0).expand(frame.heads, -1, -1))
                w = (q @ k[:, None].mT).flatten(0, 1).mul_(each).masked_fill_(level < 0, 0)
                w = w.view(*q.shape[:3], -1)
                read = (w @ values[:, None]).flatten(0, 1)
                for digit, state in sums.items():
                    past = (q @ state[:, None]).flatten(0, 1)
                    read += past * share[..., inside + digit + 1, None]
                out[:, mine] = read
            state, digit = k.mT @ values, 0
            while c >> digit & 1:
                state, digit = state + sums.pop(digit), digit + 1
            sums[digit] = state
        return out.to(qkv.v)
