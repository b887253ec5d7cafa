"""Nothing is mixed between devices: mechanisms, and reading, cutting and transplanting in a model,
on a device of the test's own give what they give on the processor."""

import pytest
import torch
from torch import nn

import engine
from engine.contract import QKV, Refusal
from engine.mechanisms import MECHANISMS
from engine.mechanisms.linear import Linear
from engine.mechanisms.window import Window
from engine.models import Model
from engine.models.intervene import Changes, again
from engine.models.transplant import transplant
from tests.device.elsewhere import CPU, DEVICE, Elsewhere, elsewhere
from tests.mechanisms.test_battery import some_bias
from tests.models.made import network, tokenizer
from tests.typecheck import unchecked

N, HEADS = 16, 4
TEXT = "the quick fox said: hello, the dog"
MORE = {
    "causal": {"causal": True},
    "key_mask": {"key_mask": torch.arange(N) != 5},
    "bias": {"bias": some_bias},
}
KINDS = ["bert", "llama", "t5", "gemma2"]


def made(**more) -> QKV:
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(x, N, 8, generator=draw) for x in (HEADS, 2, 2))
    return QKV(q, k, v, needles=torch.tensor([3]), **more)


def told(att: engine.Attention) -> dict[str, torch.Tensor]:
    """All that an attention tells, on the processor."""
    found = {"weights": att.weights(), "output": att.output, "map": att.heatmap(8, "mean")}
    found |= {f"row {name}": x for name, x in vars(att.rows()).items()}
    found |= {f"summary {name}": x for name, x in vars(att.summary(8).rows).items()}
    assert all(x.device == att.device for x in found.values())
    assert att.views is not None
    return {name: x.cpu() for name, x in found.items()}


@pytest.mark.parametrize("more", MORE)
@pytest.mark.parametrize("key", MECHANISMS)
def test_a_mechanism_stays_where_its_inputs_are(key, more):
    here = made(**MORE[more])
    with unchecked():
        try:
            expected = told(engine.attend(here, key))
        except Refusal:
            return
        with elsewhere() as device:
            found = told(engine.attend(here.to(device), key))
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x, atol=1e-5, rtol=1e-4, equal_nan=True, msg=name)


def put(net: nn.Module) -> nn.Module:
    """A network with all its numbers on that device."""
    for part in net.modules():
        for name, x in part._parameters.items():
            if x is not None:
                part._parameters[name] = nn.Parameter(Elsewhere(x.data), requires_grad=False)
        for name, x in part._buffers.items():
            if x is not None:
                part._buffers[name] = Elsewhere(x)
    return net


def pair(kind: str) -> tuple[Model, Model]:
    """A model here, and the same on that device."""
    nets = [network(kind, vocab_size=320) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    one = Model("small", nets[0], tokenizer(), CPU, torch.float32, None, 256, True)
    with elsewhere():
        other = Model("small", put(nets[1]), tokenizer(), DEVICE, torch.float32, None, 256, True)
    return one, other


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_read_where_it_is(kind):
    one, other = pair(kind)
    with unchecked():
        expected = one.read(TEXT)
        with elsewhere():
            found = other.read(TEXT)
            assert found.layers == expected.layers and other.check < 1e-5
            for i in range(found.layers):
                theirs, ours = found.attention(i), expected.attention(i)
                assert theirs.device == DEVICE
                torch.testing.assert_close(theirs.weights().cpu(), ours.weights())
                torch.testing.assert_close(theirs.output.cpu(), ours.output)


def test_heads_are_cut_and_mechanisms_transplanted_where_the_model_is():
    one, other = pair("llama")
    changes = Changes(heads=frozenset({(0, 1)}))
    with unchecked():
        here = one.read(TEXT)
        plain = [again(here, one, changes).attention(1).output]
        plain += [transplant(here, one, x).divergence for x in (Window(3), Linear())]
        with elsewhere():
            there = other.read(TEXT)
            moved = [again(there, other, changes).attention(1).output.cpu()]
            moved += [transplant(there, other, x).divergence.cpu() for x in (Window(3), Linear())]
    for x, y in zip(plain, moved, strict=True):
        torch.testing.assert_close(y, x, atol=1e-5, rtol=1e-4)


def test_what_is_mixed_is_refused():
    """The device itself: what a GPU refuses, it does."""
    with elsewhere() as device:
        x = torch.ones(3, device=device)
        assert isinstance(x + 1, Elsewhere) and (x + torch.tensor(2.0)).device == DEVICE
        assert x[torch.tensor([0])].tolist() == [1.0] and x.cpu().device == CPU
        with pytest.raises(RuntimeError, match="two devices"):
            x + torch.ones(3)
        with pytest.raises(RuntimeError, match="two devices"):
            torch.ones(3).masked_fill(x > 0, 0)
        with pytest.raises((RuntimeError, TypeError)):
            x.numpy()
        y = torch.zeros(3)
        y.copy_(x)
        assert type(y) is torch.Tensor and y.tolist() == [1.0] * 3
