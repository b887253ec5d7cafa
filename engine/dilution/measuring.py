"""What the lab measures beside sweeps: one row's weights in order, and needles among noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float

from engine import mechanisms
from engine.contract import QKV, Choice, Pairs
from engine.dilution.calibrate import Calibrated
from engine.dilution.sweep import (
    SAMPLED,
    Match,
    Plan,
    Record,
    Task,
    calibrated,
    hits,
    kept,
    make_source,
    output_error,
    plan,
    sampled_rows,
)
from engine.mechanisms import cost
from engine.mechanisms.softmax import Softmax
from engine.sources import planted

STARTING, CALIBRATING = 1e6, 2e7
"""What a task takes whatever its length, and what it takes to be calibrated, in scores."""
ALIKE, WIDE = 1024, 64
"""Keys and width at which a mechanism's work is set against softmax's."""
NOISE_ROWS, DRAWN = 256, 128
"""Rows that are looked at for each noise and length; for each draw beside a curve."""


def gathered(
    checked: Plan, progress: Callable[[float], None] | None = None, folder: Path | None = None
) -> list[Record]:
    """All records of a plan; `progress` is told the share done, what it raises ends it."""
    made: list[Record] = []
    for i, task in enumerate(checked.tasks):
        made += kept(task, checked.make, folder)
        if progress is not None:
            progress((i + 1) / len(checked.tasks))
    return made


def work(task: Task) -> float:
    """Scores that a task has to compute, about: what it takes is proportional to them."""
    heads = dict(task.source_params).get("heads", 4)
    rows = task.n if task.n <= SAMPLED else min(task.rows, task.n)
    each = _against_softmax(task.mechanism, task.params)
    return float(heads) * rows * task.n * each + (CALIBRATING if task.match else STARTING)


@lru_cache(1024)
def _against_softmax(key: str, params: Pairs) -> float:
    """What a score costs under a mechanism, beside one of softmax, and at least as much."""
    one = torch.ones(1, 1, 1).expand(1, ALIKE, WIDE)
    qkv = QKV(one, one, one)
    own, plain = (
        cost.estimate(mechanism, qkv).work
        for mechanism in (mechanisms.make(key, **dict(params)), mechanisms.make("softmax"))
    )
    return max(1.0, own / plain)


@dataclass(frozen=True)
class Rows:
    """One row of each mechanism at each length.

    Attributes:
        settings: how each mechanism was set, and whether it could be matched.
        weights: at each length, the row's from largest to smallest.
    """

    settings: dict[Choice, tuple[Calibrated, bool]]
    weights: list[dict[Choice, list[float]]]


def sorted_rows(
    mechanisms: Sequence[Choice], source: str, source_params: Pairs, lengths: Sequence[int],
    match: str = "none", match_at: int = 0,
) -> Rows:  # fmt: skip
    """The middle row of the first head, with the first seed; matched as a sweep would be, at
    `match_at` keys (0: the shortest length).

    Raises:
        ValueError: as `plan` does.
    """
    checked = plan(
        [(key, dict(pairs)) for key, pairs in mechanisms], list(lengths), source,
        source_params=dict(source_params), match=cast(Match, "" if match == "none" else match),
        match_at=match_at or None,
    )  # fmt: skip
    settings: dict[Choice, tuple[Calibrated, bool]] = {}
    weights = []
    for n, tasks in groupby(checked.tasks, lambda task: task.n):
        qkv = make_source(source, dict(source_params), n, 0, None).head(0)
        rows = {}
        for choice, task in zip(mechanisms, tasks, strict=True):
            settings[choice] = calibrated(task)
            with torch.inference_mode():
                w = settings[choice][0].attend(qkv).weights(torch.tensor([n // 2]))[0, 0]
            rows[choice] = w.double().sort(descending=True).values.tolist()
        weights.append(rows)
    return Rows(settings, weights)


def against_noise(
    gap: float,
    lengths: Sequence[int],
    noises: Sequence[float],
    seeds: int = 2,
    progress: Callable[[float], None] | None = None,
) -> tuple[Float[np.ndarray, "s n"], Float[np.ndarray, "s n"]]:
    """Needle mass, and how often the needle has the largest weight, over noise (rows) and length
    (columns), measured under softmax on NOISE_ROWS rows of four heads a seed."""
    mass, first = (np.zeros((len(noises), len(lengths))) for _ in range(2))
    for i, noise in enumerate(noises):
        for j, n in enumerate(lengths):
            for seed in range(seeds):
                qkv = planted(n=n, gap=gap, noise=noise, heads=4, seed=seed)
                stats = Softmax().attend(qkv).rows(sampled_rows(n, NOISE_ROWS, seed))
                mass[i, j] += float(stats.needle_mass.mean()) / seeds
                first[i, j] += float(hits(stats, qkv).mean()) / seeds
        if progress is not None:
            progress((i + 1) / len(noises))
    return mass, first


def needles(
    lengths: Sequence[int], gap: float, noise: float, needles: int, seeds: int = 2, heads: int = 2
) -> list[Record]:
    """What softmax makes of planted needles, in records as a sweep's, of DRAWN rows each."""
    found = []
    for n in lengths:
        for seed in range(seeds):
            qkv = planted(n=n, gap=gap, noise=noise, needles=needles, heads=heads, seed=seed)
            at = sampled_rows(n, DRAWN, seed)
            stats, output = Softmax().attend(qkv).sampled(at, qkv.v)
            means, error = stats.means(), output_error(output, qkv)
            found += [
                {"mechanism": Softmax.key, "params": {}, "n": n, "output_error": float(error[h])}
                | {name: float(value[h]) for name, value in means.items()}
                for h in range(heads)
            ]
    return found
