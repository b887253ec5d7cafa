"""A long text through one layer is what the whole model makes of it there, and no more is held."""

import numpy as np
import pytest
import torch

from engine.__main__ import main
from engine.models import ModelError, load
from engine.models.book import Memory, beginning, cost, one_layer, reading, study, through
from engine.models.embedded import folder_of
from engine.sources import samples
from tests.models.made import network, saved, tokenizer

TEXT = samples.text("lamp")


@pytest.fixture(scope="module")
def tiny():
    return load(folder_of("tiny"), device="cpu")


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_one_layer_is_that_of_the_whole_model(tiny, layer):
    whole = tiny.read(TEXT)
    read = one_layer(tiny, TEXT, layer)
    for name in "qkv":
        torch.testing.assert_close(getattr(read.qkv, name), getattr(whole.layer(layer), name))
    assert read.qkv.tokens == whole.tokens and not read.beyond
    assert list(read.qkv.units) == ["tokens", "words", "sentences", "paragraphs"]
    found, expected = study(read).rows, whole.attention(layer).rows()
    torch.testing.assert_close(found.effective_tokens, expected.effective_tokens)


def test_layers_above_are_not_computed(tiny, monkeypatch):
    seen: list[int] = []
    for i, block in enumerate(tiny.net.model.layers):
        own = block.self_attn.forward
        monkeypatch.setattr(
            block.self_attn,
            "forward",
            lambda *a, i=i, own=own, **k: seen.append(i) or own(*a, **k),
        )
    one_layer(tiny, TEXT, 1)
    assert seen[-2:] == [0, 1] and seen.count(2) == 1  # once for what each attends with, on a line


def test_a_sample_of_rows_is_exact_for_each_and_says_which(tiny):
    read, told = one_layer(tiny, TEXT, 1), []
    some, every = study(read, rows=9, progress=told.append), study(read)
    assert some.which.tolist()[0] == 0 and some.which.tolist()[-1] == read.qkv.n - 1
    torch.testing.assert_close(some.rows.entropy, every.rows.entropy[:, some.which])
    assert some.summary is None and told == [1.0]
    assert every.which is None and set(every.summary.maps) == {"max", "mean"}


def test_who_listens_stops_it(tiny):
    def stop(share: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        study(one_layer(tiny, TEXT, 0), progress=stop)


def test_memory_is_said_beforehand_and_is_not_that_of_all_pairs(tiny):
    read = one_layer(tiny, samples.text("harbour"), 1)
    n = read.qkv.n
    with Memory() as held:
        study(read)
    assert held.most <= cost(read).bytes + 64e6 < 4 * read.qkv.heads * n * n


@pytest.mark.parametrize(("kind", "more"), (("llama", {}), ("gpt2", {"n_positions": 8192})))
def test_memory_of_reading_is_said_beforehand_and_grows_with_the_tokens(tmp_path, kind, more):
    net = network(kind, vocab_size=320, **more)
    model = load(saved(tmp_path / kind, net, tokenizer()), device="cpu")
    said = []
    for n in (2000, 4000, 8000):
        side, over = beginning(model, TEXT * 40, 1, n, beyond=True)
        said.append(reading(model, side, 1))
        with Memory() as held:
            through(model, side, 1, over)
        assert held.most <= said[-1]
    assert said[2] - said[1] == pytest.approx(2 * (said[1] - said[0]), rel=0.2)


def test_more_than_there_is_or_than_the_model_reads_is_refused(tiny, tmp_path):
    with pytest.raises(ModelError, match="layer 4 is not one of 0 … 3"):
        one_layer(tiny, TEXT, 4)
    with pytest.raises(ModelError, match="fewer than the 5,000"):
        one_layer(tiny, TEXT, 1, tokens=5000)
    small = load(saved(tmp_path / "s", network(
        "llama", vocab_size=320, max_position_embeddings=16
    ), tokenizer()), device="cpu")  # fmt: skip
    with pytest.raises(ModelError, match="at most 16 tokens"):
        one_layer(small, TEXT, 0)
    assert one_layer(small, TEXT, 0, beyond=True).beyond
    for kind in ("bart", "bloom"):
        other = load(
            saved(tmp_path / kind, network(kind, vocab_size=320), tokenizer()), device="cpu"
        )
        with pytest.raises(ModelError, match="layer by layer"):
            one_layer(other, TEXT, 0)


def test_the_command_says_the_cost_before_and_writes_what_was_found(capsys, tmp_path):
    book, out = tmp_path / "book.txt", tmp_path / "found.npz"
    book.write_text(TEXT, "utf-8")
    asked = ["book", str(book), "--layer", "0", "--repeat", "3", "--tokens", "200"]
    assert main([*asked, "--out", str(out), "--window", "150", "40"]) == 0
    said = capsys.readouterr().out
    assert said.index("takes at most") < said.index("read in")
    assert said.index("beside them at most") < said.index("every row:")
    assert "layer 0: 200 tokens" in said and "rows 146 … 153, keys 36 … 43" in said
    with np.load(out) as found:
        assert found["entropy"].shape == (6, 200) and found["map_max"].shape == (6, 200, 200)
    assert main([*asked, "--rows", "20"]) == 0
    assert "20 rows, spread evenly:" in capsys.readouterr().out
    assert main(["book", str(book), "--tokens", "100000"]) == 2


def test_of_a_library_no_more_is_encoded_than_is_read(tiny, monkeypatch):
    encoded: list[int] = []
    own = tiny.pieces.encode
    monkeypatch.setattr(
        tiny.pieces, "encode", lambda text, *a: encoded.append(len(text)) or own(text, *a)
    )
    read = one_layer(tiny, TEXT * 2000, 0, 200)
    assert read.qkv.n == 200 and max(encoded) < len(TEXT) * 20
