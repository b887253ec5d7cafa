"""What an output costs, measured: wall time, and the most memory that is held at once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.contract import QKV
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism
from engine.runtime.threads import here

ENOUGH = 0.4
"""Seconds of runs after which the quickest is taken."""
MOST = 5
"""Runs at most."""
EACH = 64
"""Operations that statistics and maps take of each weight, about."""


@dataclass(frozen=True)
class Effort:
    """What the output took, above its inputs.

    Attributes:
        seconds: of attending and `.output`, the quickest of up to five runs.
        bytes: of all tensors alive at the worst moment, the output among them. Counted tensor by
            tensor in a run of its own, on one thread; what a kernel of torch keeps to itself while
            it runs is not in it. On CUDA, what torch's allocator says.
        flops: counted on what was made, 2 a multiply-add.
    """

    seconds: float
    bytes: int
    flops: int


class Alive(TorchDispatchMode):
    """Adds up the storages of tensors that come to be inside, and drops those that go.

    Attributes:
        peak: bytes at the worst moment. Storages in `given` don't count.
    """

    def __init__(self, given: list[Tensor]) -> None:
        super().__init__()
        self.given = [StorageWeakRef(x.untyped_storage()) for x in given]
        self.known = {ref.cdata for ref in self.given}
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                self._see(x)
        return out

    def _see(self, x: Tensor) -> None:
        storage = x.untyped_storage()
        ref = StorageWeakRef(storage)
        if ref.cdata in self.known or ref.cdata in self.alive:
            return
        self.alive = {k: v for k, v in self.alive.items() if not v[0].expired()}
        self.alive[ref.cdata] = ref, storage.nbytes()
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))


def measure(mechanism: Mechanism, qkv: QKV) -> Effort:
    """Attend and take the output, several times over.

    Raises:
        ValueError: the mechanism can't honour the QKV.
    """
    best, runs, began = float("inf"), 0, time.perf_counter()
    with torch.no_grad():  # not inference_mode: there composite operations are one, unseen inside
        while True:
            start = time.perf_counter()
            att = mechanism.attend(qkv)
            att.output  # noqa: B018
            if qkv.device.type == "cuda":
                torch.cuda.synchronize(qkv.device)
            best = min(best, time.perf_counter() - start)
            runs += 1
            if runs == MOST or time.perf_counter() - began > ENOUGH:
                break
        return Effort(best, _peak(mechanism, qkv), operations(mechanism, qkv, att))


def operations(mechanism: Mechanism, qkv: QKV, att: Attention) -> int:
    """Floating-point operations of an output that is there, 2 a multiply-add.

    As `Mechanism.flops`, with the pairs that were really scored in place of the expected ones
    where what keys hold decides how many.

    Args:
        att: what `mechanism` made of `qkv`.
    """
    more = 0 if att.scored is None else att.scored - qkv.heads * mechanism.pairs(qkv)
    return mechanism.flops(qkv) + 2 * more * (qkv.k.shape[-1] + qkv.v.shape[-1])


def _peak(mechanism: Mechanism, qkv: QKV) -> int:
    if qkv.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(qkv.device)
        before = torch.cuda.memory_allocated(qkv.device)
        mechanism.attend(qkv).output  # noqa: B018
        return torch.cuda.max_memory_allocated(qkv.device) - before
    with here(), Alive([qkv.q, qkv.k, qkv.v]) as alive:
        mechanism.attend(qkv).output  # noqa: B018
    return alive.peak


@dataclass(frozen=True)
class Estimate:
    """What a summary will cost, from shapes alone.

    Attributes:
        bytes: at most, above inputs, on one thread. flops: of the output.
        work: of the output and of all that statistics and maps take, about.
    """

    bytes: int
    flops: int
    work: int = 0


def estimate(mechanism: Mechanism, qkv: QKV, size: int = 512) -> Estimate:
    """What attending and summarising would cost, before anything is computed."""
    mechanism = mechanism.within(qkv)
    flops = mechanism.flops(qkv)
    again = qkv.heads * mechanism.shown(qkv) * (mechanism.scoring(qkv) + EACH)
    return Estimate(mechanism.bytes_needed(qkv, size), flops, flops + again)
