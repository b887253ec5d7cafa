"""Small models of every kind: trained, stopped, gone on with, written, read, checked."""

import json
import shutil
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

import engine
from engine.mechanisms import MECHANISMS
from engine.models.read import Model
from engine.models.training import train
from engine.models.zoo import command, training
from engine.models.zoo.network import ZooForCausalLM
from engine.models.zoo.recipes import KINDS, LEFT_OUT, SEEDS, kind_of

CPU = torch.device("cpu")
RECIPE = replace(
    training.RECIPE, layers=2, heads=2, width=16, inner=16, steps=6, drill_steps=2, batch=144,
    drill_batch=72, contexts=((0.0, 72),),
)  # fmt: skip
TEXT = "The lamp was lit, and Quill said: it isn't far; 灯亮了，小船说：不远。 " * 6
WRITTEN = ("window", "lsh", "routing")
"""Plain; without a projection for keys; with learned parts."""


def fresh(name):
    return training.build(RECIPE, kind_of(name))


def lively(name):
    """A model whose attention has peaks, and whose learned parts are not those of the start."""
    net, draw = fresh(name), torch.Generator().manual_seed(1)
    for key, weight in net.named_parameters():
        if ".parts." in key:
            weight.data += 0.5 * torch.rand(weight.shape, generator=draw)
        elif "q_proj" in key or "k_proj" in key:
            weight.data *= 20
    return net.eval()


@cache
def tokenizer():
    return AutoTokenizer.from_pretrained(training.TOKENIZER)


def ids_of(text, most):
    return tokenizer()(text, return_tensors="pt")["input_ids"][:, :most]


@pytest.fixture(scope="module", autouse=True)
def single():
    """float32, and not what is quicker at the moment: runs are compared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "bfloat16_pays", lambda device: False)
        yield


@pytest.fixture(scope="module")
def corpora():
    draw = np.random.default_rng(0)
    return {name: draw.integers(1, 4096, 900).astype(np.uint16) for name in ("en", "zh")}


@pytest.fixture(scope="module")
def zoo(corpora, tmp_path_factory):
    """A folder of small models, as the command leaves them."""
    folder = tmp_path_factory.mktemp("zoo")
    for name in WRITTEN:
        training.train_one(name, RECIPE, corpora, folder / "out", folder / "work", CPU)
    return folder / "out"


@pytest.mark.parametrize("name", KINDS)
def test_each_layer_attends_as_its_mechanism_does(name):
    """What a model weighs and makes by itself, in training's way and in transformers' "eager" one,
    is what `engine.attend` makes of the Q, K, V that a reading keeps."""
    net, ids, made = lively(name), ids_of(TEXT, 100), []
    for layer in net.model.layers:
        layer.self_attn.o_proj.register_forward_pre_hook(lambda _, args: made.append(args[0][0]))
    with torch.no_grad():
        logits = net(ids).logits[0, -1]
        net.set_attn_implementation("eager")
        eager = net(ids, output_attentions=True)
    # as `engine.models.load` opens it, without a disk
    model = Model(name, lively(name), tokenizer(), CPU, torch.float32, 72, None, True)
    trace = model.read(TEXT, max_tokens=100)
    torch.testing.assert_close(trace.logits, logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(eager.logits[0, -1], logits, atol=1e-4, rtol=1e-4)
    assert trace.layers == len(eager.attentions) == 2
    for i, weights in enumerate(eager.attentions):
        own = trace.own(i)
        assert type(own) is MECHANISMS[KINDS[name].key]
        attended = engine.attend(trace.layer(i), own)
        output = attended.output.transpose(0, 1).flatten(1)
        torch.testing.assert_close(made[i], output, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(weights[0], attended.weights(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_gradients_reach_every_weight(name):
    net, ids = lively(name), ids_of(TEXT, 100)
    cross_entropy(net(ids[:, :-1]).logits[0], ids[0, 1:]).backward()
    for key, weight in net.named_parameters():
        assert weight.grad is not None and weight.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", WRITTEN)
def test_a_stopped_run_goes_on_to_the_same_weights(corpora, tmp_path, monkeypatch, name):
    """And each of them is another than at the start."""

    def build(recipe):
        return training.build(recipe, kind_of(name))

    whole, end = train.train(RECIPE, corpora, tmp_path / "whole", CPU, build)
    step = train.take_step

    def stopped(model, steppers, recipe, progress, *rest):
        if progress.step == 4:
            raise KeyboardInterrupt
        return step(model, steppers, recipe, progress, *rest)

    monkeypatch.setattr(train, "take_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        train.train(RECIPE, corpora, tmp_path / "parts", CPU, build)
    monkeypatch.setattr(train, "take_step", step)
    parts, again = train.train(RECIPE, corpora, tmp_path / "parts", CPU, build)
    assert (again.step, again.formed_at) == (end.step, end.formed_at) == (6, 2)
    first = fresh(name).state_dict()
    for key, weight in whole.state_dict().items():
        assert torch.equal(weight, parts.state_dict()[key]), key
        assert not torch.equal(weight, first[key]), key


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_read_again(tmp_path, name):
    """By the engine and by transformers' Auto classes, each weight rounded to bfloat16."""
    net, ids = lively(name), ids_of(TEXT, 60)
    for weight in net.parameters():
        weight.data = weight.data.bfloat16().float()
    with torch.no_grad():
        expected = net(ids).logits
    training.publish(net, {}, tmp_path / name, training.TOKENIZER)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / name)
    assert isinstance(again, ZooForCausalLM) and again.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, expected)
    model = engine.models.load(tmp_path / name, device="cpu")
    assert model.trained_length == 72
    trace = model.read(TEXT, max_tokens=60)
    torch.testing.assert_close(trace.logits, expected[0, -1], atol=1e-4, rtol=1e-4)


