"""Segments that read a few summary slots of all that came before.

Nearest paper: Recurrent Memory Transformer (arXiv 2207.06881), whose slots are written by trained
attention. Here merging like keys stands in for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import QKV, Block, Index, Refusal, index, param
from engine.contract.learned import Fidelity, Learned
from engine.contract.views import Memory, Slots
from engine.kernels import dense, normalisers, patterns
from engine.kernels.composed import Composed
from engine.kernels.rows import BLOCK
from engine.measure import ages
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism, by_pair
from engine.runtime.cached import cached_property

KEPT = 2**24
"""Numbers of slot states kept at once; between those kept they are folded anew."""


@dataclass(frozen=True)
class MemoryTokens(Mechanism):
    """One softmax over the row's own segment and slots that stand for all earlier segments.

    When a segment ends, its keys and the slots so far go into `slots` new slots: seeds spread
    far apart, everything else to the nearest, each weighted by how much it has absorbed. A
    slot's key and value are the means over the c keys that it stands for, and its logit is
    q·key·scale + ln c, so that it weighs about what its keys would: never more, since the mean of
    exponentials is at least the exponential of the mean. The weight that a slot gets belongs to
    its keys in equal parts.

    Without slots this is `segmented`. As long as there are no more different keys than slots, it
    is full causal attention; beyond that it is not, and that is its price. Not causal, a row sees
    all of its own segment and the slots of earlier ones: the recurrence still runs left to right.
    """

    key: ClassVar[str] = "memory_tokens"
    family: ClassVar[str] = "memory"
    paper: ClassVar[str] = "arXiv 2207.06881"
    complexity: ClassVar[str] = "n·(segment + slots)"
    leaves_out: ClassVar[bool] = True
    grows: ClassVar[str] = "slots"
    sizes: ClassVar[tuple[str, ...]] = ("segment",)

    segment: int = param(64, low=1, slider=(4, 512), unit="tokens", log=True)
    slots: int = param(8, low=0, slider=(0, 64))

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        if (name := by_pair(qkv)) is not None:
            raise Refusal(
                "a memory slot has no position of its own, so it can't use a {name}",
                name=name,
            )

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        found = self.learned.weights if self.learned is not None else None
        return Remembering(qkv, self.segment, self.slots, found)

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        q, k = qkv.q.double(), dense.per_head(qkv.k, qkv)
        at, cols = dense.positions(qkv)
        seen, size = dense.allowed(qkv), self.segment
        slots = min(self.slots, ended(qkv, size) * size)
        found = None if self.learned is None else self.learned.weights
        member = torch.zeros(qkv.groups, slots, qkv.m, dtype=torch.float64, device=qkv.device)
        out = torch.zeros(qkv.heads, qkv.n, qkv.m, dtype=torch.float64, device=qkv.device)
        for t in range(-(-max(qkv.n, qkv.m) // size)):
            count = member.sum(-1)  # (g C) keys that each slot stands for
            mean = member / count[..., None].clamp_min(1)  # (g C m)
            share = mean.repeat_interleave(qkv.heads // qkv.groups, 0)
            log = count.log().repeat_interleave(qkv.heads // qkv.groups, 0)[:, None]
            z = dense.capped(qkv, q @ torch.cat([k, share @ k], 1).mT * qkv.factor)  # (h n m+C)
            z[..., qkv.m :] += log
            own = seen & (cols // size == t)
            w = dense.masked_softmax(qkv, z, F.pad(own, (0, slots), value=True))
            w = w[..., : qkv.m] + w[..., qkv.m :] @ share
            out = torch.where((at // size == t) & (at >= 0), w, out)
            if t < ended(qkv, size) and slots:
                new = slice(t * size, min((t + 1) * size, qkv.m))
                here = dense.visible(qkv)[new].double().expand(qkv.groups, -1)
                if found is None:
                    points = torch.cat([mean @ qkv.k.double(), qkv.k[:, new].double()], 1)
                    into = merge(points, torch.cat([count, here], 1), slots)
                else:
                    into = torch.cat([found["merged"][:, t], found["taken"][:, new]], 1)
                goes = (into[:, None] == torch.arange(slots).to(into)[:, None]).double()
                kept = goes[..., :slots] @ member
                kept[..., new] += goes[..., slots:] * here[:, None]
                member = kept
        return out

    def learn(self, qkv: QKV) -> Learned:
        """Which slot takes each key, found for these keys, and how far the output then differs
        from full attention's on 256 rows; beside keys that go to slots at random."""
        att = Remembering(qkv, self.segment, self.slots, None)
        weights = {"taken": att.recurrence.taken, "merged": att.recurrence.merged}
        return Learned(weights, att.fidelity)

    def learns(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        times = ended(qkv, self.segment) if self.slots else 0
        slots = min(self.slots, times * self.segment)  # no more than there are keys to take in
        return {"taken": (qkv.groups, qkv.m), "merged": (qkv.groups, times, slots)}

    @property
    def formulas(self) -> tuple[str, ...]:
        return ("", "recursion") if self.slots else ("",)

    def held(self, qkv: QKV) -> int:
        """Keys, values and the slots' states in float64, at most `KEPT` numbers of states."""
        keys, width = qkv.groups * qkv.m, qkv.k.shape[-1] + qkv.v.shape[-1] + 1
        states = min(KEPT, (ended(qkv, self.segment) + 1) * qkv.groups * self.slots * width)
        return 8 * (3 * keys * width + 2 * max(0, states))

    def flops(self, qkv: QKV) -> int:
        size, wide = self.segment, qkv.k.shape[-1]
        slots = min(self.slots, ended(qkv, size) * size)
        both = wide + qkv.v.shape[-1]
        position = torch.arange(qkv.n) + qkv.frame.offset
        begin = position.div(size, rounding_mode="floor") * size
        stop = position + 1 if qkv.causal else begin + size
        own = (stop.clamp(0, qkv.m) - begin.clamp(0, qkv.m)).clamp_min(0)
        read = begin.clamp(0, qkv.m).clamp_max(slots)  # slots that can hold something
        times = max(0, ended(qkv, size)) if slots else 0
        points = times * slots + min(qkv.m, times * size)  # that slots are made of, all times
        written = points * ((slots + 2) * wide + slots * (both + 1))
        return 2 * (qkv.heads * int((own + read).sum()) * both + qkv.groups * written)


def ended(qkv: QKV, segment: int) -> int:
    """How many segments end before the last row's own begins."""
    return min((qkv.n - 1 + qkv.frame.offset) // segment, -(-qkv.m // segment))


def merge(
    points: Float[Tensor, "g p d"], weight: Float[Tensor, "g p"], slots: int
) -> Int[Tensor, "g p"]:
    """Slot that each point goes into: that of the nearest seed; −1 for points of weight 0.

    Seeds are taken one after another, each the point with the largest √weight × squared distance
    from those before it (the first: from the mean). So nothing is drawn at random, and where there
    are no more points than slots each has its own. By distance alone the past would end up in one
    slot; by weight × distance unusual keys would be lost; rounds of k-means on top bring the
    output no nearer to full attention's.
    """
    square = points.square().sum(-1)

    def away(seed: Tensor) -> Tensor:
        """Squared distances (g p) from (g 1 d)."""
        size = square[..., None] + seed.square().sum(-1, keepdim=True)
        return torch.baddbmm(size, points, seed.mT, alpha=-2)[..., 0].clamp_min_(0)

    here = weight > 0
    mean = (weight[:, None] @ points) / weight.sum(-1).clamp_min(1)[:, None, None]
    pull = torch.where(here, weight, 1).sqrt()
    far = torch.where(here, away(mean), -1)  # −1: can't be a seed, or is one
    group, found = torch.arange(len(points), device=points.device), []
    for slot in range(slots):
        pick = (pull * far).argmax(-1)
        near = away(points[group, pick, None])
        far = far.minimum(near) if slot else torch.where(far < 0, far, near)
        far[group, pick] = -1
        found.append(near)
    distance = torch.stack(found, -1)  # (g p C); seeds beyond the points that are here are none
    none = torch.arange(slots, device=points.device) >= here.sum(-1)[:, None, None]
    return distance.masked_fill_(none, torch.inf).argmin(-1).masked_fill_(~here, -1)


class Recurrence:
    """What the slots took and hold, segment by segment.

    Attributes:
        count: A, segments taken in. taken: (g m), merged: (g A C), as in `views.Slots`.
    """

    def __init__(
        self, qkv: QKV, segment: int, slots: int, found: Mapping[str, Tensor] | None
    ) -> None:
        self.qkv, self.segment, self.slots = qkv, segment, slots
        self.count = ended(qkv, segment) if slots else 0
        # where one slot ends and another begins must not hang on rounding
        self.dtype = torch.float32 if qkv.device.type == "mps" else torch.float64
        shape = (qkv.groups, qkv.m), (qkv.groups, self.count, slots)
        taken, merged = (torch.full(s, -1, device=qkv.device) for s in shape)
        if found is not None:
            taken, merged = (found[x].to(qkv.device) for x in ("taken", "merged"))
            if qkv.key_mask is not None:
                taken = taken.masked_fill(~qkv.key_mask.to(taken.device), -1)
        self.taken, self.merged = taken, merged
        self.wide = qkv.k.shape[-1]
        width = self.wide + qkv.v.shape[-1] + 1
        self.stride = -(-(self.count + 1) * qkv.groups * slots * width // KEPT) or 1
        state = torch.zeros(qkv.groups, slots, width, dtype=self.dtype, device=qkv.device)
        kept = [state]
        for t in range(self.count):
            points = self._points(state, t)
            if found is None:
                into = merge(points[..., : self.wide], points[..., -1], slots)
                self.merged[:, t], self.taken[:, self.span(t)] = into[:, :slots], into[:, slots:]
            state = self._fold(points, t)
            if (t + 1) % self.stride == 0:
                kept.append(state)
        self.kept = torch.stack(kept, 1)

    def span(self, t: int) -> slice:
        """Keys of segment t."""
        return slice(t * self.segment, min((t + 1) * self.segment, self.qkv.m))

    def _points(self, state: Float[Tensor, "g C f"], t: int) -> Float[Tensor, "g Cs f"]:
        """Slots and the keys of segment t: key, value, and how many keys each stands for."""
        at = self.span(t)
        points = state.new_ones(len(state), self.slots + at.stop - at.start, state.shape[-1])
        points[:, : self.slots] = state
        points[:, self.slots :, : self.wide] = self.qkv.k[:, at]
        points[:, self.slots :, self.wide : -1] = self.qkv.v[:, at]
        if self.qkv.key_mask is not None:
            points[:, self.slots :, -1] = self.qkv.key_mask[at].to(points)
        return points

    def _fold(self, points: Float[Tensor, "g Cs f"], t: int) -> Float[Tensor, "g C f"]:
        """Slots after segment t: mean key, mean value and count."""
        into = torch.cat([self.merged[:, t], self.taken[:, self.span(t)]], 1)
        names = torch.arange(self.slots, device=into.device)[:, None]
        member = (into[:, None] == names) * points[:, None, :, -1]
        count = member.sum(-1, keepdim=True)
        state = (member @ points).div_(count.clamp_min(1))
        state[..., -1:] = count
        return state

    def scan(self, start: int, stop: int) -> Iterator[Float[Tensor, "g C f"]]:
        """Slots as each of the segments start … stop begins: mean key, mean value and count."""
        state = self.kept[:, 0]
        for t in range(start // self.stride * self.stride, stop):
            if t % self.stride == 0:
                state = self.kept[:, t // self.stride]
            else:
                state = self._fold(self._points(state, t - 1), t - 1)
            if t >= start:
                yield state


class Remembering(Attention):
    """Slots and own segment in one softmax."""

    def __init__(
        self, qkv: QKV, segment: int, slots: int, found: Mapping[str, Tensor] | None
    ) -> None:
        super().__init__(qkv.frame, views=lambda own: (own._view(),))
        self.parts = Composed(qkv, patterns.Segments(segment))  # checks widths
        self.qkv, self.found = qkv, found
        self.segment = min(segment, max(qkv.n, qkv.m))
        self.slots = min(slots, ended(qkv, segment) * segment)  # no more can hold something
        self.row_kind = self.parts.row_kind

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    @cached_property
    def recurrence(self) -> Recurrence:
        """Worked out when first asked for."""
        return Recurrence(self.qkv, self.segment, self.slots, self.found)

    def _joint(
        self, rows: Int[Tensor, "b r"], start: int
    ) -> tuple[Float[Tensor, "h b r C"], Float[Tensor, "h b r s"], Tensor, Tensor]:
        """Weights of rows of segments start … start + b on slots and on their own segments, the
        slots themselves (g b C f), and the own keys (b s)."""
        qkv, dtype, last = self.qkv, self.parts.dtype, self.recurrence.count
        segments = start + torch.arange(len(rows), device=self.device)
        own = segments[:, None] * self.segment + torch.arange(self.segment, device=self.device)
        seen = own < qkv.m
        own = own.clamp_max(qkv.m - 1)
        if qkv.key_mask is not None:
            seen &= qkv.key_mask.to(self.device)[own]
        seen = seen[:, None].expand(-1, rows.shape[1], -1)
        if qkv.causal:
            seen = seen & (own[:, None] <= rows[..., None] + qkv.frame.offset)
        stop = min(start + len(rows) - 1, last) + 1
        state = torch.stack([*self.recurrence.scan(min(start, last), stop)], 1)
        state = state[:, (segments - start).clamp_max(state.shape[1] - 1)]
        slots = state[..., : qkv.k.shape[-1]].to(dtype)
        keys = torch.cat([slots, qkv.k[:, own].to(dtype)], 2)
        q = (qkv.q[:, rows].to(dtype) * qkv.factor).unflatten(0, (qkv.groups, -1))
        logits = q @ keys[:, None].mT
        if (cap := qkv.softcap) is not None:
            logits = cap * torch.tanh(logits / cap)
        logits[..., : self.slots] += state[..., -1].log().to(dtype)[:, None, :, None]
        allowed = F.pad(seen, (self.slots, 0), value=True)  # an empty slot's ln c is −∞ already
        weights = normalisers.Softmax().weights(
            logits.flatten(0, 1).flatten(1, 2), allowed.flatten(0, 1), qkv.sinks,
            torch.zeros(rows.numel(), dtype=torch.long),
        ).unflatten(1, rows.shape)  # fmt: skip
        return weights[..., : self.slots], weights[..., self.slots :], state, own

    def weighted(self) -> Tensor:
        qkv, size = self.qkv, self.segment
        dtype = self.parts.dtype
        out = qkv.v.new_zeros(qkv.heads, qkv.n, qkv.v.shape[-1])
        first, last = max(0, qkv.frame.offset) // size, (qkv.n - 1 + qkv.frame.offset) // size
        step = max(1, BLOCK // (4 * qkv.heads * size * (size + self.slots)))
        for start in range(first, last + 1, step):
            segments = torch.arange(start, min(start + step, last + 1), device=self.device)
            rows = segments[:, None] * size - qkv.frame.offset
            rows = rows + torch.arange(size, device=self.device)
            real = (rows >= 0) & (rows < qkv.n)
            rows, real = rows[:, real.any(0)], real[:, real.any(0)]
            height = max(1, BLOCK // (2 * qkv.heads * len(rows) * (size + self.slots)))
            for part, here in zip(rows.split(height, 1), real.split(height, 1), strict=True):
                far, near, state, own = self._joint(part.clamp(0, qkv.n - 1), start)
                slots = state[..., qkv.k.shape[-1] : -1].to(dtype)
                values = torch.cat([slots, qkv.v[:, own].to(dtype)], 2)
                weights = torch.cat([far, near], -1).unflatten(0, (qkv.groups, -1))
                found = (weights @ values[:, None]).flatten(0, 1)
                out[:, part[here]] = found[:, here].to(out)
        return out

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        qkv, size, recurrence = self.qkv, self.segment, self.recurrence
        at = index(rows, qkv.n, self.device)
        labels, reached = ages.holders(recurrence.taken, recurrence.merged, size), -1
        held = recurrence.taken
        for part in at.split(max(1, BLOCK // (2 * qkv.heads * (qkv.m + self.slots)))):
            segment = (part + qkv.frame.offset).div(size, rounding_mode="floor")
            stop = min(qkv.m, (int(segment.max()) + 1) * size) if len(part) else 0
            weights = torch.zeros(
                qkv.heads, len(part), max(1, stop), dtype=self.parts.dtype, device=self.device
            )
            for s in segment[segment >= 0].unique().tolist():
                mine = (segment == s).nonzero()[:, 0]
                far, near, state, _ = self._joint(part[mine][None], s)
                span = slice(s * size, min((s + 1) * size, stop))
                if span.start < stop:
                    weights[:, mine, span] = near[:, 0, :, : span.stop - span.start]
                t = min(s, recurrence.count)
                if t < reached:
                    labels, reached = ages.holders(recurrence.taken, recurrence.merged, size), -1
                while reached < t:
                    held, reached = next(labels), reached + 1
                if t == 0:
                    continue
                count = self._per_head(state[:, 0, :, -1]).clamp_min(1).to(far)
                each = F.pad(far[:, 0] / count[:, None], (0, 1))
                past = min(t * size, stop)
                name = self._per_head(held[:, :past])
                name = torch.where(name < 0, self.slots, name)[:, None]
                weights[:, mine, :past] = each.gather(2, name.expand(-1, len(mine), -1))
            name = part if isinstance(rows, Tensor) else slice(int(part[0]), int(part[-1]) + 1)
            yield Block(name, slice(0, weights.shape[-1]), weights)

    def _per_head(self, x: Tensor) -> Tensor:
        """(g …) -> (h …)."""
        return x.repeat_interleave(self.qkv.heads // self.qkv.groups, 0)

    @cached_property
    def fidelity(self) -> Fidelity:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Relative output error on 256 rows, or all; worked out when first asked for."""
        qkv = self.qkv
        rows = ages.sample(qkv.n).to(self.device)
        full = Composed(qkv, patterns.Everything())
        exact = torch.cat([full.weigh(block) for block in full.blocks(rows)], 1)
        draw = torch.Generator().manual_seed(0)
        taken, merged = self.recurrence.taken, self.recurrence.merged
        chance = {
            "taken": torch.randint(max(1, self.slots), taken.shape, generator=draw),
            "merged": torch.arange(self.slots).expand(merged.shape),
        }
        chance["taken"] = chance["taken"].to(taken.device).masked_fill(taken < 0, -1)
        random = Remembering(qkv, self.segment, self.slots, chance)

        def error(att: Attention) -> Tensor:
            off = att.output[:, rows].to(exact) - exact
            return off.square().sum((1, 2)).sqrt() / exact.square().sum((1, 2)).sqrt()

        return Fidelity("output_error", error(self).float(), error(random).float())

    def _view(self) -> Memory:
        recurrence, wide = self.recurrence, self.qkv.k.shape[-1]
        held, drift, before = [], [], None
        for t, state in enumerate(recurrence.scan(0, recurrence.count + 1)):
            keys = state[..., :wide]
            if before is not None:
                into = recurrence.merged[:, t - 1]
                after = keys.gather(1, into.clamp_min(0)[..., None].expand(keys.shape))
                cosine = F.cosine_similarity(before, after, dim=-1)
                drift.append(cosine.masked_fill(into < 0, torch.nan).float())
            held.append(state[..., -1].float())
            before = keys
        nothing = torch.zeros(recurrence.merged.shape, device=self.device)
        slots = Slots(
            taken=recurrence.taken, merged=recurrence.merged, held=torch.stack(held, 1),
            drift=torch.stack(drift, 1) if drift else nothing,
        )  # fmt: skip
        return ages.memory(self, self.segment, None, slots)
