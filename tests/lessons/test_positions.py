"""Permutations, the rotation of sinusoids, and costs."""

import math

import pytest
import torch

from engine.lessons import positions
from engine.text.quantities import tiny
from tests.refusals import refused

WORDS = positions.words("The small boat turned round and round in the dark bay")


@pytest.mark.parametrize("order", positions.ORDERS)
def test_without_positions_outputs_permute_with_the_words(order):
    at = positions.order_of(order, len(WORDS))
    assert sorted(at.tolist()) == list(range(len(WORDS))) and at.tolist() != sorted(at.tolist())
    assert positions.permuted(WORDS, at, "none").difference < 1e-5


@pytest.mark.parametrize("kind", positions.KINDS[1:])
def test_with_positions_they_do_not(kind):
    at = positions.order_of("reversed", len(WORDS))
    assert positions.permuted(WORDS, at, kind).difference > 0.1
    still = torch.arange(len(WORDS))
    assert positions.permuted(WORDS, still, kind).difference == 0


def test_a_causal_mask_is_a_trace_of_position():
    at = positions.order_of("reversed", len(WORDS))
    assert positions.permuted(WORDS, at, "none", causal=True).difference > 0.1


def test_sinusoids_are_the_papers():
    p = positions.sinusoidal(50, 12)
    for i, j in ((0, 0), (7, 2), (49, 5)):
        angle = i / 10000 ** (2 * j / 12)
        assert float(p[i, 2 * j]) == pytest.approx(math.sin(angle), abs=1e-6)
        assert float(p[i, 2 * j + 1]) == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize("offset", [0, 1, 8, 64])
def test_one_rotation_moves_every_position(offset):
    assert positions.rotation_error(64, 32, offset) < 1e-6
    turn = positions.rotation(32, offset)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(32))
    if offset:  # the wrong rotation is told apart
        p = positions.sinusoidal(64 + offset, 32)
        wrong = p[:64] @ positions.rotation(32, offset + 1).mT
        assert (p[offset:] - wrong).abs().max() > 0.1


def test_only_the_distance_counts_but_for_a_random_table():
    for kind in ("sinusoidal", "rotary"):
        scores = positions.likeness(kind, 40, 16)
        assert positions.spread(scores, 5) < 1e-6
        assert scores.std() > 0.01
    assert positions.spread(positions.likeness("learned", 40, 16), 5) > 0.05


def test_bad_widths_and_lengths_are_refused():
    with refused(match="must be even, not 7"):
        positions.sinusoidal(4, 7)
    with refused(match="must be even, not 5"):
        positions.rotation(5, 1)
    for empty in (
        lambda: positions.sinusoidal(0, 8),
        lambda: positions.learned(0, 8),
        lambda: positions.likeness("rotary", 0, 8),
        lambda: positions.words("  "),
        lambda: positions.attended((), "none", causal=False),
        lambda: positions.cost("attention", 0, 8, 3),
    ):
        with refused(match="at least"):
            empty()
    with refused(match="not 'dreams'"):
        positions.likeness("dreams", 4, 8)
    with refused(match="not 'dreams'"):
        positions.cost("dreams", 4, 8, 3)


def test_words_of_either_script():
    assert positions.words("小船 转") == ("小船", "转")
    assert positions.words("小船转") == ("小", "船", "转")
    assert len(positions.words("word " * 100)) == positions.MOST


def test_costs_are_the_tables():
    n, d, k = 1024, 512, 3
    cost = {layer: positions.cost(layer, n, d, k) for layer in positions.LAYERS}
    assert cost["attention"] == positions.Cost(n * n * d, 1, 1)
    assert cost["recurrence"] == positions.Cost(n * d * d, n, n)
    assert cost["convolution"] == positions.Cost(k * n * d * d, 1, n / k)
    assert cost["dilated"].path == pytest.approx(math.log(n, k))
    same = (positions.cost(layer, d, d, k).operations for layer in ("attention", "recurrence"))
    assert len(set(same)) == 1  # they meet at n = d


def test_tiny_numbers_in_words():
    assert [tiny(x) for x in (0, 2.3e-7, 4e-12)] == ["0", "2×10⁻⁷", "4×10⁻¹²"]


def test_the_code_lines_run_and_find_the_same():
    scope: dict = {}
    exec(positions.code("encoding", n=20, width=8, offset=3), scope)
    torch.testing.assert_close(scope["p"], positions.sinusoidal(20, 8))
    assert float(scope["error"]) < 1e-12
    exec(positions.code("cost", n=64, width=32, kernel=5), scope)
    assert scope["found"]["dilated"] == positions.cost("dilated", 64, 32, 5)
    at = positions.order_of("shuffled", len(WORDS), 2)
    lines = positions.code(
        "permute", tokens=WORDS, order=at.tolist(), kind="rotary", causal=True, seed=2
    )
    exec(lines, scope)
    again = positions.permuted(WORDS, at, "rotary", causal=True, seed=2)
    assert scope["found"].difference == again.difference > 0
