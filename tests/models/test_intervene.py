"""Heads off, edges cut, tokens hidden, mechanisms transplanted: against transformers, dense."""

import copy

import pytest
import torch
import transformers as hf
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from engine.contract import Refusal
from engine.mechanisms.linear import Linear
from engine.mechanisms.softmax import Softmax
from engine.mechanisms.window import Window
from engine.models import Model, ModelError, load
from engine.models.embedded import folder_of
from engine.models.finder import PROBE, probe, ranked, score
from engine.models.intervene import Changes, again, divergence, effect
from engine.models.transplant import transplant
from engine.runtime.paths import ROOT
from tests.models.made import bert, lively, network, saved, tokenizer

CPU = torch.device("cpu")
TEXT = "the quick fox said: hello, the dog"
DENSE = "dense_of_the_test"
changed: dict = {}


def dense(module, query, key, value, attention_mask, scaling=None, **_):
    """Attention all at once, with what is switched off written into its weights."""
    number = module.layer_idx
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.mT * scaling
    if attention_mask is not None:
        scores = scores.masked_fill(attention_mask < -1e30, -torch.inf)
    for layer, head, q, k in changed.get("edges", ()):
        if layer == number:
            scores[:, head, q, k] = -torch.inf
    scores[..., list(changed.get("hidden", ()))] = -torch.inf
    weights = scores.softmax(-1).nan_to_num(0)
    for layer, head in changed.get("heads", ()):
        if layer == number:
            weights[:, head] = 0
    return (weights @ value).transpose(1, 2), weights


AttentionInterface.register(DENSE, dense)
AttentionMaskInterface.register(DENSE, eager_mask)


@pytest.fixture(scope="module")
def pair():
    """A model, and the same network with an attention of the test's own."""
    net = network("llama", vocab_size=320)
    other = copy.deepcopy(net)
    other.set_attn_implementation(DENSE)
    return Model("small", net, tokenizer(), CPU, torch.float32, None, 256, True), other


CASES = {
    "a head": Changes(heads=frozenset({(0, 1)})),
    "heads of two layers": Changes(heads=frozenset({(0, 0), (1, 3)})),
    "an edge": Changes(edges=frozenset({(0, 2, 5, 3)})),
    "edges of one row": Changes(edges=frozenset({(0, 0, 4, 0), (0, 0, 4, 2), (0, 1, 6, 6)})),
    "a row's only edge": Changes(edges=frozenset({(0, 2, 0, 0)})),
    "tokens": Changes(hidden=frozenset({2, 3})),
    "the first token": Changes(hidden=frozenset({0})),
    "all of it": Changes(frozenset({(0, 1)}), frozenset({(1, 2, 5, 4)}), frozenset({3})),
    "nothing": Changes(),
}


@pytest.mark.parametrize("name", CASES)
def test_predictions_are_those_of_a_dense_reference(pair, name):
    model, other = pair
    changes = CASES[name]
    trace = model.read(TEXT)
    after = again(trace, model, changes)
    changed.update(heads=changes.heads, edges=changes.edges, hidden=changes.hidden)
    try:
        with torch.no_grad():
            expected = other(torch.tensor([trace.read.coded.ids])).logits[0, -1]
    finally:
        changed.clear()
    torch.testing.assert_close(after.logits, expected, atol=1e-4, rtol=1e-4)
    moved = float((after.logits - trace.logits).abs().max())
    assert (moved < 1e-5) == (name == "nothing")
    assert after.next_tokens(3) and float(divergence(trace.logits, after.logits)) >= 0


