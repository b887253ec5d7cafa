"""Where to look first, and mass by group, against plain sums."""

import pytest
import torch

import engine
from engine.contract.grid import Grid, squares, z_order
from engine.mechanisms.softmax import Softmax
from engine.structure import highlights
from tests.refusals import refused


@pytest.fixture
def att():
    qkv = engine.sources.planted(n=48, heads=3, dim=16, causal=True)
    tokens = tuple("abcdef"[i % 6] for i in range(48))
    return engine.attend(qkv.replace(tokens=tokens), "segmented", segment=16)


def test_sharpest_prefers_a_long_look_to_a_sink_and_a_neighbour():
    w = torch.zeros(2, 8, 8)
    w[0] = torch.eye(8)  # looks at itself
    w[1, :, 0] = 1.0  # a sink
    w[1, 6] = torch.tensor([0.2, 0, 0.8, 0, 0, 0, 0, 0])
    stats = engine.Attention.from_weights(w, causal=True).rows()
    assert highlights.sharpest(stats) == (1, 6)
    assert highlights.sharpest(stats, head=0)[0] == 0


def test_a_row_that_sees_little_is_not_sharp_for_it():
    w = torch.ones(32, 32).tril() / torch.arange(1, 33)[:, None]
    w[3, :4] = torch.tensor([0.2, 0.3, 0.25, 0.25])  # hardly above an even share
    w[30, :31], w[30, 5] = (1 - 0.09) / 30, 0.09
    stats = engine.Attention.from_weights(w[None], causal=True).rows()
    assert highlights.sharpest(stats) == (0, 30)


def best_layer(layers):
    return highlights.best_layer([Softmax().attend(qkv) for qkv in layers])


def test_the_best_layer_has_the_sharpest_head():
    flat = engine.sources.planted(n=64, heads=2, gap=0.0, causal=True)
    sharp = engine.sources.planted(n=64, heads=2, gap=12.0, causal=True)
    assert best_layer([flat, sharp, flat]) == 1


def no_sight(rows: torch.Tensor, cols: torch.Tensor) -> torch.Tensor:
    """Each query sees itself and the first key."""
    return (cols == rows[:, None]) | (cols == 0)


def against(rows: torch.Tensor, cols: torch.Tensor) -> torch.Tensor:
    """So strong a leaning to the query's own key that no score matters."""
    return 100.0 * (cols == rows[:, None]).float().expand(2, -1, -1)


