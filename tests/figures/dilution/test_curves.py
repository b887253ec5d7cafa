"""The lab's charts hold what was measured and what the closed forms say."""

import numpy as np
import pytest

from engine.dilution import noisy, theory
from engine.figures.base.theme import DARK, LIGHT
from engine.figures.dilution import curves
from engine.figures.dilution.curves import Curve
from engine.text.locale import speaker

t = speaker("en")


def record(mechanism: str, n: int, value: float | None, seed: int = 0, **params) -> dict:
    return {"mechanism": mechanism, "params": params, "n": n, "seed": seed, "needle_mass": value}


def test_a_line_is_the_mean_and_its_band_the_extremes() -> None:
    records = [
        record("softmax", 64, 0.2),
        record("softmax", 64, 0.4, 1),
        record("softmax", 32, 0.9),
    ]
    records.append(record("window", 32, None, window=8))
    names = {"softmax": "full", "window:window=8": "window"}
    full, window = curves.measured(records, names, "needle_mass")
    assert (full.n, full.low, full.high) == ([32, 64], [0.9, 0.2], [0.9, 0.4])
    assert full.y == pytest.approx([0.9, 0.3]) and window.n == []
    shape = curves.curves([full, window], metric="needle_mass", theme=LIGHT, t=t, limits=False)
    assert len(shape.data) == 6  # every mechanism has its traces, also before it has records
    assert list(shape.data[2].x) == [32, 64] and shape.data[2].name == "full"


def test_limits_are_those_of_even_and_single_rows() -> None:
    n = np.array(curves.between(4, 1024))
    for metric, even, one in (
        ("max_weight", 1 / n, 1), ("effective_tokens", n, 1), ("normalised_entropy", 1, 0),
    ):  # fmt: skip
        found = dict(curves.limit_lines(metric, 4, 1024))
        np.testing.assert_allclose(found["even"], np.broadcast_to(even, n.shape))
        np.testing.assert_allclose(found["one"], np.broadcast_to(one, n.shape), atol=1e-12)


def test_rows_are_thinned_out_on_a_logarithmic_axis() -> None:
    row = (np.arange(1, 5001, dtype=float) ** -1.0).tolist()
    row[-1] = 0.0
    shape = curves.rank_row({"full": row}, theme=LIGHT, t=t, longest=8192, least=1e-6)
    x, y = shape.data[0].x, shape.data[0].y
    assert len(x) <= 200 and x[0] == 1 and x[-1] == 5000 and y[-1] is None
    assert y[0] == 1.0 and Curve("a", [1], [1.0]).pen == 0


def test_an_even_row_of_a_causal_text() -> None:
    """The limits are the means over rows that see 1, 2, … n keys."""
    n = 200
    rows = np.arange(1, n + 1)
    for metric, each in (
        ("effective_tokens", rows), ("entropy", np.log(rows)), ("max_weight", 1 / rows),
    ):  # fmt: skip
        even = dict(curves.limit_lines(metric, 10, n, causal=True))["even"]
        assert even[-1] == pytest.approx(each.mean(), rel=1e-3)


def test_lengths_beyond_training_are_shaded() -> None:
    line = Curve("full", [256, 4096], [0.5, 0.1])
    how = {"metric": "needle_mass", "theme": LIGHT, "t": t}
    shaded = curves.curves([line], **how, trained=1024)
    (area,) = shaded.layout.shapes
    assert (area.x0, area.x1) == (1024, 4096)
    assert not curves.curves([line], **how, trained=8192).layout.shapes


def test_a_map_of_noise_writes_its_shares_where_they_can_be_read() -> None:
    values = np.array([[0.02, 0.5, 0.97], [0.3, 0.6, 1.0]])
    shape = curves.noise_map(values, (16, 64, 256), (0.5, 2.0), title="m", theme=DARK, t=t)
    cells, written = shape.data
    assert cells.type == "heatmap" and list(written.text) == [
        "2%",
        "50%",
        "97%",
        "30%",
        "60%",
        "100%",
    ]
    assert list(shape.layout.xaxis.ticktext) == ["16", "64", "256"]
    dark, bright = written.textfont.color[0], written.textfont.color[2]
    assert (dark, bright) == (
        "#ffffff",
        "#000000",
    )  # in the dark theme small shares are dark cells