def test_models_differ_in_their_mechanism_alone():
    """The same weights at the start, but for what a mechanism has of its own or does without."""
    one = fresh("softmax").state_dict()
    for name in KINDS:
        other = fresh(name).state_dict()
        extra = {key for key in other.keys() ^ one.keys() if ".parts." not in key}
        assert all("k_proj" in key for key in extra) and (not extra or name == "lsh")
        if name != "lsh":
            assert all(torch.equal(one[key], other[key]) for key in one)


def test_another_seed_is_another_model_of_the_same_mechanism():
    one, other = (training.build(replace(RECIPE, seed=s), kind_of("window")) for s in (0, 1))
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    for name, kind in SEEDS.items():
        assert kind.seed and replace(kind, seed=0) == KINDS[name.partition("-")[0]]


def test_what_is_written_is_small_and_shares_its_tokenizer(zoo):
    folder = zoo / "window"
    assert {file.name for file in folder.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "card.json",
    }  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert config["mechanism"] == "window"
    assert config["mechanism_parameters"] == {"window": 64, "sinks": 4}
    assert (folder / config["tokenizer"] / "tokenizer.json").exists()
    card = json.loads((folder / "card.json").read_text())
    assert card["training"]["step"] == 6 and card["training"]["cpu_seconds"] > 0


def test_without_its_tokenizer_a_model_is_refused(zoo, tmp_path):
    shutil.copytree(zoo / "window", tmp_path / "window")
    config = json.loads((tmp_path / "window" / "config.json").read_text())
    (tmp_path / "window" / "config.json").write_text(json.dumps(config | {"tokenizer": "gone"}))
    with pytest.raises(engine.models.ModelError, match="no tokenizer"):
        engine.models.load(tmp_path / "window")


def test_padding_before_a_text_and_caches_are_refused_and_padding_after_it_is_not(zoo):
    net = AutoModelForCausalLM.from_pretrained(zoo / "window")
    ids = torch.arange(1, 13)[None]
    alone = net(ids[:, :9]).logits
    seen = torch.ones_like(ids)
    seen[:, 9:] = 0
    torch.testing.assert_close(net(ids, attention_mask=seen).logits[:, :9], alone)
    with pytest.raises(ValueError, match="padding"):
        net(ids, attention_mask=seen.flip(1))
    with pytest.raises(ValueError, match="use_cache"):
        net(ids, use_cache=True)
    assert net.generate(ids, max_new_tokens=3, do_sample=False).shape == (1, 15)


def test_every_mechanism_is_trained_or_its_absence_has_a_reason():
    there = {kind.key for kind in KINDS.values()}
    assert there | set(LEFT_OUT) == set(engine.MECHANISMS)
    assert not there & set(LEFT_OUT)
    for name in ("linformer", "kmeans"):
        with pytest.raises(ValueError, match="reads ahead"):
            kind_of(name)
    assert kind_of("gaussian").rotary
    assert not kind_of("relative").rotary  # which brings positions of its own
    with pytest.raises(ValueError, match="no model 'nothing'"):
        kind_of("nothing")


def test_the_command_lists_checks_and_trains_what_is_missing(
    zoo, tmp_path, monkeypatch, capsys, corpora
):
    out = tmp_path / "out"
    shutil.copytree(zoo / "window", out / "window")
    config = json.loads((out / "window" / "config.json").read_text())
    config["tokenizer"] = str(training.TOKENIZER)
    (out / "window" / "config.json").write_text(json.dumps(config))
    line = ["zoo", "--out", str(out), "--work", str(tmp_path), "--only", "window", "nope"]
    assert engine_main([*line, "--list"]) == 0
    said = capsys.readouterr().out
    assert "6 steps" in said and "nope             missing" in said and "kmeans: " in said
    assert engine_main([*line, "--check"]) == 0
    assert "window" in capsys.readouterr().out

    monkeypatch.setattr(training, "RECIPE", RECIPE)
    monkeypatch.setattr(training, "books", lambda *_: (corpora, {}))
    assert engine_main([*line, "--data", "x", "--steps=3", "--drill-steps=1"]) == 0
    assert json.loads((out / "nope" / "card.json").read_text())["training"]["step"] == 3
    assert json.loads((out / "window" / "card.json").read_text())["training"]["step"] == 6
    before = (out / "nope" / "model.safetensors").stat().st_mtime_ns
    single = ["train", "--mechanism=nope", *line[1:5], "--data", "x"]
    assert engine_main(single) == 0  # it is there
    assert (out / "nope" / "model.safetensors").stat().st_mtime_ns == before


def test_a_check_tells_a_model_that_attends_otherwise(zoo, tmp_path, monkeypatch):
    model = engine.models.load(zoo / "routing", device="cpu")
    read = model.read

    def changed(*args, **kwargs):
        trace = read(*args, **kwargs)
        with torch.no_grad():
            for seen in trace.recorder.seen:
                seen.module.parts["b_r"][:, 0] += 3
        return trace

    monkeypatch.setattr(model, "read", changed)
    assert command.difference(model, TEXT) > command.NEAR


def engine_main(argv):
    from engine.__main__ import main

    threads = torch.get_num_threads()
    try:
        return main(argv)
    finally:
        torch.set_num_threads(threads)
