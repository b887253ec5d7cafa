"""The same sweep on a Ray cluster: a task each for (mechanism, length, seed), retried when lost.

Needs requirements-ray.txt. Records are written to a folder by whoever drives the sweep as they
come, one Parquet file a task, so that a sweep that was killed goes on where it was.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.dilution.sweep import Plan, Record, Task, measure
from engine.runtime.paths import ROOT
from engine.store import records

RETRIES = 3
"""Times that a task is tried again after its worker was lost or it failed."""
AHEAD = 4
"""Tasks in flight for every CPU of the cluster, so that a long sweep doesn't flood it."""


def run(
    checked: Plan, folder: str | Path, address: str | None = None, gpus: float = 0.0
) -> Iterator[Record]:
    """Records in the order in which tasks end.

    Args:
        folder: where records are kept; tasks whose records are there are not run.
        address: of a running cluster ("auto", "ray://host:10001"); a local one if None.
        gpus: that each task asks for; on those it computes on CUDA.

    Raises:
        ValueError: Ray is not installed, or the source is a callable of this process alone.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise ValueError("a cluster needs Ray: pip install -r requirements-ray.txt") from None
    if checked.make is not None:
        raise ValueError("on a cluster the source must be named, not a callable")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    left = []
    for task in checked.tasks:
        path = folder / f"{task.digest()}.parquet"
        if path.exists():
            yield from records.read(path)
        else:
            left.append(task)
    if not left:
        return
    ours = not ray.is_initialized()
    if ours:
        root = str(ROOT)
        environment: dict[str, Any] = {"env_vars": {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}}
        ray.init(
            address=address, runtime_env=environment, include_dashboard=False,
            log_to_driver=False, configure_logging=False,
        )  # fmt: skip
    try:
        yield from _gathered(ray, left, folder, gpus)
    finally:
        if ours:
            ray.shutdown()


def _gathered(ray: Any, left: list[Task], folder: Path, gpus: float) -> Iterator[Record]:
    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES, retry_exceptions=True)
    job = remote(_measured)
    room = max(1, int(AHEAD * ray.cluster_resources().get("CPU", 1)))
    waiting, running = list(reversed(left)), {}
    while waiting or running:
        while waiting and len(running) < room:
            task = waiting.pop()
            running[job.remote(task, gpus > 0)] = task
        (done,), _ = ray.wait(list(running), num_returns=1)
        task = running.pop(done)
        found = ray.get(done)
        records.write(found, folder / f"{task.digest()}.parquet")
        yield from found


def _measured(task: Task, cuda: bool) -> list[Record]:
    """One task, on a worker."""
    import dataclasses

    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return measure(dataclasses.replace(task, device="cuda") if cuda else task)
