"""Weights by value: lengths by the model's own projection, shares by hand."""

import torch

import engine
from engine.contract import Layer
from engine.measure.attention import Attention
from engine.models.embedded import folder_of
from engine.structure.values import ByValue, lengths
from tests.refusals import refused


def test_lengths_are_of_what_a_head_adds_for_a_key():
    model = engine.models.load(folder_of("tiny"), device="cpu")
    qkv = model.read("On a rock in the bay, Quill kept a lamp.").layer(1)
    found = lengths(qkv)
    projection = model.net.model.layers[1].self_attn.o_proj
    width = qkv.v.shape[2]
    for head, key in ((0, 3), (4, 7)):
        alone = torch.zeros(1, qkv.heads * width)
        alone[0, head * width : (head + 1) * width] = qkv.v[head * len(qkv.v) // qkv.heads, key]
        with torch.no_grad():
            torch.testing.assert_close(found[head, key], projection(alone).norm())


def test_rows_keep_their_sum_and_shares_follow_the_lengths():
    w = torch.tensor([[[0.5, 0.5, 0.0], [0.2, 0.2, 0.4]]])
    made = ByValue(Attention.from_weights(w), torch.tensor([[1.0, 3.0, 0.0]])).weights()
    expected = torch.tensor([[[0.25, 0.75, 0.0], [0.2, 0.6, 0.0]]])
    torch.testing.assert_close(made, expected)


def test_of_equal_lengths_nothing_changes_whatever_the_blocks():
    qkv = engine.sources.planted(n=96, heads=2, causal=True)
    for key, more in (("softmax", {}), ("lsh", {"rounds": 2}), ("window", {"window": 8})):
        att = engine.attend(qkv, key, **more)
        made = ByValue(att, torch.full((2, 96), 2.0))
        torch.testing.assert_close(made.weights(), att.weights(), atol=1e-6, rtol=1e-4)
        draw = torch.Generator().manual_seed(0)
        some = torch.rand(2, 96, generator=draw)
        plain = att.weights() * some[:, None]
        plain *= att.weights().sum(-1, True) / plain.sum(-1, True)
        torch.testing.assert_close(ByValue(att, some).weights(), plain, atol=1e-6, rtol=1e-4)


def test_without_the_projection_it_is_refused():
    qkv = engine.sources.planted(n=8, heads=1)
    with refused("output projection"):
        lengths(qkv.replace(layer=Layer(x=torch.zeros(8, 4))))
    with refused("have no output"):
        _ = ByValue(engine.attend(qkv, "softmax"), torch.ones(1, 8)).output
