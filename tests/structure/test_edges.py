"""Lines between tokens and words are the weights, pooled as it is said."""

from itertools import pairwise

import pytest
import torch

from engine.measure.attention import Attention
from engine.structure.edges import lines, within
from tests.refusals import refused


def spans(*edges: int) -> torch.Tensor:
    return torch.tensor(list(pairwise(edges)))


def rows(n: int, m: int, seed: int = 0) -> Attention:
    draw = torch.Generator().manual_seed(seed)
    return Attention.from_weights(torch.rand(2, n, m, generator=draw).mul(4).softmax(-1))


def test_every_weight_of_one_head_is_a_line():
    att = rows(5, 5)
    made = lines(att, 1, spans(*range(6)), spans(*range(6)), least=0)
    assert made.drawn == pytest.approx(1)
    drawn = torch.zeros(5, 5)
    drawn[made.ends[:, 0], made.ends[:, 1]] = made.weights
    torch.testing.assert_close(drawn, att.weights()[1])
    assert torch.equal(made.weights, made.weights.sort(descending=True).values)
    assert not made.aside.any() and float(made.outside.abs().max()) < 1e-6


def test_words_by_hand():
    w = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.0, 0.4, 0.6]]])
    made = lines(Attention.from_weights(w), 0, spans(0, 2, 3), spans(0, 1, 3), least=0.3)
    found = {(q, k): round(x, 4) for (q, k), x in zip(
        made.ends.tolist(), made.weights.tolist(), strict=True
    )}  # fmt: skip
    assert found == {(0, 0): 0.3, (0, 1): 0.7, (1, 1): 1.0}
    assert made.drawn == pytest.approx(1)


def test_a_window_says_what_lies_outside_and_what_is_set_aside():
    att = rows(6, 6)
    own = att.weights()[0]
    made = lines(att, 0, spans(2, 3, 4), spans(2, 3, 4), least=0)
    torch.testing.assert_close(made.outside, 1 - own[2:4, 2:4].sum(1))
    hidden = lines(att.hide(torch.tensor([0])), 0, spans(*range(7)), spans(*range(7)), least=0)
    torch.testing.assert_close(hidden.aside, own[:, 0])
    drawn = torch.zeros(6, 6)
    drawn[hidden.ends[:, 0], hidden.ends[:, 1]] = hidden.weights
    torch.testing.assert_close(drawn.sum(1), torch.ones(6))
    torch.testing.assert_close(drawn[:, 1], own[:, 1] / (1 - own[:, 0]))


def test_faint_lines_are_left_out_and_the_share_says_so():
    att = rows(4, 7)
    own = att.weights()[0]
    made = lines(att, 0, spans(*range(5)), spans(*range(8)), least=0.2)
    assert made.drawn == pytest.approx(float(own[own >= 0.2].sum()) / 4, abs=1e-6)
    few = lines(att, 0, spans(*range(5)), spans(*range(8)), least=0, most=3)
    torch.testing.assert_close(few.weights, own.flatten().topk(3).values)


def test_signed_weights_keep_their_sign():
    att = Attention.from_weights(torch.tensor([[[-0.9, 0.2]]]))
    made = lines(att, 0, spans(0, 1), spans(0, 1, 2))
    assert made.ends.tolist() == [[0, 0], [0, 1]]
    assert made.weights.tolist() == pytest.approx([-0.9, 0.2])


def test_a_window_that_is_too_large_is_refused():
    with refused("at most 512 tokens"):
        lines(rows(600, 600), 0, spans(0, 600), spans(0, 1))


def test_pieces_in_a_window():
    assert within(spans(0, 3, 5, 9), 2, 6).tolist() == [[2, 3], [3, 5], [5, 6]]