def test_the_effect_is_told_at_every_place(pair):
    model, other = pair
    trace, done = model.read(TEXT), []
    changes = CASES["all of it"]
    found = effect(trace, model, changes, 4, done.append)
    ids = torch.tensor([trace.read.coded.ids])
    with torch.no_grad():
        before = other(ids).logits[0].log_softmax(-1)
        changed.update(heads=changes.heads, edges=changes.edges, hidden=changes.hidden)
        try:
            after = other(ids).logits[0].log_softmax(-1)
        finally:
            changed.clear()
    n = len(trace.tokens)
    assert done == [1, 2] and found.places.tolist() == list(range(n)) and found.ids.shape == (n, 8)
    kl = (before.exp() * (before - after)).sum(-1)
    torch.testing.assert_close(found.divergence, kl, atol=1e-4, rtol=1e-3)
    for said, logs, best in ((found.before, before, 0), (found.after, after, 4)):
        torch.testing.assert_close(said, logs.exp().gather(1, found.ids), atol=1e-5, rtol=1e-3)
        torch.testing.assert_close(said[:, best], logs.exp().amax(-1), atol=1e-5, rtol=1e-3)
    same = effect(trace, model, Changes())
    assert float(same.divergence.max()) < 1e-6 and torch.equal(same.before, same.after)


def test_the_effect_on_masked_tokens(tmp_path):
    net = network("bert", 1, vocab_size=15, type_vocab_size=2)
    model = load(saved(tmp_path, net, bert()), device="cpu")
    trace = model.read("the [MASK] said [MASK]")
    found = effect(trace, model, Changes(heads=frozenset({(0, 1)})), 3)
    assert found.places.tolist() == [2, 4] and float(found.divergence.min()) > 0
    for row, place in enumerate((2, 4)):
        expected = trace.masked[place].softmax(0).topk(3).values
        torch.testing.assert_close(found.before[row, :3], expected)
    with pytest.raises(ModelError, match="no masked token"):
        effect(model.read("the fox"), model, Changes())
    with pytest.raises(ModelError, match="predicts no tokens"):
        silent = Model("bert", net, bert(), CPU, torch.float32, None, 64, False)
        effect(silent.read("the fox"), silent, Changes())


def test_what_can_not_be_switched_off_is_refused(pair):
    model, _ = pair
    trace = model.read(TEXT)
    for changes, said in (
        (Changes(heads=frozenset({(0, 9)})), "head 9 is not one of 0 … 3"),
        (Changes(heads=frozenset({(7, 0)})), "layer 7 is not one of"),
        (Changes(hidden=frozenset({99})), "token 99 is not one of"),
        (Changes(edges=frozenset({(0, 0, 0, 99)})), "token 99 is not one of"),
    ):
        with pytest.raises(ModelError, match=said):
            again(trace, model, changes)
    bloom = Model(
        "bloom", network("bloom", vocab_size=320), tokenizer(), CPU, torch.float32, None, 64, True
    )
    with pytest.raises(ModelError, match="can't be changed: it is read from the weights"):
        again(bloom.read(TEXT), bloom, Changes())
    with pytest.raises(ModelError, match="can't be changed"):
        transplant(bloom.read(TEXT), bloom, Window(4))


SIZES = {
    "vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}  # fmt: skip


def test_a_window_in_a_llama_is_a_mistral():
    torch.manual_seed(0)
    net = lively(hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES)).eval(), 4)
    model = Model("llama", net, tokenizer(), CPU, torch.float32, None, 64, True)
    mistral = hf.MistralForCausalLM(hf.MistralConfig(**SIZES, sliding_window=3)).eval()
    mistral.load_state_dict(net.state_dict())
    trace = model.read(TEXT)
    ids = torch.tensor([trace.read.coded.ids])
    found = transplant(trace, model, Window(3, sinks=0), k=5)
    with torch.no_grad():
        own = copy.deepcopy(net)(ids, labels=ids)
        other = mistral(ids, labels=ids)
    expected = (own.logits[0].double().log_softmax(-1), other.logits[0].double().log_softmax(-1))
    kl = (expected[0].exp() * (expected[0] - expected[1])).sum(-1)
    torch.testing.assert_close(found.divergence.double(), kl, atol=1e-4, rtol=1e-3)
    assert found.losses == pytest.approx((float(own.loss), float(other.loss)), abs=1e-4)
    best = other.logits[0, -1].softmax(0).topk(5).values
    torch.testing.assert_close(
        torch.tensor([p for _, p in found.after]), best, atol=1e-5, rtol=1e-3
    )
    assert [t for t, _ in found.before] == [t for t, _ in trace.next_tokens(5)]
    for part, place in ((found.before, 1), (found.after, 2)):
        assert all((t, p) in [(x[0], x[place]) for x in found.both] for t, p in part)
    assert 5 <= len(found.both) <= 10
    assert float(kl[:3].max()) < 1e-6 < float(kl[3:].max())
    assert set(found.by_layer) == {0, 1} and min(found.by_layer.values()) > 0


