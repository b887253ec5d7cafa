"""How a sweep is spelt in a URL and on a command line."""

import shlex

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.dilution import measuring, noisy, theory
from engine.dilution.sweep import measure
from engine.spec import sweep
from engine.spec.spelling import doublings, from_flags, parse_choice, spell_choice
from engine.spec.sweep import Lab, parsed, read
from tests.refusals import refused

CHOICES = st.sampled_from(
    [
        ("softmax", ()),
        ("softmax", (("temperature", 0.5),)),
        ("window", (("window", 16), ("sinks", 0))),
        ("segmented", (("integrate", "pool"),)),
        ("ssmax", (("s", 0.25),)),
    ]
)
LABS = st.builds(
    Lab,
    mechanisms=st.lists(CHOICES, min_size=1, max_size=4, unique=True).map(tuple),
    lengths=st.lists(st.integers(1, 4096), min_size=1, max_size=4, unique=True).map(
        lambda found: tuple(sorted(found))
    ),
    source=st.just("planted"),
    source_params=st.sampled_from([(), (("gap", 4.0),), (("causal", True), ("needles", 2))]),
    seeds=st.integers(1, 5),
    match=st.sampled_from(sweep.MATCHES),
    match_at=st.sampled_from([0, 128]),
    rows=st.sampled_from([64, 1024]),
)


@given(LABS)
def test_a_sweep_round_trips(choice: Lab) -> None:
    query = choice.query_params()
    assert parsed(query) == choice
    assert read(query) == (choice, [])
    assert from_flags(shlex.split(choice.command())[4:]) == query


def test_the_default_says_nothing() -> None:
    assert Lab().query_params() == {} and read({}) == (Lab(), [])
    assert Lab().command() == "python -m engine sweep"


def test_doublings() -> None:
    assert doublings(256, 4096) == (256, 512, 1024, 2048, 4096)
    assert doublings(100, 350) == (100, 200)
    assert parsed({"lengths": "64-300"}).lengths == (64, 128, 256)


def test_spelling() -> None:
    choice = ("window", (("window", 16), ("sinks", 0)))
    turned = ("window", (("sinks", 0), ("window", 16)))  # as records of a sweep have them
    assert spell_choice(choice) == spell_choice(turned) == "window:window=16:sinks=0"
    assert parse_choice("window:window=16:sinks=0") == choice
    assert Lab(mechanisms=(("window", (("window", 64),)),)).mechanisms == (("window", ()),)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"of": "dreams"}, "no mechanism"),
        ({"of": "window:breadth=3"}, "no parameter"),
        ({"of": "window:window=-3"}, "at least 1"),
        ({"of": "softmax,softmax"}, "twice"),
        ({"lengths": "a,b"}, "numbers with commas"),
        ({"lengths": "0,8"}, "lie in"),
        ({"seeds": "0"}, "seeds"),
        ({"seeds": "many"}, "whole number"),
        ({"match": "luck"}, "match must be"),
        ({"source": "dreams"}, "source must be"),
        ({"s.gap": "-1"}, "at least 0"),
        ({"s.n": "9"}, "no parameter s.n"),
        ({"colour": "red"}, "no setting 'colour'"),
    ],
)
def test_refusals(query: dict[str, str], words: str) -> None:
    with refused(match=words):
        parsed(query)
    found, problems = read(query)
    assert found == Lab() and len(problems) == 1


def test_a_source_in_a_url_in_any_order() -> None:
    chosen = Lab(source="passage", source_params=(("sample", "river-town"), ("layer", 2)))
    for turned in (1, -1):
        query = dict(list(chosen.query_params().items())[::turned])
        assert read(query) == (chosen, [])
    found, (problem,) = read({"s.sample": "nowhere", "source": "passage"})
    assert found == Lab(source="passage") and problem.field == "s.sample"


def test_a_text_of_ones_own() -> None:
    text = "The lamp was lit and the boats came home. " * 12
    plan = Lab(source="passage", lengths=(32,), match="none").plan(text=text)
    assert plan.make is not None and plan.make(32, 0).n == 32
    for wrong in (Lab(), Lab(source="passage", source_params=(("sample", "river-town"),))):
        with refused(match="takes the source passage"):
            wrong.plan(text=text)


