"""What is trained is the mechanism: forms against the engine's own attention, in float64."""

from dataclasses import replace

import entmax as peers
import pytest
import torch

import engine
from engine.contract import Layer, Learned
from engine.models.zoo.forms import FORMS, Given, by_reference, form
from engine.models.zoo.network import ZooAttention, ZooConfig
from engine.models.zoo.recipes import KINDS, Kind

OTHERS = {
    "t5": Kind("relative", {"kind": "t5"}, rotary=False),
    "lsh-apart": Kind("lsh", {"buckets": 4, "rounds": 2}),
    "relu": Kind("linear", {"feature_map": "relu"}),
    "segments": Kind("segmented", {"segment": 32, "integrate": "none"}),
    "pooled": Kind("segmented", {"segment": 24, "integrate": "pool"}),
    "concat": Kind("segmented", {"segment": 32, "integrate": "concat"}),
    "unsized": Kind("segmented", {"segment": 24, "integrate": "pool", "corrected": False}),
    "sparsemax": Kind("entmax", {"alpha": 2.0}),
    "three levels": Kind("hierarchical", {"levels": 3}),
    "taken off": Kind("infini", {"segment": 12, "update": "delta"}),
    "half": Kind("infini", {"segment": 12, "gate": "even"}),
    "few landmarks": Kind("landmark", {"block": 6, "top_k": 2}),
    "taken apart": Kind("landmark", {"block": 6, "aggregate": "logsumexp"}),
    "levels": Kind("log_linear", {"feature_map": "elu1"}),
    "even levels": Kind("log_linear", {"levels": "even"}),
    "open gate": Kind("gated", {"gate": "open"}),
    "even": Kind("nsa", {"block": 8, "top_k": 2, "window": 12, "gate": "even"}),
    "no slots": Kind("memory_tokens", {"slots": 0}),
    "two paths": Kind("routing", {"paths": 2, "top_k": 1}),
    # without forms of their own
    "gaussian": Kind("gaussian"),
    "shaw": Kind("relative", {"kind": "shaw", "max_distance": 6}, rotary=False),
    "cope": Kind("relative", {"kind": "cope", "max_distance": 6}, rotary=False),
    "fire": Kind("relative", {"kind": "fire", "length": 30}, rotary=False),
    "music": Kind("relative", {"kind": "music", "max_distance": 6}, rotary=False),
    "additive": Kind("additive", {"hidden": 4}),
    "crossed": Kind("combined", {"bias": "t5", "scale": "ssmax"}, rotary=False),
}
ALL = KINDS | OTHERS
WHOLE = [name for name, kind in ALL.items() if {"segment", "block", "levels"} & {*kind.parameters}]
"""What cuts the text in pieces is also tried where the last one is whole."""
CONFIG = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2,
}  # fmt: skip


def made(name: str, n: int, seed: int = 0):
    """A layer with learned parts that are not those of the start, and what it attends."""
    kind = ALL[name]
    torch.manual_seed(seed)
    config = ZooConfig(
        **CONFIG, mechanism=kind.key, mechanism_parameters=dict(kind.parameters),
        rotary=kind.rotary,
    )  # fmt: skip
    layer = ZooAttention(config, 1).double()
    for part in layer.parts.values():
        part.data += 0.3 * torch.rand_like(part)
    x = torch.randn(2, n, 16, dtype=torch.float64)
    q, k, v = (1.5 * torch.randn(2, 2, n, 8, dtype=torch.float64) for _ in "qkv")
    return layer, x, q, q if layer.shared else k, v


