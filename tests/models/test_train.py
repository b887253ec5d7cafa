"""The tokenizer, the sequences, the scores and a whole training, on texts of our own."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.models.training import circuit, corpus, evaluate, train
from engine.models.training.tokenizer import BOS, LONGEST_TOKEN, train_tokenizer

ENGLISH = "The lamp was lit, and Quill said: it isn't far; the path goes round the lake.\n"
CHINESE = "灯亮了，小船说：不远，路绕着湖走。\n"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([ENGLISH * 5, CHINESE * 5], 320).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@given(st.text() | st.text("ab 灯龘\r\n\t\0'’é\u0301😀\u200d1<|bos|>"))
@settings(max_examples=200)
def test_tokenizer_gives_back_every_text_after_bos(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id == 0
    assert tokenizer.decode(ids[1:]) == text
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("text", [BOS, "😀👩‍👩‍👧", "\r\n\n \r", "\0", "   a  b   ", "龘"])
def test_tokenizer_gives_back_awkward_texts(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"][1:]) == text


def test_tokens_are_short_and_han_characters_stay_apart(tokenizer):
    pieces = [tokenizer.decode([i]) for i in range(1, len(tokenizer))]
    assert max(len(piece.encode()) for piece in pieces if "�" not in piece) <= LONGEST_TOKEN
    assert all(len(piece) == 1 for piece in pieces if "灯" in piece or "湖" in piece)


def test_a_vocabulary_too_small_for_bytes_is_refused():
    with pytest.raises(ValueError, match="256 bytes"):
        train_tokenizer([ENGLISH], 100)


@pytest.mark.parametrize("length", [8, 32, 256])
def test_repeated_random_repeats_at_its_period(length):
    ids, periods = corpus.repeated_random(torch.Generator().manual_seed(0), 20, length, 4096)
    assert ids.shape == (20, length)
    assert (ids[:, 0] == 0).all()
    assert (ids[:, 1:] > 0).all()
    for row, period in zip(ids[:, 1:], periods.tolist(), strict=True):
        assert 2 <= period <= (length - 1) // 2
        assert torch.equal(row[period:], row[:-period])
        assert len(set(row[:period].tolist())) > period // 2


def test_windows_start_with_bos_and_cover_the_text_evenly():
    text = np.arange(1, 1001, dtype=np.uint16)
    ids = corpus.windows(text, 0, 300, 11)
    assert (ids[:, 0] == 0).all()
    assert (ids[:, 2:] - ids[:, 1:-1] == 1).all()
    counts = np.bincount(ids[:, 1:].flatten().numpy(), minlength=1001)[11:-11]
    assert counts.min() >= 1
    assert counts.max() <= 6
    assert torch.equal(ids[100:], corpus.windows(text, 100, 200, 11))


def test_the_shortest_long_book_is_held_out():
    assert corpus.hold_out(["a" * 9, "b" * 5, "c" * 6], least=5) == (["a" * 9, "c" * 6], "b" * 5)
    assert corpus.hold_out(["a", "b"], least=5) == (["a"], "b")
    with pytest.raises(ValueError, match="two books"):
        corpus.hold_out(["a"])


def test_learning_rate_warms_up_stays_and_falls():
    recipe = train.Recipe(peak=1.0)
    assert train.learning_rate(recipe, 0, 0.0) == pytest.approx(1 / train.WARM_UP)
    assert train.learning_rate(recipe, 5000, 0.5) == 1.0
    assert train.learning_rate(recipe, 5000, 1.0) == 0.0


def test_previous_token_score_of_known_weights():
    weights = torch.zeros(1, 2, 5, 5)
    weights[:, 0, range(1, 5), range(4)] = 1.0
    weights[:, 1, range(5), range(5)] = 0.75
    weights[:, 1, range(1, 5), range(4)] = 0.25
    torch.testing.assert_close(evaluate.previous_token_score(weights), torch.tensor([1.0, 0.25]))


def test_induction_score_of_known_weights():
    """BOS A B C A B C: the second A (4) looks at B (2), B at C (3), C at the second A (4)."""
    weights = torch.zeros(1, 2, 7, 7)
    weights[:, 0, [4, 5, 6], [2, 3, 4]] = 1.0
    weights[:, 1, [4, 5, 6], [1, 2, 3]] = 1.0
    weights[:, 1, 6, 4] = 0.3
    torch.testing.assert_close(evaluate.induction_score(weights, 3), torch.tensor([1.0, 0.1]))


def test_hint_is_nothing_for_perfect_heads_and_grows_with_what_they_miss():
    """BOS A B C A B C, as above: head 0 of layer 0 looks back by one, of layer 1 by induction."""
    before, after = torch.zeros(1, 2, 7, 7), torch.zeros(1, 2, 7, 7)
    before[:, 0, range(1, 7), range(6)] = 1.0
    after[:, 0, [4, 5, 6], [2, 3, 4]] = 1.0
    periods = torch.tensor([3])
    assert circuit.hint([before, after], periods).item() == pytest.approx(0.0, abs=1e-5)
    assert circuit.hint([before, after / 2], periods).item() == pytest.approx(np.log(2), rel=1e-4)
    assert circuit.hint([before / 2, after], periods).item() == pytest.approx(np.log(2), rel=1e-4)


def test_wired_keys_find_what_the_first_layer_copies():
    """A query of a token matches a key that carries the copy of the same token, and no other."""
    model = train.build(train.Recipe(layers=2, heads=2, width=64, vocabulary=300))
    first, second = (layer.self_attn for layer in model.model.layers)
    tokens = torch.nn.functional.normalize(torch.randn(50, 64), dim=1)
    copied = tokens @ first.v_proj.weight[:32].T @ first.o_proj.weight[:, :32].T
    keys = copied @ second.k_proj.weight[:32].T
    scores = tokens @ second.q_proj.weight[:32].T @ keys.T
    assert (scores.argmax(1) == torch.arange(50)).float().mean() > 0.9


def test_first_bytes_keeps_characters_whole():
    assert evaluate.first_bytes("a灯灯", 6) == "a灯"


def test_bits_per_byte_of_a_uniform_model(tokenizer):
    recipe = train.Recipe(layers=1, heads=2, width=32, vocabulary=len(tokenizer))
    model = train.build(recipe)
    torch.nn.init.zeros_(model.lm_head.weight)
    found = evaluate.bits_per_byte(model, tokenizer, CHINESE * 3, 16)
    expected = found["tokens"] * np.log2(len(tokenizer)) / len((CHINESE * 3).encode())
    assert found["bits_per_byte"] == pytest.approx(expected, rel=1e-4)
    assert found["bytes"] == len((CHINESE * 3).encode())


@pytest.fixture
def tiny():
    return train.Recipe(
        layers=1, heads=2, width=32, vocabulary=300, steps=8, batch=128, drill_batch=64,
        contexts=((0.0, 16), (0.5, 32)),
    )  # fmt: skip


@pytest.fixture
def corpora():
    return {
        "en": np.arange(1000, dtype=np.uint16) % 300,
        "zh": np.arange(500, dtype=np.uint16)[::-1] % 300,
    }


def test_a_resumed_run_ends_in_the_same_state(tiny, corpora, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "COPIED", 2.0)  # the first phase ends after one step
    monkeypatch.setattr(train, "bfloat16_pays", lambda device: False)  # measured each time
    cpu = torch.device("cpu")
    whole, end = train.train(tiny, corpora, tmp_path / "whole", cpu)
    step = train.take_step

    def stopped(model, steppers, recipe, progress, *rest):
        if progress.step == 5:
            raise KeyboardInterrupt
        return step(model, steppers, recipe, progress, *rest)

    monkeypatch.setattr(train, "take_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        train.train(tiny, corpora, tmp_path / "parts", cpu)
    monkeypatch.setattr(train, "take_step", step)
    parts, again = train.train(tiny, corpora, tmp_path / "parts", cpu)
    assert (again.step, again.tokens, again.formed_at) == (end.step, end.tokens, end.formed_at)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, parts.state_dict()[name]), name


@pytest.mark.parametrize("steps", [9, 100])
def test_a_longer_budget_goes_on_from_before_the_decay(
    tiny, corpora, tmp_path, monkeypatch, steps
):
    monkeypatch.setattr(train, "COPIED", 2.0)
    train.train(tiny, corpora, tmp_path, torch.device("cpu"))
    recipe = train.Recipe(**{**tiny.__dict__, "steps": steps})
    model = train.build(recipe)
    progress = train.resume(tmp_path, recipe, model, train.optimisers(model))
    assert progress.step == 7


def test_a_whole_run_writes_a_folder_that_transformers_loads(tmp_path, monkeypatch, capsys):
    """A run too short for induction is refused; published all the same, it is whole."""
    paths = [tmp_path / "own-en.txt", tmp_path / "own-zh.txt"]
    for path, line in zip(paths, (ENGLISH, CHINESE), strict=True):
        path.write_text(f"{line * 30}\n{line * 10}", encoding="utf-8")
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    out = tmp_path / "model"
    files = ["--out", str(out), "--work", str(tmp_path / "work"), "--data", *map(str, paths)]
    shape = ["--layers=1", "--heads=2", "--width=32", "--vocabulary=300"]
    args = parser.parse_args([*files, *shape, "--steps=2"])
    monkeypatch.setattr(evaluate, "LENGTHS", (64, 128))
    monkeypatch.setattr(train, "COPIED", 2.0)
    with pytest.raises(SystemExit, match="no induction head"):
        train.run(args)
    assert not out.exists()

    monkeypatch.setattr(train, "formed", lambda figures: True)
    args.steps = 3
    train.run(args)
    model = AutoModelForCausalLM.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert model.dtype == torch.float32
    assert model.config.trained_length == 1024
    assert model.config.max_position_embeddings >= 32_768
    ids = tokenizer(ENGLISH + CHINESE, return_tensors="pt")["input_ids"]
    assert torch.isfinite(model(ids).logits).all()
    assert tokenizer.decode(ids[0, 1:]) == ENGLISH + CHINESE
    figures = json.loads((out / "figures.json").read_text())
    assert set(figures["held_out"]) == {"en", "zh", "combined"}
    assert "1,024 tokens" in (out / "README.md").read_text()
    assert {path.name for path in Path(out).iterdir()} >= {"model.safetensors", "tokenizer.json"}
