"""The models that are kept: they attend as they say, and are what their cards say."""

import pytest
from transformers import AutoModelForCausalLM

from engine.models.loading import load
from engine.models.training.evaluate import bits_per_byte
from engine.models.zoo import cards, command, training
from engine.models.zoo.kept import measured
from engine.models.zoo.measure import passage, passage_attention
from engine.models.zoo.recipes import KINDS, SEEDS

OUT = training.OUT
KEPT = [name for name in KINDS if (OUT / name).exists()]
MEASURED = measured(OUT)
SPREAD = [name for name, card in MEASURED.items() if "passage_attention" in card["measured"]]
MOST = 40 * 2**20
"""Bytes of all weights."""


@pytest.mark.parametrize("name", KEPT)
def test_each_layer_attends_as_its_mechanism_does(name):
    model = load(OUT / name, device="cpu")
    assert command.difference(model, passage()) <= command.NEAR


@pytest.mark.parametrize("name", [name for name in MEASURED if name in KINDS])
def test_a_model_is_what_its_card_says(name):
    card = MEASURED[name]
    net = AutoModelForCausalLM.from_pretrained(OUT / name).eval()
    tokenizer = load(OUT / name, device="cpu").tokenizer
    found = bits_per_byte(net, tokenizer, passage(), net.config.trained_length)
    assert found["bits_per_byte"] == pytest.approx(card["measured"]["passage"], abs=2e-3)
    assert (OUT / name / "README.md").read_text("utf-8") == cards.readme(name, card)


@pytest.mark.parametrize("name", [name for name in SPREAD if name in KINDS])
def test_its_attention_spreads_as_its_card_says(name):
    found = passage_attention(load(OUT / name, device="cpu"))
    said = MEASURED[name]["measured"]["passage_attention"]
    assert found.keys() == said.keys() == {"256"}
    for metric, value in said["256"].items():
        if value is None:  # of signed weights
            assert found["256"][metric] is None
        else:
            assert found["256"][metric] == pytest.approx(value, rel=1e-2, abs=1e-4), metric


def test_the_table_is_of_those_that_are_measured():
    table = OUT / "README.md"
    assert table.exists() == bool(MEASURED)
    assert not MEASURED or table.read_text("utf-8") == cards.overview(MEASURED)


def test_there_is_nothing_else_and_they_are_small():
    assert KEPT and {x.name for x in OUT.iterdir() if x.is_dir()} <= KINDS.keys() | SEEDS.keys()
    weights = list(OUT.rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in weights) <= MOST
