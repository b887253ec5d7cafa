"""A talk's file: it comes back as it was, and what is wrong in it is said, the rest kept."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from engine.contract import Refusal
from engine.spec import talk as talks
from engine.spec.talk import Scene, Step, Talk, changed, queried, read, spelt

words = some.text(max_size=20)
either = words | some.fixed_dictionaries({"en": words, "zh": words})
names = some.from_regex(r"[a-z0-9_]{1,8}", fullmatch=True)
steps = some.builds(
    Step, change=either, picture=names, frame=some.none() | some.integers(0, 9), say=either
)
scenes = some.builds(
    Scene, page=some.sampled_from(talks.PAGES), state=either, picture=names | some.just(""),
    frame=some.none() | some.integers(0, 9), title=either, say=either, notes=either,
    minutes=some.none() | some.integers(1, 60), question=either,
    steps=some.lists(steps, max_size=3).map(tuple),
)  # fmt: skip


def file(**own):
    return json.dumps({"format": talks.FORMAT, "version": talks.VERSION, "scenes": []} | own)


@settings(max_examples=40)
@given(
    some.builds(Talk, title=either, about=either, scenes=some.lists(scenes, max_size=4).map(tuple))
)
def test_a_talk_comes_back_from_its_file(made):
    assert read(made.to_json()) == (made, [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"scenes": [NaN]}', "not JSON"),
        ("[]", "no talk"),
        ('{"format": "slides"}', "no talk"),
        (file(version=talks.VERSION + 1), "newer version"),
        (file(version="2"), "version"),
        (file(scenes={}), "no list of scenes"),
        (file(script="alert(1)"), "script"),
        (file(title=3), "title"),
    ],
)
def test_what_is_no_talk_is_refused_in_a_sentence(text, words):
    with pytest.raises(Refusal, match=words):
        read(text)


def test_a_scene_that_is_wrong_is_left_out_and_the_rest_stays():
    good = {"page": "explore", "title": "<img src=x onerror=alert(1)>"}
    wrong = [{"page": "elsewhere"}, 7, {"page": "home", "steps": [{"frame": -1}]}, {}]
    made, faults = read(file(scenes=[good, *wrong, good]))
    assert [scene.title for scene in made.scenes] == [good["title"]] * 2
    assert [fault.scene for fault in faults] == [2, 3, 4, 5]


def test_of_thousands_of_scenes_the_first_are_read():
    made, faults = read(file(scenes=[{"page": "home"}] * 5000))
    assert len(made.scenes) == talks.MOST_SCENES
    assert "5,000" in str(faults[0].why)


def test_each_step_changes_what_the_one_before_left():
    scene = Scene(
        "explore", "mechanism=lsh&m.rounds=1&hide=0", picture="map", say="first",
        steps=(Step("m.rounds=4"), Step("hide=&m.rounds=8", picture="row", say="last")),
    )  # fmt: skip
    beats = list(scene.beats("en"))
    assert [spelt(beat.query) for beat in beats] == [
        "mechanism=lsh&m.rounds=1&hide=0", "mechanism=lsh&m.rounds=4&hide=0",
        "mechanism=lsh&m.rounds=8",
    ]  # fmt: skip
    assert [(beat.picture, beat.say) for beat in beats] == [
        ("map", "first"), ("map", "first"), ("row", "last")
    ]  # fmt: skip


@given(some.dictionaries(names, some.text(min_size=1, max_size=9), max_size=5))
def test_a_state_is_spelt_and_read_back(query):
    assert queried(spelt(query)) == query
    assert changed({}, spelt(query)) == query


def test_words_of_one_language_stand_in_for_the_other():
    assert talks.said({"zh": "你好"}, "en") == "你好"
    assert talks.said("both", "zh") == "both"


@pytest.mark.parametrize("name", list(talks.bundled()))
def test_the_talks_that_come_along_are_whole(name):
    """Both languages say all, every state can be used, and a talk is a story with notes."""
    path = talks.TALKS / f"{name}.json"
    made, faults = read(path.read_text("utf-8"))
    assert not faults
    assert path.read_text("utf-8") == made.to_json() + "\n"
    for scene in made.scenes:
        for language in ("en", "zh"):
            assert not talks.problems(scene, language, made.texts)
        for said in (scene.title, scene.notes, scene.say, scene.question):
            assert not said or set(said) == {"en", "zh"}
        assert scene.title and scene.notes and scene.minutes
    assert any(scene.question for scene in made.scenes)
    assert any(scene.steps for scene in made.scenes)
    assert all(a.title != b.title for a, b in pairwise(made.scenes))


def test_a_state_that_cant_be_used_is_told():
    scene = Scene("explore", "mechanism=nothing", steps=(Step("mechanism=lsh&m.rounds=-3"),))
    said = [str(why) for why in talks.problems(scene, "en", {})]
    assert said == ["mechanism can't be 'nothing'", "m.rounds can't be '-3'"]
    gone = Scene("explore", "file=0123456789abcdef")
    assert "not in the talk" in str(talks.problems(gone, "en", {})[0])
    assert not talks.problems(gone, "en", {"0123456789abcdef": "here"})