def test_cells_in_which_a_form_does_not_hold_are_hatched_and_left_without_a_number() -> None:
    lengths, noises = (16, 4096), (0.5, 3.0)
    n, s = np.meshgrid(lengths, noises)
    holds = theory.leads(n, s)
    assert holds.tolist() == [[True, True], [False, False]]
    values = theory.needle_mass(n, 6.0, s)  # at 16 keys and noise 3 23 %, where rows have 55 %
    shape = curves.noise_map(values, lengths, noises, title="m", theme=LIGHT, t=t, holds=holds)
    cells, written, hatched = shape.data
    assert np.isnan(np.array(cells.z, float)).tolist() == (~holds).tolist()
    assert list(written.text) == ["96%", "8%"]
    x, y = np.array(hatched.x, float), np.array(hatched.y, float)
    assert np.nanmin(y) == 0.5 and np.nanmax(y) == 1.5  # the upper row: noise rises upwards
    assert (np.nanmin(x), np.nanmax(x)) == (-0.5, 1.5)
    assert shape.layout.yaxis.range[0] < shape.layout.yaxis.range[1]
    whole = curves.noise_map(values, lengths, noises, title="m", theme=LIGHT, t=t)
    assert len(whole.data) == 2


def test_hatching_stays_inside_its_cell() -> None:
    x, y = (np.array(line, float) for line in curves.hatching(np.array([[2, 5]])))
    assert np.nanmin(x) == 4.5 and np.nanmax(x) == 5.5
    assert np.nanmin(y) == 1.5 and np.nanmax(y) == 2.5


def test_a_row_stands_before_its_ghost() -> None:
    rows = {"full": [0.5, 0.25, 0.25, 0.0], "sparse": [1.0, 0.0, 0.0, 0.0]}
    ghosts = {"full": [0.75, 0.25], "sparse": [1.0, 0.0]}
    shape = curves.rank_row(rows, theme=LIGHT, t=t, longest=16, least=1e-6, ghosts=ghosts)
    assert [trace.name for trace in shape.data if trace.showlegend is None] == ["full", "sparse"]
    ghost = shape.data[2]
    assert list(ghost.y) == [0.75, 0.25] and ghost.opacity < 0.5
    assert ghost.line.color == shape.data[0].line.color
    assert shape.data[1].marker.size[0] > 0 == sum(shape.data[1].marker.size[1:])


def test_the_threshold_is_where_half_of_the_weight_and_the_first_rank_are() -> None:
    setting = curves.Setting(6.0, 2.0)
    rank, mass = curves.threshold(setting, 4096, 256, theme=LIGHT, t=t).data
    n, needed, first = np.array(mass.x), np.array(mass.y), np.array(rank.y)
    np.testing.assert_allclose(noisy.needle_mass(n, needed, 2.0), 0.5, atol=1e-5)
    np.testing.assert_allclose(theory.rank_kept(n, first, 2.0), 0.5, rtol=1e-6)
    assert (first < needed).all()


def test_a_limit_is_named_where_it_is_clear_of_the_lines() -> None:
    line = Curve("full", [256, 4096], [0.5, 0.1])
    for metric, sides in (
        ("needle_mass", ("left", "right")),
        ("effective_tokens", ("right",) * 2),
    ):
        shape = curves.curves([line], metric=metric, theme=LIGHT, t=t)
        assert tuple(a.xanchor for a in shape.layout.annotations) == sides


def test_a_line_that_lies_on_another_is_dashed_so_that_both_are_seen() -> None:
    n = (256, 512, 1024)
    below, on, off = (
        Curve("a", n, (1.0, 1.0, 0.998)),
        Curve("b", n, (1.0, None, 1.0), pen=1),
        Curve("c", n, (1.0, 0.5, 0.2), pen=2),
    )
    shape = curves.curves([below, on, off], metric="needle_mass", theme=LIGHT, t=t, limits=False)
    dashes = [shape.data[i].line.dash for i in (2, 5, 8)]
    assert dashes[1] not in (dashes[0], dashes[2]) and dashes[0] == dashes[2]
    assert not curves.covers(Curve("none", (), ()), below)