def test_softmax_changes_nothing_and_layers_are_chosen(pair):
    model, _ = pair
    trace = model.read(TEXT)
    steps: list[tuple[int, int]] = []
    found = transplant(trace, model, Softmax(), on_pass=lambda *done: steps.append(done))
    assert float(found.divergence.max()) < 1e-6 and found.losses[0] == pytest.approx(
        found.losses[1]
    )
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    some = transplant(trace, model, Linear(), layers=[1], alone=False)
    one = transplant(trace, model, Linear(), layers=[0, 1])
    assert some.by_layer == {} and float(some.divergence.mean()) == pytest.approx(one.by_layer[1])
    with pytest.raises(ModelError, match="layer 5"):
        transplant(trace, model, Linear(), layers=[5])
    with pytest.raises(Refusal):
        from engine.mechanisms.linformer import Linformer

        transplant(trace, model, Linformer())


def test_the_embedded_models_heads_are_found():
    model = load(ROOT / "assets" / "models" / "tiny", device="cpu")
    said = probe(model)
    ids = said.read.coded.ids
    inside = [t for t, s in zip(ids, said.read.coded.special, strict=True) if not s]
    assert inside[:PROBE] == inside[PROBE:] and len(set(inside)) == PROBE
    heads = score(said)
    assert len(heads) == sum(said.layer(i).heads for i in range(said.layers))
    best = ranked(heads, "induction")[0]
    # trained on repeats (models/training/circuit): chance is 1 in about 70
    assert best.scores["induction"] > 0.5 and best.scores["retrieval"] > 0.5
    assert ranked(heads, "previous", least=0.5)
    assert not ranked(heads, "induction", least=1.1)
    with pytest.raises(ValueError, match="pattern must be one of"):
        ranked(heads, "magic")
    after = again(said, model, Changes(heads=frozenset({(best.layer, best.head)})))
    assert float(divergence(said.logits, after.logits)) > 0


def test_heads_of_every_kind_of_model_are_scored():
    for kind in ("bart", "bloom", "bert"):
        model = Model(
            kind,
            network(kind, vocab_size=320),
            tokenizer(True),
            CPU,
            torch.float32,
            None,
            96,
            True,
        )
        heads = score(probe(model), rows=64)
        assert len(heads) == model.layers * 4
        for head in heads:
            for name, value in head.scores.items():
                assert value != value or name == "distance" or 0 <= value <= 1 + 1e-5


@pytest.mark.parametrize("name", ["zoo-delta", "zoo-linear", "zoo-window", "zoo-segmented"])
def test_a_model_that_attends_by_another_mechanism_is_changed_too(name):
    model = load(folder_of(name), device="cpu")
    trace = model.read(TEXT * 12)  # longer than a window or a segment
    nothing = effect(trace, model, Changes())
    assert float(nothing.divergence.max()) < 1e-6
    after = again(trace, model, Changes(heads=frozenset({(1, 2)})))
    net = copy.deepcopy(model.net)
    projection = net.model.layers[1].self_attn.o_proj.weight
    each = projection.shape[1] // model.heads
    projection.data[:, 2 * each : 3 * each] = 0
    ids = torch.tensor([trace.read.coded.ids])
    with torch.no_grad():
        expected, own = net(ids).logits[0, -1], model.net(ids, labels=ids)
    torch.testing.assert_close(after.logits, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(after.logits, own.logits[0, -1], atol=1e-3)
    found = transplant(trace, model, Softmax(), layers=[0], alone=False)
    assert found.losses[0] == pytest.approx(float(own.loss), abs=1e-4)
    assert float(found.divergence.max()) > 1e-4


def test_the_halves_of_a_difference_are_not_changed_apart():
    net = network("diffllama", vocab_size=320)
    model = Model("diffllama", net, tokenizer(), CPU, torch.float32, None, 64, True)
    with pytest.raises(ModelError, match="difference of two"):
        again(model.read(TEXT), model, Changes())
