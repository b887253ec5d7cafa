"""Time and memory of an output: memory counted tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import engine
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism
from engine.mechanisms.cost import Alive
from tests.refusals import refused

N = 256


@dataclass(frozen=True)
class Wasteful(Mechanism):
    """Holds `held` matrices n×n at once, and makes as many again one after another."""

    key: ClassVar[str] = "wasteful"
    family: ClassVar[str] = "full"
    complexity: ClassVar[str] = "n²"
    held: int = 1

    def attend(self, qkv):
        rows = [torch.full((1, qkv.n, qkv.m), 1 / qkv.m) for _ in range(self.held)]
        for _ in range(self.held):
            rows[0].exp()
        return Attention.from_weights(rows[-1], qkv.v)

    def reference(self, qkv):
        return torch.full((1, qkv.n, qkv.m), 1 / qkv.m, dtype=torch.float64)

    def flops(self, qkv):
        return 7


@pytest.mark.parametrize("held", [1, 3])
def test_the_worst_moment_is_counted(held):
    qkv = engine.sources.planted(n=N, heads=1, dim=8)
    found = engine.cost.measure(Wasteful(held), qkv)
    matrix = 4 * N * N
    assert (held + 1) * matrix <= found.bytes < (held + 2.6) * matrix  # checks of from_weights
    assert found.seconds > 0 and found.flops == 7


def test_what_is_given_and_what_is_gone_does_not_count():
    given = torch.zeros(100, dtype=torch.float64)
    with Alive([given]) as alive:
        given.view(10, 10).T.add_(1)
        assert alive.peak == 0
        one = given * 2
        del one
        two = given * 3
        assert alive.peak == 800
        three = two + two
        assert alive.peak == 1600
    assert three.sum() == 600


def test_an_output_by_tiles_needs_no_square():
    qkv = engine.sources.planted(n=1024, heads=2, dim=16, causal=True)
    softmax = engine.cost.measure(engine.make("softmax"), qkv)
    assert softmax.bytes < 2 * 1024 * 1024 * 4 / 8
    assert softmax.flops == engine.make("softmax").flops(qkv)


def test_a_layer_that_is_refused_is_refused_here_too():
    qkv = engine.sources.planted(n=16, heads=1, dim=8)
    with refused():
        engine.cost.measure(engine.make("segmented", integrate="pool"), qkv.replace(bias=_bias))


def _bias(rows, cols):
    return torch.zeros(1, len(rows), len(cols))
