"""What is read beside one text: weights alone, encoders with decoders, pairs, masked tokens."""

from pathlib import Path

import pytest
import torch
import transformers as hf

from engine.models import Model, ModelError, load
from tests.models.made import bert, encoded, network, saved, tokenizer

CPU = torch.device("cpu")
TEXT = "the quick fox said: hello"


def model(kind: str, predicts: bool = True, **changes) -> Model:
    changes = {"vocab_size": 320} | changes
    net = network(kind, **changes)
    return Model(kind, net, tokenizer(), CPU, torch.float32, None, 256, predicts)


OWN = [
    "mpnet", "deberta", "deberta-v2", "gpt_neo", "gptj", "bloom", "falcon", "mpt", "xlnet",
    "longformer", "codegen",
]  # fmt: skip


@pytest.mark.parametrize("kind", OWN)
def test_weights_that_a_model_returns_are_read(kind):
    reader = model(kind, predicts=False)
    trace = reader.read(TEXT)
    assert "code of its own" in str(trace.weights_only) and trace.layers == 2
    inputs = reader.inputs(trace.read, None)
    with torch.no_grad():
        own = reader.net(**inputs, output_attentions=True).attentions
    for i, weights in enumerate(own):
        read = trace.attention(i).weights()
        n = len(trace.tokens)
        assert read.shape == (4, n, n)
        if weights.shape[-1] == n:
            torch.testing.assert_close(read, weights[0])
        torch.testing.assert_close(read.sum(-1), torch.ones(4, n), atol=1e-4, rtol=0)
    assert trace.attention(1).frame.tokens == trace.tokens
    with pytest.raises(ModelError, match=r"without Q, K and V: .* code of its own"):
        trace.layer(0)


def test_longformers_weights_are_those_of_its_keys():
    reader = model("longformer", predicts=False)
    trace = reader.read(TEXT)
    with torch.no_grad():
        banded = reader.net(**reader.inputs(trace.read, None), output_attentions=True).attentions[
            0
        ][0]
    n, half = len(trace.tokens), banded.shape[-1] // 2
    assert half == 4 < n - 1
    read = trace.attention(0).weights()
    for i in range(n):
        for j in range(n):
            near = abs(i - j) <= half
            expected = banded[:, i, j - i + half] if near else torch.zeros(4)
            assert torch.equal(read[:, i, j], expected)


def test_weights_of_some_layers_and_who_listens():
    reader, done = model("bloom"), []
    trace = reader.read(TEXT, layers=[1], on_layer=done.append)
    assert done == [1, 2] and trace.attention(1).weights().shape[0] == 4
    with pytest.raises(ModelError, match="was not kept"):
        trace.attention(0)
    assert reader.context == 256 and trace.next_tokens(3)


SIDES = ["bart", "t5", "marian", "m2m_100", "pegasus", "umt5", "fsmt"]


@pytest.mark.parametrize("kind", SIDES)
def test_encoder_decoder_and_what_the_decoder_sees(kind):
    fsmt = {"scale": 1, "src_vocab_size": 320, "tgt_vocab_size": 320}  # it computes its positions
    changes = fsmt if kind == "fsmt" else {}
    reader = model(kind, **changes)
    assert reader.second == "decoder"
    assert sorted(set(zip(reader.parts, reader.names, strict=True))) == sorted(
        (part, number) for part in ("encoder", "decoder", "cross") for number in "01"
    )
    trace = reader.read(TEXT, second="the dog 🙂")
    n, m = len(trace.written.tokens), len(trace.tokens)
    assert n != m and trace.written.coded.special[0]
    inputs = reader.inputs(trace.read, trace.written)
    fresh = network(kind, **({"vocab_size": 320} | changes))
    with torch.no_grad():
        own = fresh(**inputs, output_attentions=True, use_cache=False)
    shapes = {"encoder": (4, m, m), "decoder": (4, n, n), "cross": (4, n, m)}
    for i, (part, number) in enumerate(zip(trace.parts, trace.names, strict=True)):
        attention = trace.attention(i)
        expected = getattr(own, f"{part}_attentions")[int(number)][0]
        assert tuple(attention.weights().shape) == shapes[part] and trace.parts[i] == part
        torch.testing.assert_close(attention.weights(), expected, atol=1e-4, rtol=0)
        assert attention.frame.tokens == trace.keys(i).tokens
        assert len(trace.queries(i).tokens) == attention.frame.n
        assert attention.frame.causal == (part == "decoder")
    best = torch.tensor([p for _, p in trace.next_tokens(4)])
    expected = own.logits[0, -1].softmax(0).topk(4).values
    torch.testing.assert_close(best, expected, atol=1e-5, rtol=1e-4)


def test_a_decoder_that_has_written_nothing():
    trace = model("bart").read(TEXT)
    assert len(trace.written.tokens) == 1
    cross = next(i for i, part in enumerate(trace.parts) if part == "cross")
    assert trace.layer(cross).n == 1 and trace.layer(cross).m == len(trace.tokens)
    assert trace.next_tokens(2)


