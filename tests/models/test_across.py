"""Across layers: rollout and flow by hand, and predictions of every layer by the model's own."""

import copy

import pytest
import torch

from engine.measure.attention import Attention
from engine.models import Model, ModelError, load
from engine.models.across import LONGEST, flow, lens, max_flow, rollout
from engine.models.embedded import folder_of
from tests.models.made import network, tokenizer

TEXT = "the quick fox said: hello, the dog."
CPU = torch.device("cpu")


def made(*layers: torch.Tensor) -> list[Attention]:
    return [Attention.from_weights(x) for x in layers]


def rows(n: int, seed: int, heads: int = 2) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    w = torch.rand(heads, n, n, generator=draw).tril()
    return w / w.sum(-1, keepdim=True)


def test_rollout_by_hand_and_its_rows_are_shares():
    first = torch.tensor([[[1.0, 0.0], [0.4, 0.6]], [[1.0, 0.0], [0.6, 0.4]]])
    second = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    found = rollout(made(first, second))
    expected = torch.tensor([[[1, 0], [0.25, 0.75]], [[1, 0], [0.625, 0.375]]]).double()
    torch.testing.assert_close(found, expected)
    many = rollout(made(*(rows(6, i) for i in range(5))))
    torch.testing.assert_close(many.sum(-1), torch.ones(5, 6).double())


def test_flow_through_one_layer_is_the_layer_and_through_a_neck_is_the_neck():
    one = made(rows(5, 0))
    torch.testing.assert_close(flow(one, 4), rollout(one)[0, 4])
    neck = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [0, 0.2, 0.8]]])
    wide = torch.tensor([[[1.0, 0, 0], [1, 0, 0], [0.5, 0.5, 0]]])
    assert flow(made(wide, neck), 2)[0] == pytest.approx(0.25 + 0.1)  # 2←2←0 and 2←1←0


@pytest.mark.parametrize("seed", range(5))
def test_maximum_flow_is_the_minimum_cut(seed):
    """Of all ways to part the places between, the least that crosses (Ford and Fulkerson)."""
    draw = torch.Generator().manual_seed(seed)
    n, depth = 3, 3
    layers = torch.rand(depth, n, n, generator=draw).round(decimals=2).tolist()
    inner = [(level, i) for level in range(1, depth) for i in range(n)]
    least = float("inf")
    for chosen in range(2 ** len(inner)):
        below = {(0, 1)} | {x for b, x in enumerate(inner) if chosen >> b & 1}
        least = min(least, sum(
            layers[level][i][j]
            for level in range(depth) for i in range(n) for j in range(n)
            if (level, j) in below and (level + 1, i) not in below
            and (level + 1 < depth or i == 2)
        ))  # fmt: skip
    assert max_flow(layers, 1, 2) == pytest.approx(least, abs=1e-6)


def test_flow_is_at_least_rollout_and_at_most_a_row():
    traced = made(*(rows(7, i) for i in range(3)))
    done: list[int] = []
    found = flow(traced, 6, on_token=done.append)
    assert bool((found >= rollout(traced)[-1, 6] - 1e-9).all()) and float(found.max()) <= 1 + 1e-9
    assert done == list(range(1, 8))


def test_what_can_not_be_followed_is_refused():
    with pytest.raises(ModelError, match="below 0"):
        rollout(made(-rows(3, 0)))
    with pytest.raises(ModelError, match=f"at most {LONGEST:,}"):
        rollout(made(torch.ones(1, LONGEST + 1, LONGEST + 1)))
    with pytest.raises(ModelError, match="at most 64 tokens"):
        flow(made(rows(65, 0)), 0)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "bart", "qwen3", "bloom"])
def test_the_predictions_of_each_layer_are_those_of_the_model_cut_there(kind):
    net = network(kind, vocab_size=320)
    model = Model(kind, net, tokenizer(), CPU, torch.float32, None, 64, True)
    trace = model.read(TEXT, second=TEXT if kind == "bart" else None)
    done: list[int] = []
    found = lens(trace, model, k=4, on_layer=done.append)
    assert done == [1, 2, 3] and found.names == ("embedding", "0", "1")
    inputs = model.inputs(trace.read, trace.written)
    with torch.no_grad():
        own = model.net(**inputs).logits[0].softmax(-1).topk(4)
    torch.testing.assert_close(found.probabilities[-1], own.values, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        found.probabilities[-1, -1],
        torch.tensor([p for _, p in trace.next_tokens(4)]), atol=1e-5, rtol=1e-4,
    )  # fmt: skip


def test_a_llama_cut_after_its_first_layer_says_what_the_lens_says():
    model = load(folder_of("tiny"), device="cpu")
    trace = model.read("On a rock in the bay, Quill kept a lamp.")
    found = lens(trace, model, k=3)
    cut = copy.deepcopy(model.net)
    cut.model.layers = cut.model.layers[:1]
    cut.config.num_hidden_layers = 1
    with torch.no_grad():
        own = cut(torch.tensor([trace.read.coded.ids])).logits[0].softmax(-1).topk(3)
    torch.testing.assert_close(found.probabilities[1], own.values, atol=1e-5, rtol=1e-4)
    assert torch.equal(found.ids[1, :, 0], own.indices[:, 0])


def test_models_whose_last_step_is_more_are_refused():
    net = network("gemma2", vocab_size=320)  # it caps its logits
    model = Model("gemma2", net, tokenizer(), CPU, torch.float32, None, 64, True)
    net.config.final_logit_softcapping = 0.5
    with pytest.raises(ModelError, match="more than a norm and a matrix"):
        lens(model.read(TEXT), model)
    silent = Model(
        "silent",
        network("llama", vocab_size=320),
        tokenizer(),
        CPU,
        torch.float32,
        None,
        64,
        False,
    )
    with pytest.raises(ModelError, match="predicts no tokens"):
        lens(silent.read(TEXT), silent)
