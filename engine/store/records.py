"""Records of a sweep as a file: CSV, JSON or Parquet by its ending, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.contract import Refusal
from engine.store.keeping import put

FORMS = ("csv", "json", "parquet")


def flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as one row of a table: nested parameters as JSON."""
    return {
        key: json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
        for key, value in record.items()
    }


def encoded(records: Sequence[Mapping[str, Any]], form: str) -> bytes:
    """Records in one of FORMS.

    Raises:
        ValueError: there is no such form, or Parquet is asked for where pyarrow is not installed.
    """
    rows = [flat(record) for record in records]
    if form == "json":
        return json.dumps(list(records), indent=1).encode()
    if form == "csv":
        made = io.StringIO()
        table = csv.DictWriter(made, list(rows[0]) if rows else [], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        return made.getvalue().encode()
    if form != "parquet":
        raise Refusal(
            "records are written as {allowed}, not {form!r}", allowed=", ".join(FORMS), form=form
        )
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise Refusal("Parquet needs pyarrow: pip install pyarrow, or write CSV") from None
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def write(records: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Write them, in the form that the file's ending names; an older file stays until they are.

    Raises:
        ValueError: the ending names no form. OSError: the disk is full, the folder is missing, …
    """
    path = Path(path)
    data = encoded(records, path.suffix.removeprefix("."))
    put(path, lambda part: part.write_bytes(data))


def read(path: str | Path) -> list[dict[str, Any]]:
    """Records that `write` wrote, as JSON or Parquet.

    Raises:
        ValueError: the ending names neither.
    """
    path = Path(path)
    if path.suffix == ".json":
        return json.loads(path.read_text("utf-8"))
    if path.suffix != ".parquet":
        raise Refusal("records are read from .json or .parquet")
    import pyarrow.parquet as pq

    rows = pq.read_table(path).to_pylist()
    nested = ("params", "source_params", "calibrated")
    return [
        {key: json.loads(value) if key in nested else value for key, value in row.items()}
        for row in rows
    ]
