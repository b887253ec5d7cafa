"""All heads at once: the same maps and scores as of each layer by itself."""

import math

import pytest
import torch

from engine.models import Model, load
from engine.models.finder import score
from engine.models.overview import heads_of, overview
from engine.runtime.paths import ZOO
from tests.models.made import network, tokenizer

TEXT = "the quick brown fox jumps over the lazy dog. the quick fox said: hello"


def trace_of(kind: str, **more):
    net = network(kind, vocab_size=320, **more)
    reader = Model(kind, net, tokenizer(), torch.device("cpu"), torch.float32, None, 256, True)
    return reader.read(TEXT, second=TEXT if reader.second == "decoder" else None)


@pytest.mark.parametrize("kind", ["llama", "bart", "mpt"])
def test_maps_and_scores_are_those_of_every_layer(kind):
    trace, done = trace_of(kind), []
    found = overview(trace, 8, done.append)
    assert done == list(range(1, trace.layers + 1))
    assert [(x.name, x.part) for x in found] == list(zip(trace.names, trace.parts, strict=True))
    for i, layer in enumerate(found):
        att = trace.attention(i)
        torch.testing.assert_close(layer.maps, att.heatmap(8))
        effective = att.rows().means()["effective_tokens"].tolist()
        assert layer.scores["effective"] == pytest.approx(effective)
    for one, other in zip(heads_of(found), score(trace), strict=True):
        assert (one.layer, one.head, one.part) == (other.layer, other.head, other.part)
        assert one.scores == pytest.approx(other.scores, nan_ok=True)


def test_heads_that_share_their_keys():
    trace = trace_of("llama", num_key_value_heads=2)
    assert [(x.heads, x.groups) for x in overview(trace, 8)] == [(4, 2), (4, 2)]


def test_signed_weights_have_maps_and_no_scores():
    found = overview(load(ZOO / "delta", device="cpu").read(TEXT), 8)
    assert all(layer.signed and layer.maps.isfinite().all() for layer in found)
    assert all(math.isnan(x) for layer in found for x in layer.scores["previous"])
    assert heads_of(found) == []
