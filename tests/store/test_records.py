"""Records as files."""

import csv
import io
import json

import pytest

import engine
from engine.store import records
from tests.refusals import refused

RECORDS = list(engine.sweep([("softmax", {}), ("window", {"window": 4})], [16], seeds=1))


def test_csv_is_a_table() -> None:
    rows = list(csv.DictReader(io.StringIO(records.encoded(RECORDS, "csv").decode())))
    assert len(rows) == len(RECORDS)
    for row, record in zip(rows, RECORDS, strict=True):
        assert float(row["entropy"]) == record["entropy"] and int(row["n"]) == 16
        assert json.loads(row["params"]) == record["params"]


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_what_is_written_is_read(form, tmp_path) -> None:
    path = tmp_path / f"found.{form}"
    records.write(RECORDS, path)
    assert records.read(path) == RECORDS
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_an_older_file_stays_where_the_new_one_fails(tmp_path, monkeypatch) -> None:
    path = tmp_path / "found.json"
    records.write(RECORDS[:1], path)

    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        records.write(RECORDS, path)
    monkeypatch.undo()
    assert records.read(path) == RECORDS[:1] and len(list(tmp_path.iterdir())) == 1


def test_refusals(tmp_path) -> None:
    with refused(match="csv, json, parquet"):
        records.write(RECORDS, tmp_path / "found.xlsx")
    with refused(match="read from"):
        records.read(tmp_path / "found.csv")
