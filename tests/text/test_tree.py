"""Units inside units; the chain rule of entropy over them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contract import Frame
from engine.text.tree import Tree
from engine.text.units import group_units
from tests.refusals import refused


def frame(m: int, **levels: list[int]) -> Frame:
    """A frame whose units begin at these keys."""
    units = {}
    for name, starts in levels.items():
        edges = torch.tensor([*starts, m])
        units[name] = torch.stack([edges[:-1], edges[1:]], 1)
    return Frame(heads=1, n=m, m=m, units=units)


TEXT = {
    "tokens": list(range(9)),
    "words": [0, 1, 3, 4, 7],
    "sentences": [0, 4],
    "paragraphs": [0],
}


def test_levels_are_the_finest_above_the_keys():
    names = ["paragraphs", "sentences", "words", "tokens"]
    for levels, count in ((1, 2), (2, 3), (3, 4), (9, 4), (None, 4)):
        assert list(Tree.of(frame(9, **TEXT), levels).names) == names[-count:]
    tree = Tree.of(frame(9, **TEXT))
    assert [tree.count(i) for i in range(4)] == [1, 2, 5, 9] and tree.m == 9
    assert tree.parents[1].tolist() == [0, 0, 0, 1, 1]
    assert tree.spans(2).tolist() == [[0, 1], [1, 3], [3, 4], [4, 7], [7, 9]]


def test_keys_without_units_are_grouped():
    tree = Tree.of(Frame(heads=1, n=5, m=100))
    assert tree.names == ("512", "64", "8", "tokens")
    assert [tree.count(i) for i in range(4)] == [1, 2, 13, 100]
    assert Tree.of(Frame(heads=1, n=5, m=100, units=group_units(100))).names == tree.names


def test_characters_of_several_tokens_are_a_level_more():
    parts = TEXT | {"characters": [0, 1, 3, 4, 5, 6, 7, 8]}
    del parts["tokens"]
    tree = Tree.of(frame(9, **parts), 1)
    assert tree.names == ("words", "characters", "tokens") and tree.count(1) == 8
    parts["characters"] = list(range(9))
    assert Tree.of(frame(9, **parts), 1).names == ("words", "characters")


def test_units_must_nest():
    with refused(match="units"):
        Tree.of(frame(9, words=[0, 2, 5], sentences=[0, 3]))


def test_chain_rule_by_hand():
    w = torch.tensor([0.5, 0.25, 0.125, 0.125])
    units = frame(4, words=[0, 1], sentences=[0])
    first, second, third = Tree.of(units).entropies(w).tolist()
    assert (first, second) == (0.0, pytest.approx(math.log(2)))
    # half the mass lies in the second word, whose keys have 1/2, 1/4, 1/4 of it
    assert third == pytest.approx(0.5 * 1.5 * math.log(2))


@settings(max_examples=60)
@given(st.integers(1, 300), st.integers(0, 1000), st.floats(0, 20))
def test_entropies_of_the_levels_add_up(m, seed, spread):
    draw = torch.Generator().manual_seed(seed)
    w = (spread * torch.randn(3, m, generator=draw)).double().softmax(-1)
    w[0, torch.rand(m, generator=draw) < 0.3] = 0  # a sink took some
    tree = Tree.of(Frame(heads=1, n=1, m=m))
    masses = tree.masses(w)
    p = w / w.sum(-1, keepdim=True).clamp_min(1e-300)
    expected = -torch.special.xlogy(p, p).sum(-1)
    torch.testing.assert_close(tree.entropies(w).sum(-1), expected, atol=1e-9, rtol=1e-9)
    for level, mass in enumerate(masses):
        torch.testing.assert_close(mass.sum(-1), w.sum(-1))
        start, stop = tree.spans(level)[-1].tolist()
        torch.testing.assert_close(mass[:, -1], w[:, start:stop].sum(-1))


def test_siblings_are_pairs_inside_a_unit_of_the_level_above():
    """Paragraphs 1² + sentences 2² + words 2² + 1² + tokens 2² + 1² + 3²."""
    edges = [(0, 6), (0, 3, 6), (0, 2, 3, 6), range(7)]
    tree = Tree(("paragraphs", "sentences", "words", "tokens"),
                tuple(torch.tensor(list(e)) for e in edges))  # fmt: skip
    assert tree.siblings == 1 + 4 + (4 + 1) + (4 + 1 + 9)