@pytest.mark.parametrize(
    "changes",
    [
        {"mask": no_sight},
        {"key_mask": torch.arange(64) == 0},
        {"bias": against},
        {"softcap": 0.01},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_best_layer_is_judged_by_all_that_bears_on_its_scores(changes):
    """What would be sharp by its scores alone is not; sinks change no shares."""
    mild = engine.sources.planted(n=64, heads=2, gap=4.0, causal=True)
    sharp = engine.sources.planted(n=64, heads=2, gap=12.0, causal=True)
    assert best_layer([mild, sharp]) == 1
    assert best_layer([mild, sharp.replace(**changes)]) == 0


def test_look_is_what_the_row_says(att):
    stats, weights = att.rows(), att.weights()[1, 30]
    seen = highlights.look(weights, stats, att.frame, 1, 30)
    assert seen.key == int(weights.argmax()) and seen.weight == pytest.approx(float(weights.max()))
    assert seen.back == 30 - seen.key and seen.visible == 31
    assert seen.second_weight == pytest.approx(float(weights.sort().values[-2]))


def test_a_row_is_even_where_all_its_keys_weigh_the_same():
    att = engine.attend(engine.sources.identical(n=256, causal=True), "softmax")
    stats = att.rows()
    rows = [highlights.look(att.weights()[0, i], stats, att.frame, 0, i) for i in (0, 1, 255)]
    assert [row.even for row in rows] == [False, True, True]  # one key is no choice
    assert rows[2].weight == pytest.approx(1 / 256)
    for lead, even in ((1.005, True), (1.05, False)):
        row = att.weights()[0, 255] * 0.5  # of a mechanism that gives half of its weight to none
        row[7] *= lead
        assert highlights.look(row, stats, att.frame, 0, 255).even == even


@pytest.mark.parametrize("kind, groups", [("blocks", 7), ("segments", 3), ("8", 6)])
@pytest.mark.parametrize("head", [0, 2])
def test_mass_by_group_is_the_sum_over_its_keys(att, kind, groups, head):
    assert kind in highlights.groupings(att)
    label = highlights.labels(att, kind, 7)
    mass, sampled = highlights.group_mass(att, label)
    w = att.weights()[head]
    expected = torch.stack([
        torch.stack([w[label == a][:, label == b].sum(1).mean() for b in range(groups)])
        for a in range(groups)
    ])  # fmt: skip
    assert sampled == 48
    torch.testing.assert_close(mass[head], expected)
    names = highlights.group_names(att.frame.tokens, label)
    assert len(names) == groups and names[0].startswith("abc")


def test_long_texts_are_sampled(att, monkeypatch):
    monkeypatch.setattr(highlights, "LARGEST_SAMPLE", 3 * 48 * 12)
    label = highlights.labels(att, "blocks", 16)
    mass, sampled = highlights.group_mass(att, label)
    assert sampled == 12
    torch.testing.assert_close(mass.sum(2), torch.ones(len(mass), 3))


def test_too_many_groups_are_refused(att):
    with refused(match="too many"):
        highlights.group_mass(att, torch.arange(600))
    with refused(match="not by 'stanzas'"):
        highlights.labels(att, "stanzas", 4)
    assert highlights.smallest_block(16_384) == 32


@pytest.mark.parametrize("kind", ["buckets", "clusters"])
def test_buckets_and_clusters_group_any_mechanism(kind):
    qkv = engine.sources.planted(n=96, heads=2, dim=16, noise=4.0, needles=4, layout="topics")
    full, own = engine.attend(qkv, "softmax"), engine.attend(qkv, highlights.FOUND[kind])
    assert kind not in highlights.groupings(full)
    assert kind in highlights.groupings(full, qkv) and kind in highlights.groupings(own)
    found = highlights.grouping(full, kind, 16, 1, qkv)
    again = highlights.grouping(own, kind, 16, 1)
    assert torch.equal(found.keys, again.keys) and torch.equal(found.queries, again.queries)
    count = len(found.names)
    mass, _ = highlights.group_mass(full, found.keys, found.queries, count)
    w = full.weights()[1]
    for a in range(count):
        rows = w[found.queries == a]
        for b in range(count):
            mean = rows[:, found.keys == b].sum(1).mean() if len(rows) else 0.0
            assert float(mass[1, a, b]) == pytest.approx(float(mean), abs=1e-6)
    with refused(match=kind):
        highlights.grouping(full, kind, 16)


def test_units_group_queries_with_their_keys(att):
    found = highlights.grouping(att, "segments", 7)
    assert torch.equal(found.keys, found.queries) and len(found.names) == 3


def test_a_row_is_set_against_full_attention():
    """Two of three keys are read; they had 0.75, and 0.25 of what full attention gives is gone."""
    own, full = torch.tensor([0.5, 0.0, 0.5, 0.0]), torch.tensor([0.25, 0.25, 0.5, 0.0])
    assert highlights.against(own, full) == highlights.Against(
        looked=2, visible=3, held=0.75, lost=0.25, more=0.25, total=1.0
    )
    assert highlights.against(full, full) == highlights.Against(
        looked=3, visible=3, held=1.0, lost=0.0, more=0.0, total=1.0
    )


@pytest.mark.parametrize("kind, block, first, last", [
    ("2x2", 8, "(1–2,1–2)", "(5–6,7–8)"), ("4x4", 8, "(1–4,1–4)", "(5–6,5–8)"),
    ("blocks", 8, "(1–2,1–4)", "(5–6,5–8)"), ("blocks", 5, "(1,1)…(1,3)", "(5,8)…(6,8)"),
    ("blocks", 1, "(1,1)", "(6,8)"),
])  # fmt: skip
def test_groups_of_patches_are_called_by_their_rows_and_columns(kind, block, first, last):
    grid = Grid(6, 8, z_order(6, 8))
    tokens = tuple(f"({r + 1},{c + 1})" for r, c in grid.place.tolist())
    units = squares(grid.place)
    att = engine.Attention.from_weights(torch.eye(48)[None], tokens=tokens, units=units, grid=grid)
    names = highlights.grouping(att, kind, block).names
    assert (names[0], names[-1]) == (first, last)
    assert max(map(len, names)) <= 16 and len(set(names)) == len(names)


def test_a_group_with_what_stands_on_no_patch_is_called_by_its_first_and_last():
    place = torch.cat([torch.full((2, 2), -1), z_order(2, 2)])
    grid, tokens = Grid(2, 2, place), ("CLS", "REG", "(1,1)", "(1,2)", "(2,1)", "(2,2)")
    names = highlights.group_names(tokens, torch.tensor([0, 1, 1, 2, 2, 2]), grid)
    assert names == ["CLS", "REG…(1,1)", "(1,2)…(2,2)"]
