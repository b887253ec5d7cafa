"""The Home picture's numbers, against a dense computation on the same Q and K."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from engine.lessons import induction
from engine.models import Model, load
from engine.models.training.tokenizer import train_tokenizer
from tests.refusals import refused

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"
STORIES = {"en": ("lamp", "Quill", "harbour"), "zh": ("ferry", "阿满", "river-town")}
LENGTHS = (240, 400)


def text(name: str) -> str:
    return (EXAMPLES / f"{name}.txt").read_text("utf-8")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=700, hidden_size=48, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048,
        initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    texts = [text(name) for story in STORIES.values() for name in (story[0], story[2])]
    train_tokenizer(texts, 700).save_pretrained(folder)
    return load(folder, device="cpu")


@pytest.fixture(scope="module", params=STORIES)
def made(request: pytest.FixtureRequest, model: Model) -> induction.Picture:
    story, name, before = STORIES[request.param]
    return induction.picture(model, text(story), name, text(before), LENGTHS)


def offered(made: induction.Picture) -> dict:
    return induction.offered(made.readings[0].n)


def dense(model: Model, made: induction.Picture, reading: induction.Reading) -> torch.Tensor:
    """Causal softmax of the picture's head over one text, in float64."""
    qkv = model.read(reading.text).layer(made.layer)
    group = qkv.heads // qkv.groups
    q, k = qkv.q[made.head].double(), qkv.k[made.head // group].double()
    scores = q @ k.T * qkv.factor
    return scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)


def test_full_attention(model: Model, made: induction.Picture) -> None:
    rows = induction.rows(made, offered(made)["softmax"])
    for reading, row in zip(made.readings, rows, strict=True):
        whole = dense(model, made, reading).softmax(1)
        rest = whole[reading.query, 1:] / whole[reading.query, 1:].sum()
        torch.testing.assert_close(row.weights.double(), rest, rtol=1e-4, atol=1e-7)
        assert row.first == pytest.approx(float(whole[reading.query, 0]), rel=1e-4)
        assert row.target == pytest.approx(float(rest[reading.target - 1]), rel=1e-4)
        entropy = -(rest * rest.clamp_min(1e-300).log()).sum()
        assert row.effective == pytest.approx(float(entropy.exp()), rel=1e-4)
        assert row.seen


@pytest.mark.parametrize("key", ["window", "segmented"])
def test_narrower_attention(model: Model, made: induction.Picture, key: str) -> None:
    rows = induction.rows(made, offered(made)[key])
    size = 2 ** int(torch.tensor(made.readings[0].n / 4).log2())
    for reading, row in zip(made.readings, rows, strict=True):
        scores = dense(model, made, reading)
        i, j = torch.meshgrid(torch.arange(reading.n), torch.arange(reading.n), indexing="ij")
        near = (i - j < size) | (j == 0) if key == "window" else i // size == j // size
        whole = scores.masked_fill(~near, -torch.inf).softmax(1)
        rest = whole[reading.query, 1:] / whole[reading.query, 1:].sum()
        torch.testing.assert_close(row.weights.double(), rest, rtol=1e-4, atol=1e-7)
        assert row.seen == bool(near[reading.query, reading.target])


def test_the_head_is_the_strongest_of_all(model: Model, made: induction.Picture) -> None:
    alone = made.readings[0]
    trace = model.read(alone.text)
    first, last = induction.pieces(trace, made.name)
    query, before = last[-2], first[-2]  # what followed it stands at before + 1
    assert (query, before + 1) == (alone.query, alone.target)
    best = 0.0
    for layer in range(trace.layers):
        qkv = trace.layer(layer)
        for head in range(qkv.heads):
            k = qkv.k[head // (qkv.heads // qkv.groups)]
            row = (qkv.q[head, query] @ k[1 : query + 1].T * qkv.factor).softmax(0)
            best = max(best, float(row[before]))
    assert induction.rows(made, offered(made)["softmax"])[0].target == pytest.approx(
        best, rel=1e-4
    )


def test_texts_grow_from_the_front(made: induction.Picture) -> None:
    lengths = [reading.n for reading in made.readings]
    assert lengths == sorted(set(lengths)) and len(lengths) == 1 + len(LENGTHS)
    longest = made.readings[-1]
    assert len(made.tokens) == longest.n - 1
    for reading in made.readings:
        assert longest.text.endswith(reading.text)
        assert reading.qkv.n == reading.n and reading.qkv.heads == 4
        query, target = (made.tokens[at - reading.n] for at in (reading.query, reading.target))
        assert query.strip()[0] in made.name
        assert reading.query - reading.target == longest.query - longest.target > 0
        assert target.strip()
    for wanted, reading in zip(LENGTHS, made.readings[1:], strict=True):
        assert abs(reading.n - wanted) < 60  # a sentence
        assert reading.text.lstrip()[0] not in ",.;，。；"


def test_maps_are_the_heads(model: Model, made: induction.Picture) -> None:
    alone = made.readings[0]
    whole = dense(model, made, alone)[:, 1:].softmax(1).nan_to_num(0)
    step = -(-alone.n // induction.MAP)
    cells = induction.rows(made, offered(made)["softmax"])[0].cells
    last = whole[step * (len(cells) - 1) :, : step - 1]
    assert cells[-1, 0] == pytest.approx(float(last.max()), rel=1e-4)


def test_only_what_can_look_back_is_offered(made: induction.Picture) -> None:
    mechanisms = offered(made)
    assert set(mechanisms) == {key for key, cls in induction.MECHANISMS.items() if cls.causal_ok}
    assert set(induction.offered(64, causal=False)) == set(induction.MECHANISMS)
    for mechanism in mechanisms.values():
        for reading, row in zip(made.readings, induction.rows(made, mechanism), strict=True):
            assert row.weights.shape == (reading.n - 1,) and bool(
                torch.isfinite(row.weights).all()
            )


@pytest.mark.parametrize("key", [k for k, c in induction.MECHANISMS.items() if c.causal_ok])
def test_a_row_is_that_of_the_whole_layer(made: induction.Picture, key: str) -> None:
    """What Explore shows of the layer is what Home shows of the head alone."""
    mechanism = offered(made)[key]
    for reading, row in zip(made.readings, induction.rows(made, mechanism), strict=True):
        rest = mechanism.attend(reading.qkv).hide(torch.tensor([0]))
        here = torch.tensor([reading.query])
        whole = rest.weights(here)[made.head, 0]
        torch.testing.assert_close(row.weights.double(), whole[1:].double(), rtol=1e-3, atol=1e-6)
        effective = float(rest.rows(here).effective_tokens[made.head, 0])
        assert row.effective == pytest.approx(effective, rel=1e-3, nan_ok=True)


def test_a_story_must_name_somebody_twice(model: Model) -> None:
    with refused(match="twice"):
        induction.picture(model, text("lamp"), "Hesper", text("harbour"), LENGTHS)


@pytest.mark.parametrize("language", STORIES)
def test_the_embedded_model_looks_back(language: str) -> None:
    story, name, before = STORIES[language]
    tiny = load(EXAMPLES.parent / "models" / "tiny", device="cpu")
    made = induction.picture(tiny, text(story), name, text(before), ())
    alone, row = made.readings[0], induction.rows(made, offered(made)["softmax"])[0]
    assert row.target > 0.4 and int(row.weights.argmax()) + 1 == alone.target
    assert row.effective < 8
