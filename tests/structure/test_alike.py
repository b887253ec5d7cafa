"""The head that attends most like another is found among those of other layers."""

import pytest
import torch

import engine
from engine.structure.alike import most_alike, rows


def attention(seed: int, heads: int = 3) -> engine.Attention:
    draw = torch.Generator().manual_seed(seed)
    w = torch.rand(heads, 40, 40, generator=draw).tril()
    return engine.Attention.from_weights(w / w.sum(-1, keepdim=True), causal=True)


def test_a_head_is_found_again_and_nothing_moved():
    target = attention(0)
    first, second = attention(1), attention(2)
    w = second.weights()
    w[2] = target.weights()[1]
    found = most_alike(
        target, 1, [first, engine.Attention.from_weights(w, causal=True), attention(3)]
    )
    assert (found.layer, found.head, found.heads) == (1, 2, 9)
    assert found.moved == pytest.approx(0, abs=1e-7)


def test_how_much_lies_elsewhere():
    here, there = torch.zeros(1, 10, 10), torch.zeros(1, 10, 10)
    here[:, :, 0] = 1
    there[:, :, 0], there[:, :, 1] = 0.75, 0.25
    made = [engine.Attention.from_weights(w) for w in (here, there)]
    assert most_alike(made[0], 0, made[1:]).moved == pytest.approx(0.25)


def test_rows_are_all_of_a_short_text_and_a_sample_of_a_long_one():
    assert rows(5).tolist() == [0, 1, 2, 3, 4]
    far = rows(1000)
    assert len(far) == 128 and far[0] == 0 and far[-1] == 999 and (far.diff() > 0).all()
