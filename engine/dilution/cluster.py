"""The same sweep on a Ray cluster: a task each for (mechanism, length, seed), retried when lost.

Records are written to a folder by whoever drives the sweep as they come, one Parquet file a task,
so that a sweep that was killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from engine.dilution.sweep import Plan, Record, Task, measure
from engine.runtime.cluster import spread
from engine.store import records


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
    for task, found in spread(_measured, left, gpus > 0, address, gpus):
        records.write(found, folder / f"{task.digest()}.parquet")
        yield from found


def _measured(task: Task, cuda: bool) -> list[Record]:
    """One task, on a worker."""
    return measure(replace(task, device="cuda") if cuda else task)
