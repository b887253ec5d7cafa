"""Passages of a text: as long as asked, each seed its own; what can't be read is refused."""

from pathlib import Path

import pytest
import torch

import engine
from engine.models import load
from engine.runtime.paths import TINY
from engine.sources import Passage, Passages, passage, samples
from tests.refusals import refused

TEXT = " ".join(f"Sentence {i} says that {i} times {i} is {i * i}." for i in range(60))


@pytest.fixture(scope="module")
def tiny():
    return load(TINY)


@pytest.mark.parametrize("n", [1, 2, 17, 256, 400])
@pytest.mark.parametrize("seed", [0, 1, 5])
def test_it_is_as_long_as_asked_and_a_piece_of_the_text(tiny, n: int, seed: int) -> None:
    qkv = passage(TEXT, n, seed, tiny, layer=2)
    assert qkv.n == qkv.m == n and qkv.causal
    assert qkv.tokens is not None and "".join(qkv.tokens[1:]) in TEXT
    if seed == 0:
        assert TEXT.startswith("".join(qkv.tokens[1:]))


def test_seeds_begin_at_sentences_of_their_own(tiny) -> None:
    found = ["".join(passage(TEXT, 40, seed, tiny).tokens[1:]) for seed in range(5)]
    assert len(set(found)) == 5
    assert all(words.lstrip().startswith("Sentence") for words in found)


def test_the_whole_text_is_one_passage(tiny) -> None:
    total = len(tiny.read(TEXT).tokens)
    a, b = (passage(TEXT, total, seed, tiny) for seed in (0, 3))
    assert torch.equal(a.q, b.q) and torch.equal(a.q, tiny.read(TEXT).layer(0).q)


def test_what_can_not_be_read(tiny) -> None:
    with refused(match="no passage of 5,000"):
        passage(TEXT, 5000, 0, tiny)
    with refused(match="no sample nowhere"):
        samples.text("nowhere")
    with refused(match="no passage of 8,192"):
        Passage(n=8192)
    with refused(match="no folder"):
        Passage(n=8, model="/nowhere/at/all")


def test_a_passage_names_its_text_and_weights(tiny, tmp_path: Path) -> None:
    one, other = Passages(TEXT), Passages(TEXT + " More.")
    assert one.beside != other.beside and Passages(TEXT, layer=2).beside == one.beside
    changed = load(TINY)
    with torch.no_grad():
        next(changed.net.parameters()).view(-1)[7] += 1
    assert changed.digest != tiny.digest == load(TINY).digest


def test_a_sweep_over_a_text(tmp_path: Path, monkeypatch) -> None:
    mechanisms = [("softmax", {}), ("window", {"window": 8})]
    records = list(engine.sweep(mechanisms, [32, 64], Passages(TEXT), seeds=2, folder=tmp_path))
    assert {r["n"] for r in records} == {32, 64} and {r["heads"] for r in records} == {6}
    assert all(r["needle_mass"] is None and r["trained_length"] == 1024 for r in records)
    qkv = passage(TEXT, 64, 1, layer=1)
    expected = engine.attend(qkv, "softmax").rows().means()["entropy"].tolist()
    found = [r for r in records if (r["mechanism"], r["n"], r["seed"]) == ("softmax", 64, 1)]
    assert [r["entropy"] for r in found] == pytest.approx(expected, rel=1e-5)
    assert list(engine.sweep(mechanisms, [32, 64], Passages(TEXT), 2, folder=tmp_path)) == records
    # another text's records are its own
    others = list(engine.sweep(mechanisms, [32], Passages(TEXT[9:]), folder=tmp_path))
    assert others[0]["entropy"] != records[0]["entropy"]
