"""What the lab opens with is kept, is of what is there now, and is what is measured."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

import engine
from engine.dilution import growth, measuring, opening
from engine.dilution.opening import GAP, LENGTHS, NOISES, PASSAGES
from engine.dilution.sweep import measure
from engine.runtime.paths import TINY
from engine.sources import samples
from engine.spec.sweep import Lab

LANGUAGES = tuple(growth.NEEDLES)


@pytest.fixture(scope="module")
def tiny() -> engine.models.Model:
    return engine.models.load(TINY, device="cpu")


def same(found: Any, expected: Any) -> None:
    """Equal but for digits that were left out and what two machines differ in."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, float):
            assert found[name] == pytest.approx(value, rel=2e-3, abs=2e-4), name
        else:
            assert found[name] == value, name


def test_all_that_the_lab_opens_with_is_kept() -> None:
    """If this fails: python -m engine measure-lab"""
    tasks = Lab().plan().tasks
    assert all(opening.kept_records(task) for task in tasks)
    held = json.loads((opening.FOLDER / "sweep.json").read_text("utf-8"))["value"]
    assert held.keys() == {task.digest() for task in tasks}  # and nothing else
    assert opening.kept_noise(GAP) is not None
    for language in LANGUAGES:
        assert opening.kept_disturbed(TINY, language) is not None
        text = samples.text(samples.long(language)[0])
        assert opening.kept_grown(TINY, text, None) is not None
    assert sum(path.stat().st_size for path in opening.FOLDER.iterdir()) < 200_000


def test_the_sweep_is_what_is_measured() -> None:
    for task in Lab().plan().tasks:
        if (task.n, task.seed) != (256, 1):
            continue
        kept, made = opening.kept_records(task), measure(task)
        for found, expected in zip(kept, made, strict=True):
            timed = {"seconds"}
            same(
                {k: v for k, v in found.items() if k not in timed},
                {k: v for k, v in expected.items() if k not in timed},
            )


def test_noise_is_what_is_measured() -> None:
    kept = opening.kept_noise(GAP)
    mass, first = measuring.against_noise(GAP, LENGTHS[:2], NOISES[::2])
    assert kept is not None and kept.mass.shape == (len(NOISES), len(LENGTHS))
    assert kept.mass[::2, :2] == pytest.approx(mass, abs=1e-4)
    assert kept.first[::2, :2] == pytest.approx(first, abs=4 / measuring.NOISE_ROWS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_what_the_model_makes_of_them(tiny, language) -> None:
    story, filler = samples.text(samples.first(language)), samples.long(language)[0]
    kept = opening.kept_disturbed(TINY, language)
    assert kept is not None and (kept.model, kept.trained) == ("tiny", tiny.trained_length)
    needle = growth.NEEDLES[language]
    texts = growth.disturb(tiny, story, samples.text(filler), needle, PASSAGES[:2], opening.DRAWS)
    made = [one for some in texts for one in some]
    assert {one.passages for one in kept.found} == set(PASSAGES)
    for found, expected in zip(kept.found, made, strict=False):
        same(asdict(found), asdict(expected))
    text = samples.text(filler)
    grown = opening.kept_grown(TINY, text, None)
    assert grown is not None
    made = [g for some in growth.grow(tiny, text, growth.lengths(tiny, text)[:2]) for g in some]
    assert len(made) == 2 * tiny.layers * tiny.heads
    for found, expected in zip(grown.found, made, strict=False):
        same(asdict(found), asdict(expected))
    assert (
        max(g.n for g in grown.found)
        > kept.trained
        > max(g.n for g in grown.within(lambda g: 2 * g.n))
    )


def test_what_was_made_of_something_else_is_not_used(tmp_path) -> None:
    assert opening.kept_noise(GAP + 1) is None
    assert opening.kept_disturbed(tmp_path, "en") is None
    text = samples.text(samples.long("en")[0])
    assert opening.kept_grown(TINY, text + " ", None) is None
    assert opening.kept_grown(TINY, text, growth.NEEDLES["en"]) is None
    (task,) = Lab(mechanisms=(("softmax", ()),), lengths=(128,), seeds=1).plan().tasks
    assert opening.kept_records(task) == []
    (task,) = (
        Lab(mechanisms=(("softmax", ()),), lengths=(256,), seeds=1, match="entropy").plan().tasks
    )
    assert opening.kept_records(task) == []


def test_kept_records_are_not_measured_again(tmp_path, monkeypatch) -> None:
    plan = Lab().plan()
    assert opening.done(plan, tmp_path).keys() == set(plan.tasks)
    opening.records(plan.tasks[0], None, tmp_path)
    assert not list(tmp_path.iterdir())
    (task,) = Lab(mechanisms=(("softmax", ()),), lengths=(32,), seeds=1).plan().tasks
    made = opening.records(task, None, tmp_path)
    assert len(made) == 4 and list(tmp_path.glob("*.json"))
    longer = Lab(mechanisms=(("softmax", ()),), lengths=(32, 64, 256), seeds=1).plan()
    assert {t.n for t in opening.done(longer, tmp_path)} == {32, 256}  # of the folder, and kept


def test_what_is_written_is_read_again(tiny, tmp_path, monkeypatch) -> None:
    for name, value in (
        ("FOLDER", tmp_path), ("LENGTHS", (16, 32)), ("NOISES", (0.5,)), ("PASSAGES", (0,)),
        ("DRAWS", 1), ("LONGEST", 128),
    ):  # fmt: skip
        monkeypatch.setattr(opening, name, value)
    plan = Lab(mechanisms=(("softmax", ()), ("window", ())), lengths=(32,), seeds=1).plan()
    said: list[str] = []
    opening.write(tmp_path, plan, tiny, TINY, said.append)
    assert {path.stem for path in tmp_path.iterdir()} == set(said)
    for task in plan.tasks:
        kept, made = opening.kept_records(task), measure(task)
        same(
            {k: [r[k] for r in kept] for k in ("mechanism", "head", "params")},
            {k: [r[k] for r in made] for k in ("mechanism", "head", "params")},
        )
    found = opening.kept_noise(GAP)
    assert found is not None and found.mass.shape == (1, 2)
    text = samples.text(samples.long("zh")[0])
    grown = opening.kept_grown(TINY, text, None)
    assert grown is not None and len(grown.found) == tiny.layers * tiny.heads
