"""What the lab measures beside sweeps: one row's weights in order, and needles among noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float

from engine.contract import Choice, Pairs
from engine.dilution.sweep import (
    SAMPLED,
    Match,
    Plan,
    Record,
    Task,
    calibrated,
    found,
    hits,
    kept,
    make_source,
    plan,
    sampled_rows,
)
from engine.mechanisms.softmax import Softmax
from engine.sources import planted

STARTING, CALIBRATING = 1e6, 2e7
"""What a task takes whatever its length, and what it takes to be calibrated, in scores."""
NOISE_ROWS = 256
"""Rows that are looked at for each noise and length."""


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


def done(checked: Plan, folder: Path) -> list[Record]:
    """The records of a plan that are in the folder already."""
    return [
        record
        for task in checked.tasks
        for record in found(folder / f"{task.digest()}.json") or ()
    ]


def work(task: Task) -> float:
    """Scores that a task has to compute, about: what it takes is proportional to them."""
    heads = dict(task.source_params).get("heads", 4)
    rows = task.n if task.n <= SAMPLED else min(task.rows, task.n)
    return float(heads) * rows * task.n + (CALIBRATING if task.match else STARTING)


def sorted_rows(
    mechanisms: Sequence[Choice], source: str, source_params: Pairs, lengths: Sequence[int],
    match: str = "none", match_at: int = 0,
) -> list[dict[Choice, list[float]]]:  # fmt: skip
    """At each length, the middle row's weights of the first head from largest to smallest, by
    mechanism; matched as the sweep would be, at `match_at` keys (0: the shortest length).

    Raises:
        ValueError: as `plan` does.
    """
    checked = plan(
        [(key, dict(pairs)) for key, pairs in mechanisms], list(lengths), source,
        source_params=dict(source_params), match=cast(Match, "" if match == "none" else match),
        match_at=match_at or None,
    )  # fmt: skip
    rows: dict[int, dict[Choice, list[float]]] = {}
    for task in checked.tasks:
        made = make_source(task.source, dict(task.source_params), task.n, task.seed, None)
        qkv = made.head(0)
        with torch.inference_mode():
            w = calibrated(task)[0].attend(qkv).weights(torch.tensor([qkv.n // 2]))[0, 0]
        name = task.mechanism, task.params
        rows.setdefault(task.n, {})[name] = w.double().sort(descending=True).values.tolist()
    return list(rows.values())


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
