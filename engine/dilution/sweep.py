"""Mechanism × length × seed -> records of how attention thins out, kept on disk as they are made.

A record is one head of one mechanism at one length with one seed. Above SAMPLED keys its
statistics are of ROWS rows, one drawn from each of as many equal stretches, exact for each.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from engine import mechanisms
from engine.contract import QKV, Refusal, one_of
from engine.dilution import keeping
from engine.dilution.calibrate import Calibrated, calibrate
from engine.dilution.keeping import Record, stored
from engine.measure.metrics import RowStats
from engine.mechanisms import cost
from engine.mechanisms.base import Mechanism
from engine.runtime.threads import alone
from engine.sources import SWEPT, Passages
from engine.text import quantities

SAMPLED = 4096
"""Keys above which rows are sampled."""
ROWS = 1024
"""Rows that are then looked at."""
MOST_BYTES = 2 * 10**9
"""Memory that a sweep may take unless it is given another bound."""
AT_ONCE = 2**30
"""Bytes beside Q, K and V, at most: of what is worked on at once, and of what the allocator keeps
from one length to the next."""
FORM = 3
"""Of the records on disk; raised when their meaning changes."""

Match = Literal["", "entropy", "needle_mass"]
"""What mechanisms are calibrated to share at the start; "" for nothing."""
Made = Callable[[int, int], QKV]
"""(n, seed) -> what is attended."""

STATISTICS = (
    "entropy", "normalised_entropy", "effective_tokens", "participation", "max_weight", "top_mass",
    "sink_mass", "distance", "kept_mass", "needle_mass", "l1_mass", "negative_mass",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One mechanism at one length with one seed: what one record's heads share.

    Attributes:
        mechanism, params: a key of MECHANISMS and its parameters. n: keys.
        source, source_params: a key of SWEPT and its parameters, or "" for a callable.
        beside: what else decides the source (a text, a model's weights), as a digest.
        match, match_at: calibrated to equal softmax in this at this length; "" for not at all.
        rows: rows looked at above SAMPLED keys.
    """

    mechanism: str
    params: tuple[tuple[str, Any], ...]
    n: int
    seed: int
    source: str
    source_params: tuple[tuple[str, Any], ...] = ()
    match: Match = ""
    match_at: int = 0
    rows: int = ROWS
    device: str = "cpu"
    beside: str = ""

    def digest(self) -> str:
        """The name of its records on disk."""
        said = json.dumps([FORM, asdict(self)], sort_keys=True, default=list)
        return hashlib.sha256(said.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Plan:
    """A sweep that has been checked.

    Attributes:
        tasks: shortest lengths first. make: (n, seed) -> QKV where the source is a callable.
        bytes: of memory that it takes, at most.
    """

    tasks: tuple[Task, ...]
    bytes: int
    make: Made | None = field(default=None, compare=False)


def plan(
    mechanisms: Sequence[tuple[str, Mapping[str, Any]]],
    lengths: Sequence[int],
    source: str | Made = "planted",
    seeds: int | Sequence[int] = 1,
    *,
    source_params: Mapping[str, Any] | None = None,
    match: Match = "",
    match_at: int | None = None,
    rows: int = ROWS,
    device: str = "cpu",
    most_bytes: int = MOST_BYTES,
) -> Plan:
    """Check a sweep and order its tasks; arguments as in `sweep`.

    Raises:
        ValueError: says what is wrong, before anything is computed.
    """
    lengths, params = list(lengths), dict(source_params or {})
    if not mechanisms:
        raise Refusal("a sweep needs at least one mechanism")
    if not lengths or any(type(n) is not int or n < 1 for n in lengths):
        raise Refusal("lengths must be whole numbers from 1 up, at least one")
    if any(a >= b for a, b in pairwise(lengths)):
        raise Refusal("lengths must rise, each longer than the one before")
    drawn = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not drawn or any(type(s) is not int or s < 0 for s in drawn):
        raise Refusal("seeds must be a number of seeds from 1 up, or whole numbers from 0 up")
    if rows < 1:
        raise Refusal("at least one row must be looked at")
    if match not in ("", "entropy", "needle_mass"):
        raise Refusal("match must be entropy, needle_mass or nothing, not {match!r}", match=match)
    made = [make_mechanism(key, given) for key, given in mechanisms]
    name, make = (source, None) if isinstance(source, str) else ("", source)
    if isinstance(source, str):
        one_of("source", source, SWEPT)
        if taken := {"n", "seed"} & set(params):
            raise Refusal("{name} is chosen by the sweep itself", name=min(taken))
    named = [SWEPT[name](n=n, seed=drawn[0], **params) for n in lengths] if name else []
    longest = max(lengths[-1], (match_at or 0) if match else 0)
    if named:  # refused before any key is made
        bounded(2 * named[-1].bytes // lengths[-1] * longest + AT_ONCE, longest, most_bytes)
    shortest = make_source(name, params, lengths[0], drawn[0], make)
    if match == "needle_mass" and shortest.needles is None:
        raise Refusal("this source has no needles: match the entropy instead")
    for mechanism in made:
        mechanism.check(shortest)
    beside = ""
    if name:
        beside = named[0].beside
    elif isinstance(source, Passages):
        for n in lengths:
            source.check(n)
        beside, params = source.beside, {"model": source.model, "layer": source.layer}
    held = max(held_at(mechanism, shortest, longest) for mechanism in made)
    needed = bytes_needed(shortest, longest) + held
    bounded(needed, longest, most_bytes)
    tasks = tuple(
        Task(
            mechanism=key,
            params=tuple(sorted(given.items())),
            n=n,
            seed=seed,
            source=name,
            source_params=tuple(sorted(params.items())),
            match=match,
            match_at=(match_at or lengths[0]) if match else 0,
            rows=rows,
            device=device,
            beside=beside,
        )
        for n in lengths
        for seed in drawn
        for key, given in mechanisms
    )
    return Plan(tasks, needed, make)


def bounded(needed: int, n: int, most_bytes: int) -> None:
    """Refuse what would take more memory than there may be."""
    if needed > most_bytes:
        raise Refusal(
            "{n, plural, one {# key takes} other {# keys take}} up to {needed} of memory, and "
            "the bound is {bound}: fewer keys, or narrower or fewer heads, take less",
            n=n, needed=quantities.memory(needed), bound=quantities.memory(most_bytes),
        )  # fmt: skip


def held_at(mechanism: Mechanism, like: QKV, n: int) -> int:
    """Bytes of what a mechanism keeps for a whole text of n keys, of a source of this shape.

    Raises:
        ValueError: the mechanism can't take so many.
    """
    if like.layer is not None or like.n != like.m:  # it grows as the text does, at most
        return mechanism.within(like).held(like) * n // like.n
    q, k, v = (x[:, :1].expand(-1, n, -1) for x in (like.q, like.k, like.v))
    long = QKV(q, k, v, causal=like.causal)
    mechanism.check(long)
    return mechanism.within(long).held(long)


def bytes_needed(like: QKV, n: int) -> int:
    """Memory of a sweep up to n keys of a source of this shape, at most: Q, K and V, as much again
    while they are made, and what is worked on."""
    layer = like.layer
    given = (like.q, like.k, like.v, None if layer is None or layer.x is None else layer.x[None])
    wide = sum(x.shape[0] * x.shape[2] * x.element_size() for x in given if x is not None)
    return 2 * wide * n + AT_ONCE


def sweep(
    mechanisms: Sequence[tuple[str, Mapping[str, Any]]],
    lengths: Sequence[int],
    source: str | Made = "planted",
    seeds: int | Sequence[int] = 1,
    *,
    folder: str | Path | None = None,
    **how: Any,
) -> Iterator[Record]:
    """Records as they are ready, shortest lengths first.

    Args:
        mechanisms: (key, parameters) pairs. lengths: keys, rising.
        source: a key of SWEPT with its defaults, or (n, seed) -> QKV; `sources.Passages` is one
            over a text of one's own, and of those the only one whose records are kept.
        seeds: how many (0, 1, …), or which.
        folder: records are kept here, and those that are here are not made again.
        how: source_params (of the source); match = "entropy" or "needle_mass", each mechanism
            calibrated to equal softmax in it at `match_at` keys (default: the shortest length);
            rows, looked at above SAMPLED keys; device; most_bytes, of memory.

    Raises:
        ValueError: the sweep is not possible; raised here, before the first record.
    """
    checked = plan(mechanisms, lengths, source, seeds, **how)
    return run(checked, folder)


def run(checked: Plan, folder: str | Path | None = None) -> Iterator[Record]:
    """The records of a plan, task by task."""
    for task in checked.tasks:
        yield from kept(task, checked.make, folder)


def kept(task: Task, make: Made | None, folder: str | Path | None) -> list[Record]:
    """A task's records: from the folder if they are there, else made and put there.

    Where several want the same records at once, one makes them and the others wait.
    """
    if folder is None or (make is not None and not task.beside):
        return measure(task, make)
    path = Path(folder) / f"{task.digest()}.json"
    if (records := stored(path)) is not None:
        return records
    with keeping.alone_at(path):
        if (records := stored(path)) is None:
            records = measure(task, make)
            keeping.keep(path, records)
    return records


def measure(task: Task, make: Made | None = None) -> list[Record]:
    """One record a head."""
    source = dict(task.source_params)
    qkv = make_source(task.source, source, task.n, task.seed, make).to(task.device)
    ready, matched = calibrated(task, make)
    rows = sampled_rows(qkv.n, task.rows, task.seed) if qkv.m > SAMPLED else None
    at = torch.arange(qkv.n) if rows is None else rows
    with torch.inference_mode():
        began = time.perf_counter()
        att = alone(lambda: ready.attend(qkv), qkv.device)  # choosing keys: many small steps
        stats, output = att.sampled(at.to(qkv.device), qkv.v)
        seconds = time.perf_counter() - began
    means = {name: value.tolist() for name, value in stats.means().items()}
    if qkv.needles is None:
        means["needle_mass"] = [float("nan")] * qkv.heads
    error = None if qkv.needles is None else output_error(output, qkv).tolist()
    hit = None if qkv.needles is None else hits(stats, qkv).tolist()
    common = {
        "mechanism": task.mechanism, "params": dict(task.params), "n": task.n, "seed": task.seed,
        "source": task.source or "given", "source_params": source,
        "match": task.match, "match_at": task.match_at, "matched": matched,
        "scale": ready.scale, "calibrated": parameters(ready.mechanism),
        "trained_length": qkv.origin.trained_length,
        "heads": qkv.heads, "rows_sampled": len(at), "seconds": seconds * qkv.n / len(at),
        "extrapolated": len(at) < qkv.n, "bytes": ready.mechanism.bytes_needed(qkv),
        "flops": cost.operations(ready.mechanism, qkv, att),
    }  # fmt: skip
    return [
        common
        | {"head": h}
        | {name: _number(means[name][h]) for name in STATISTICS}
        | {
            "output_error": None if error is None else error[h],
            "needle_hit": None if hit is None else hit[h],
        }
        for h in range(qkv.heads)
    ]


def calibrated(task: Task, make: Made | None = None) -> tuple[Calibrated, bool]:
    """The mechanism, set to equal softmax at the task's reference length if that can be."""
    if not task.match:
        return Calibrated(make_mechanism(task.mechanism, dict(task.params))), False
    if make is not None:
        return _calibrated(task, make)
    return _calibrated_once(replace(task, n=task.match_at, rows=0))


def _calibrated(task: Task, make: Made | None = None) -> tuple[Calibrated, bool]:
    mechanism, match = make_mechanism(task.mechanism, dict(task.params)), task.match
    assert match
    source = dict(task.source_params)
    qkv = make_source(task.source, source, task.match_at, task.seed, make).to(task.device)
    try:
        with torch.inference_mode():
            return alone(lambda: calibrate(mechanism, qkv, match), qkv.device), True
    except Refusal:  # no sharpness does it: as it is, and the record says so
        return Calibrated(mechanism), False


_calibrated_once = lru_cache(256)(_calibrated)
"""Once for all lengths of a sweep."""


def _number(value: float) -> float | None:
    """JSON knows no NaN; signed rows have no entropy."""
    return value if value == value else None


def parameters(mechanism: Mechanism) -> dict[str, Any]:
    """All parameters of a mechanism, after calibration; those declared later where they are not
    at their defaults."""
    from engine.contract import params_of

    return {
        name: getattr(mechanism, name)
        for name, declared in params_of(type(mechanism)).items()
        if not declared.later or getattr(mechanism, name) != declared.default
    }


def sampled_rows(n: int, rows: int, seed: int) -> Int[Tensor, " r"]:
    """One row drawn from each of `rows` equal stretches of n."""
    count = min(rows, n)
    edges = torch.linspace(0, n, count + 1, dtype=torch.float64)
    draw = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (edges[:-1] + draw * edges.diff()).long().clamp_max(n - 1)


def output_error(output: Tensor, qkv: QKV) -> Tensor:
    """√(Σ‖o − v*‖² / Σ‖v*‖²) over rows, where v* is the mean of the needles' values; (h)."""
    assert qkv.needles is not None
    per = qkv.heads // qkv.groups
    aim = qkv.v[:, qkv.needles].mean(1, keepdim=True).repeat_interleave(per, 0).double()
    missed = (output.double() - aim).square().sum((1, 2))
    return (missed / (aim.square().sum((1, 2)) * output.shape[1])).sqrt()


def hits(stats: RowStats, qkv: QKV) -> Tensor:
    """Share of rows whose largest weight is a needle's, (h)."""
    assert qkv.needles is not None
    return torch.isin(stats.argmax, qkv.needles.to(stats.argmax)).double().mean(1)


def make_mechanism(key: str, params: Mapping[str, Any]) -> Mechanism:
    """A mechanism by key and parameters.

    Raises:
        ValueError: no such mechanism, or a parameter that is not valid.
    """
    return mechanisms.make(key, **params)


def make_source(key: str, params: Mapping[str, Any], n: int, seed: int, make: Made | None) -> QKV:
    """Q, K and V of one length and seed.

    Raises:
        ValueError: the source can't be made so.
    """
    if make is not None:
        return make(n, seed)
    return SWEPT[key](n=n, seed=seed, **params).make()