@pytest.fixture(scope="module")
def masked(tmp_path_factory) -> Path:
    net = network("bert", 1, vocab_size=15, type_vocab_size=2)
    return saved(tmp_path_factory.mktemp("bert") / "bert", net, bert())


def test_a_pair_of_texts_is_told_apart(masked):
    reader = load(masked, device="cpu")
    assert reader.second == "pair"
    trace = reader.read("the fox?", second="hello dog.")
    assert trace.tokens == (
        "[CLS]", "the", " fox", "?", "[SEP]", "hello", " dog", ".", "[SEP]",
    )  # fmt: skip
    assert trace.segments == [0] * 5 + [1] * 4
    assert trace.text == "the fox?\n\nhello dog."
    assert trace.units["paragraphs"].tolist() == [[0, 5], [5, 9]]
    coded = bert()("the fox?", "hello dog.", return_tensors="pt")
    with torch.no_grad():
        own = network("bert", 1, vocab_size=15, type_vocab_size=2)(**coded, output_attentions=True)
    for i, weights in enumerate(own.attentions):
        torch.testing.assert_close(trace.attention(i).weights(), weights[0], atol=1e-5, rtol=0)
    one = reader.read("the fox?\n\nhello dog.")
    assert not torch.allclose(
        one.attention(1).weights()[:, :5, :5], own.attentions[1][0, :, :5, :5]
    )
    with pytest.raises(ModelError, match="have 9 tokens together, more than the 6"):
        reader.read("the fox?", second="hello dog.", max_tokens=6)


def test_masked_tokens_are_filled(masked):
    reader = load(masked, device="cpu")
    assert (reader.fills, reader.predicts, reader.mask) == (True, False, "[MASK]")
    trace = reader.read("the [MASK] said [MASK]")
    with torch.no_grad():
        net = network("bert", 1, vocab_size=15, type_vocab_size=2)
        own = net(**bert()("the [MASK] said [MASK]", return_tensors="pt")).logits[0].softmax(-1)
    found = trace.fills(3)
    assert list(found) == [2, 4]
    for place, best in found.items():
        expected = own[place].topk(3)
        torch.testing.assert_close(torch.tensor([p for _, p in best]), expected.values)
        assert [word for word, _ in best] == [reader.token(int(t)) for t in expected.indices]
    with pytest.raises(ModelError, match=r"no masked token; write \[MASK\]"):
        reader.read("the fox").fills()
    with pytest.raises(ModelError, match="doesn't predict a next token"):
        trace.next_tokens()


def test_one_text_at_a_time():
    reader = model("llama")
    assert reader.second is None
    with pytest.raises(ModelError, match="reads one text at a time"):
        reader.read(TEXT, second="more")
    with pytest.raises(ModelError, match="doesn't fill masked tokens"):
        reader.read(TEXT).fills()


def test_texts_of_both_sides_are_cut_to_what_is_read():
    reader = model("bart")
    trace = reader.read("the fox. " * 60, second="the dog. " * 60, max_tokens=20)
    assert (len(trace.tokens), len(trace.written.tokens)) == (20, 20)
    assert trace.total_tokens > 20 and trace.written.total > 20


LONG = "the dog. " * 40_000


def test_of_a_long_text_a_decoder_is_given_a_beginning(monkeypatch):
    reader, lengths = model("bart"), encoded(monkeypatch)
    trace = reader.read(LONG, second=LONG)
    assert len(trace.written.tokens) == 256 and 0 < max(lengths) < 10_000
    assert trace.written.about and trace.written.total > 100_000
    short = reader.read(LONG, second=LONG[:4_000])
    assert trace.written.tokens == short.written.tokens
    torch.testing.assert_close(trace.logits, short.logits)


def test_a_pair_with_a_long_text_is_refused_before_it_is_encoded(monkeypatch):
    net = network("bert", 1, vocab_size=15, type_vocab_size=2)
    reader = Model("bert", net, bert(), CPU, torch.float32, None, 256, False)
    lengths = encoded(monkeypatch)
    with pytest.raises(ModelError, match="more than the 256 that are read"):
        reader.read(LONG, second="hello dog.")
    assert 0 < max(lengths) < 10_000


def test_the_pieces_of_an_encoder_and_a_decoder_saved_together(tmp_path):
    folder = saved(tmp_path / "t5", network("t5", vocab_size=320), tokenizer())
    reader = load(folder, device="cpu")
    assert reader.predicts and set(reader.parts) == {"encoder", "decoder", "cross"}
    assert isinstance(reader.net, hf.T5ForConditionalGeneration)
    first = reader.read(TEXT, second="hello").next_tokens(1)
    assert len(first) == 1 and 0 < first[0][1] <= 1
