"""Distances on a plane, and what is refused."""

from __future__ import annotations

import torch

from engine.contract import QKV, Grid
from tests.refusals import refused

PLACE = torch.tensor([[-1, -1], [0, 0], [0, 1], [1, 0], [1, 2]])
"""A class token, and four patches of two rows and three columns."""


def test_distances_by_hand():
    grid, at = Grid(2, 3, PLACE), torch.arange(1, 5)
    assert grid.reach(at, at).tolist() == [[0, 1, 1, 2], [1, 0, 1, 1], [1, 1, 0, 2], [2, 1, 2, 0]]
    assert grid.walk(at, at).tolist() == [[0, 1, 1, 3], [1, 0, 2, 2], [1, 2, 0, 2], [3, 2, 2, 0]]


def test_a_token_without_a_patch_is_near_everything():
    grid, everything, first = Grid(2, 3, PLACE), torch.arange(5), torch.tensor([0])
    for far in (grid.reach, grid.walk):
        assert not far(first, everything).any() and not far(everything, first).any()


def test_places_that_cannot_be():
    for place in ([[0, 3]], [[2, 0]], [[0, -1]], [[0, 0], [0, 0]]):
        with refused("a patch of its own among 2 × 3"):
            Grid(2, 3, torch.tensor(place))


def test_a_grid_is_of_queries_and_keys_alike():
    grid = Grid(2, 3, PLACE)
    with refused("a grid of 5 places needs as many queries and keys, not 4 and 5"):
        QKV(torch.zeros(1, 4, 2), *torch.zeros(2, 1, 5, 2), grid=grid)
    qkv = QKV(*torch.zeros(3, 2, 5, 2), grid=grid)
    assert qkv.head(1).to(dtype=torch.float64).frame.grid is grid