@pytest.mark.parametrize(
    ("name", "n"),
    [*((name, n) for name in ALL for n in (5, 70)), *((name, 128) for name in WHOLE)],
)
def test_a_form_gives_the_mechanisms_weights_and_output(name, n):
    layer, x, q, k, v = made(name, n)
    made_of = form(layer.mechanism, Given(q, k, x, layer.learned()))
    weights, output = made_of.weights(), made_of.output(v)
    for b in range(len(q)):
        qkv = engine.QKV(q[b], k[b], v[b], causal=True, layer=Layer(x=x[b]))
        attended = engine.attend(qkv, layer.own())
        torch.testing.assert_close(weights[b], attended.weights().double(), atol=1e-6, rtol=0)
        torch.testing.assert_close(output[b], attended.output, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_the_formula(name):
    """Along q, k and every learned part, by a difference; where no choice of keys changes."""
    layer, x, q, k, v = made(name, 40)
    leaves = [q, *([] if layer.shared else [k]), *layer.parts.values()]
    target = torch.randn(v.shape, dtype=v.dtype)

    def loss() -> torch.Tensor:
        given = Given(leaves[0], leaves[0] if layer.shared else leaves[1], x, layer.learned())
        return (form(layer.mechanism, given).output(v) * target).sum()

    for leaf in leaves:
        leaf.requires_grad_()
    found = torch.autograd.grad(loss(), leaves)
    for leaf, gradient in zip(leaves, found, strict=True):
        way = torch.randn_like(leaf)
        with torch.no_grad():
            step = 1e-6 * way
            leaf += step
            above = loss()
            leaf -= 2 * step
            below = loss()
            leaf += step
        torch.testing.assert_close(
            (gradient * way).sum(), (above - below) / 2e-6, rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("alpha", [1.5, 2.0, 1.3])
def test_entmax_and_its_gradient_are_those_of_another_package(alpha):
    layer, x, q, k, _ = made("entmax", 30)
    q = 3 * q
    mechanism = replace(layer.mechanism, alpha=alpha)
    z = (q @ k.mT * 8**-0.5).masked_fill(~torch.ones(30, 30).tril().bool(), -torch.inf)
    z.requires_grad_()
    theirs = {1.5: peers.entmax15, 2.0: peers.sparsemax}.get(
        alpha, lambda z: peers.entmax_bisect(z, alpha, n_iter=100)
    )(z)
    q.requires_grad_()
    ours = form(mechanism, Given(q, k, x, {})).weights()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    upstream = torch.randn_like(ours)
    (ours * upstream).sum().backward()
    (theirs * upstream).sum().backward()
    assert z.grad is not None and q.grad is not None
    through = z.grad.nan_to_num(0) @ k * 8**-0.5
    torch.testing.assert_close(q.grad, through, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["window", "ssmax", "routing", "hierarchical", "t5"])
def test_forms_agree_with_training_by_the_reference(name):
    layer, x, q, k, v = made(name, 50)
    given = Given(q, k, x, layer.learned())
    if name == "hierarchical":
        assert type(layer.mechanism) in FORMS
    torch.testing.assert_close(
        form(layer.mechanism, given).output(v), by_reference(layer.mechanism, given).output(v)
    )


def test_what_would_be_fitted_to_each_text_is_not_trained():
    layer, x, q, k, _ = made("softmax", 20)
    with pytest.raises(ValueError, match="capsule doesn't say with what"):
        form(engine.make("capsule"), Given(q, k, x, {}))
    assert not layer.learned()


def test_learned_parts_change_what_is_attended():
    layer, _, q, k, v = made("ssmax", 20)
    qkv = engine.QKV(q[0], k[0], v[0], causal=True)
    s = layer.learned()["s"]
    # one head with twice the s, alone, is that head
    other = replace(
        layer.mechanism, learned=Learned({"s": torch.stack([s[0], 2 * s[1]]).detach()})
    )
    first, second = engine.attend(qkv, layer.own()).weights(), engine.attend(qkv, other).weights()
    torch.testing.assert_close(first[0], second[0])
    assert not torch.allclose(first[1], second[1])
    alone = replace(layer.mechanism, s=2 * s[1].item())
    torch.testing.assert_close(second[1], engine.attend(qkv, alone).weights()[1])


def test_lambda_may_differ_by_head():
    layer, _, q, k, v = made("differential", 20)
    qkv = engine.QKV(q[0], k[0], v[0], causal=True)
    parts = Learned({"lambda": torch.tensor([0.2, 0.9])})
    both = engine.attend(qkv, replace(layer.mechanism, learned=parts)).weights()
    for head, share in enumerate((0.2, 0.9)):
        one = engine.attend(qkv, "differential", lambda_=share).weights()
        torch.testing.assert_close(both[head], one[head])


def test_with_a_centre_of_its_own_hashing_does_not_read_ahead():
    """With the text's mean, what comes later may change where a key falls; with a given one no."""
    torch.manual_seed(0)
    q = torch.randn(2, 60, 8, dtype=torch.float64)
    mechanism = engine.make("lsh", buckets=8, rounds=1, shared_qk=True)
    given = replace(mechanism, learned=Learned({"centre": torch.zeros(2, 8)}))
    changed = q.clone()
    changed[:, 40:] += 5
    for one, moves in ((mechanism, True), (given, False)):
        first, second = (
            engine.attend(engine.QKV(x, x, x, causal=True), one).weights()[:, :40, :40]
            for x in (q, changed)
        )
        assert torch.equal(first, second) != moves
