"""The structure on a map: groups, borders and boxes agree with what the weights are."""

import pytest
import torch

import engine
from engine.mechanisms import MECHANISMS
from engine.structure.overlay import Overlay, mixture, overlay

N = 48


def made(n: int = N, m: int = N, causal: bool = True) -> engine.QKV:
    draw = torch.Generator().manual_seed(7)
    q = torch.randn(2, n, 8, generator=draw)
    k, v = torch.randn(2, 2, m, 8, generator=draw).unbind(0)
    return engine.QKV(q, k, v, causal=causal)


def shown(key: str, qkv: engine.QKV | None = None, **params) -> tuple[torch.Tensor, Overlay]:
    att = engine.attend(qkv or made(), key, **params)
    found = overlay(att, 1)
    assert found is not None
    return att.weights()[1], found


def test_one_round_in_buckets_weighs_only_its_own():
    w, found = shown("lsh", rounds=1, buckets=4, scope="bucket")
    assert found.kind == "buckets" and found.ordered and len(found.bands) == 1
    rows, cols = (torch.tensor(x) for x in (found.bands[0].rows, found.bands[0].cols))
    same = (rows == cols) | torch.eye(N, dtype=torch.bool)  # a query sees itself
    assert bool((w[~same] == 0).all()) and 0 < same.sum() < N * N


def test_every_round_has_a_band():
    _, found = shown("lsh", rounds=4, buckets=4)
    assert len(found.bands) == 4 and not found.stacked
    assert len({band.cols for band in found.bands}) > 1


def test_clusters_are_those_of_keys():
    att = engine.attend(made(causal=False), "kmeans", clusters=4)
    found, (view,) = overlay(att, 0), att.views
    assert found is not None and found.kind == "clusters" and found.ordered
    assert found.bands[0].cols == tuple(view.labels[0].tolist())


def test_segments_are_boxes_and_without_integration_hold_all():
    w, found = shown("segmented", segment=10)
    assert found.edges == ((10, 20, 30, 40),)
    inside = torch.zeros(N, N, dtype=torch.bool)
    for r0, r1, c0, c1 in found.boxes:
        inside[r0:r1, c0:c1] = True
    assert bool((w[~inside] == 0).all()) and found.boxes[-1] == (40, 48, 40, 48)


def test_fewer_queries_than_keys_stand_at_the_end():
    _, found = shown("segmented", made(n=20), segment=10)
    assert found.boxes == (
        (0, 0, 0, 10), (0, 0, 10, 20), (0, 2, 20, 30), (2, 12, 30, 40), (12, 20, 40, 48),
    )  # fmt: skip


def test_memory_is_what_lies_before_a_segment_and_is_read():
    w, found = shown("transformer_xl", segment=12, memory=12)
    assert found.kind == "memory" and found.edges == ((12, 24, 36),)
    assert found.boxes == ((12, 24, 0, 12), (24, 36, 12, 24), (36, 48, 24, 36))
    for r0, r1, c0, c1 in found.boxes:
        assert bool((w[r0:r1, c0:c1] > 0).all()) and bool((w[r0:r1, :c0] == 0).all())


def test_blocks_have_borders_and_paths_a_band_of_rows():
    _, found = shown("moba", block=16)
    assert found == Overlay("blocks", edges=((16, 32),))
    _, found = shown("routing", paths=3)
    assert found.kind == "paths" and not found.ordered
    assert len(found.bands[0].rows) == N and not found.bands[0].cols
    assert len(found.names) == 3


def test_routes_are_as_wide_as_their_shares():
    shares = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    first, second, none = mixture(shares)
    assert [first.count(i) for i in range(3)] == [12, 6, 6] and list(first) == sorted(first)
    assert set(second) == {1} and set(none) == {-1}


def test_levels_nest():
    _, found = shown("hierarchical")
    assert found.kind == "levels" and found.stacked and len(found.edges) == len(found.bands)
    for coarse, fine in zip(found.edges, found.edges[1:], strict=False):
        assert set(coarse) <= set(fine)
    for edges, band in zip(found.edges, found.bands, strict=True):
        assert tuple(i for i in range(1, N) if band.cols[i] != band.cols[i - 1]) == edges


@pytest.mark.parametrize("key", MECHANISMS)
def test_every_mechanism_says_what_it_has(key):
    qkv = made(causal=MECHANISMS[key].causal_ok)
    found = overlay(engine.attend(qkv, key), 0)
    told = found and (found.bands or found.edges or found.curve or found.product)
    assert found is None or told
    for band in found.bands if found else ():
        assert len(band.rows) in (0, N) and len(band.cols) in (0, N)


def test_long_texts_keep_borders_only():
    qkv = engine.QKV(*torch.randn(3, 1, 4100, 4).unbind(0), causal=True)
    found = overlay(engine.attend(qkv, "lsh", rounds=1), 0)
    assert found is not None and not found.bands
