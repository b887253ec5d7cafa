"""Numbers to take away are those of the attention."""

import io

import numpy as np
import pytest
import torch

import engine
from engine.store import records, taken


@pytest.fixture(scope="module")
def att():
    return engine.attend(engine.sources.planted(n=12, heads=2, dim=8, causal=True), "softmax")


def test_a_record_a_row(att):
    stats = att.rows()
    found = taken.rows(att, stats, 1, mechanism="softmax")
    assert len(found) == 24 and found[13]["head"] == 1 and found[13]["query"] == 1
    weights = att.weights()[1, 1]
    assert found[13]["max_weight"] == pytest.approx(float(weights.max()), abs=1e-6)
    lines = records.encoded(found, "csv").decode().splitlines()
    assert len(lines) == 25 and lines[0].startswith("mechanism,head,query,entropy")


def test_of_too_many_rows_those_of_the_head(att, monkeypatch):
    monkeypatch.setattr(taken, "MOST_RECORDS", 20)
    assert {record["head"] for record in taken.rows(att, att.rows(), 1)} == {1}


def test_a_gap_where_there_is_no_number():
    signed = engine.attend(engine.sources.planted(n=8, heads=1, dim=8), "differential")
    assert taken.rows(signed, signed.rows(), 0)[0]["entropy"] is None


def test_arrays_come_back(att):
    stats, row = att.rows(), att.weights(torch.tensor([5]))[1, 0]
    data = taken.packed(taken.arrays(att, stats, {"max": att.heatmap(4)}, row, head=1, query=5))
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        assert found["row_weights"] == pytest.approx(row.numpy())
        assert found["entropy"].shape == (2, 12) and found["map_max"].shape == (2, 4, 4)
        assert int(found["head"]) == 1 and int(found["query"]) == 5


def test_a_name_says_what_it_is_and_is_safe():
    assert taken.name("tiny", "layer 1", "../lsh", "") == "tiny-layer-1-..-lsh"
    assert "/" not in taken.name("owner/name", "x")
