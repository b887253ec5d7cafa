"""Records of a sweep's tasks on disk: one file a task, made by one process at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from engine.store import keeping

Record = dict[str, Any]
MOST_BYTES = 2**28
"""Of records that a folder may hold; those used longest ago go first."""
FIELDS = {
    "mechanism": str, "params": dict, "n": int, "seed": int, "source": str, "source_params": dict,
    "matched": bool, "calibrated": dict, "heads": int, "head": int, "rows_sampled": int,
    "extrapolated": bool, "bytes": int, "flops": int,
}  # fmt: skip
"""What each record says, and how, beside its statistics."""


def keep(path: Path, records: list[Record]) -> None:
    """Put a task's records where `stored` finds them, unless the disk takes none."""
    said = json.dumps(records)
    keeping.keep(path, lambda part: part.write_text(said, "utf-8"), MOST_BYTES)


def stored(path: Path) -> list[Record] | None:
    """The records in a file; None if it is not there. What is damaged, or is no records of this
    form, is set aside."""
    try:
        records = json.loads(path.read_text("utf-8"))
    except OSError:
        return None
    except (ValueError, RecursionError):
        records = None
    if not _are_records(records):
        keeping.set_aside(path)
        return None
    keeping.used(path)
    return records


def _are_records(found: Any) -> bool:
    """Whether these are one record a head, with all that a record says."""
    return (
        isinstance(found, list)
        and bool(found)
        and all(isinstance(record, dict) and _kinds(record) >= FIELDS.items() for record in found)
        and [record["head"] for record in found] == list(range(found[0]["heads"]))
    )


def _kinds(record: Mapping[str, Any]) -> set[tuple[str, type]]:
    return {(name, type(value)) for name, value in record.items()}


@contextmanager
def alone_at(path: Path) -> Iterator[None]:
    """Nobody else makes this file meanwhile; on a disk that can't be written, several may."""
    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        # no lock stays behind; at worst two who waited for it make the same file
        path.with_suffix(".lock").unlink(missing_ok=True)
        lock.release()