def test_a_plan_is_checked_as_a_whole() -> None:
    assert len(Lab(lengths=(32, 64), seeds=1).plan().tasks) == 2 * len(Lab().mechanisms)
    with refused(match="rise"):
        Lab(lengths=(64, 32)).plan()
    with refused(match="no needles"):
        Lab(source="identical", match="needle_mass")


def test_noise_takes_mass_and_then_rank() -> None:
    gap, lengths, noises = 6.0, (64, 512), (0.25, 1.0, 3.0)
    seen: list[float] = []
    mass, first = measuring.against_noise(gap, lengths, noises, progress=seen.append)
    expected = theory.needle_mass(*np.meshgrid(lengths, [gap]), np.array(noises)[:, None])
    assert mass[:2] == pytest.approx(expected[:2], rel=0.1)
    assert (np.diff(mass, axis=0) < 0).all() and (np.diff(mass, axis=1) < 0).all()
    assert first[0] == pytest.approx(1.0) and (first[2] < 1).all() and seen[-1] == 1.0


def test_rows_from_largest_to_smallest() -> None:
    rows = measuring.sorted_rows(
        [("softmax", ()), ("entmax", ())], "planted", (), (16, 64)
    ).weights
    assert [len(row["softmax", ()]) for row in rows] == [16, 64]
    for row in rows:
        for weights in row.values():
            assert sum(weights) == pytest.approx(1, abs=1e-5)
            assert weights == sorted(weights, reverse=True)
    assert rows[1]["entmax", ()][-1] == 0 < rows[1]["softmax", ()][-1]


def test_rows_are_set_as_a_sweep_sets_them() -> None:
    """Matched at the sweep's length, not at their own shortest."""
    chosen = [("softmax", ()), ("entmax", ()), ("window", (("window", 16), ("sinks", 0)))]
    at = {
        n: measuring.sorted_rows(chosen, "planted", (), (16, 64), "needle_mass", n).settings
        for n in (16, 64)
    }
    record = next(engine.sweep([("entmax", {})], [64], match="needle_mass"))
    assert at[64][chosen[1]][0].scale == pytest.approx(record["scale"])
    assert at[16][chosen[1]][0].scale != pytest.approx(record["scale"], rel=0.05)
    assert set(at[64]) == set(chosen)


def test_the_default_is_each_at_its_own_setting() -> None:
    """Unmatched, adaptive temperature and entmax keep what softmax loses."""
    assert Lab().match == "none" and all(task.match == "" for task in Lab().plan().tasks)
    of = (("softmax", ()), ("entmax", ()), ("adaptive_temperature", ()))
    plan = Lab(mechanisms=of, lengths=(512,), seeds=1).plan()
    kept = {task.mechanism: measure(task) for task in plan.tasks}
    mass = {key: sum(r["needle_mass"] for r in found) / 4 for key, found in kept.items()}
    assert mass["softmax"] == pytest.approx(0.325, abs=0.03)
    assert mass["adaptive_temperature"] > 0.99 and mass["entmax"] > 0.99
    matched = Lab(mechanisms=of, lengths=(256, 512), match="needle_mass", seeds=1).plan()
    entmax, adaptive = (measure(task)[0] for task in matched.tasks[-2:])
    assert (adaptive["matched"], adaptive["scale"]) == (False, 1)
    assert entmax["matched"] and entmax["scale"] == pytest.approx(0.27, abs=0.02)


def test_needles_drawn_beside_a_curve_are_what_the_curve_says() -> None:
    found = measuring.needles([256], 6.0, 2.0, 1, seeds=8)
    assert len(found) == 16
    for name in ("needle_mass", "participation", "max_weight", "output_error"):
        mean = sum(r[name] for r in found) / 16
        assert mean == pytest.approx(float(getattr(noisy, name)(256, 6.0, 2.0)), rel=0.15), name
