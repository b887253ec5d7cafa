"""A talk made ready: its scenes show what the engine computes, and what can't be is said."""

import base64
import json

import numpy as np
import pytest
import torch

import engine
from engine.dilution import opening
from engine.runtime.paths import TINY
from engine.spec import talk as talks
from engine.spec.picture import digest
from engine.spec.talk import Scene, Step, Talk
from engine.talks import deck as decks

STATE = "text=Quill+kept+a+lamp.+Then+Quill&layer=1&head=2&query=6"
NARROW = "mechanism=window&m.window=2&m.sinks=0"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    scenes = (
        Scene(
            "explore",
            STATE,
            steps=(Step("mechanism=window&m.window=2&m.sinks=0", say="Now: {said}"),),
        ),
        Scene("compare", STATE + "&with=window"),
        Scene("explore", "mechanism=nothing"),
        Scene("explore", "file=" + digest("a long text"), picture="text"),
        Scene("explore", "model=/nowhere/at/all", title="<b>bold</b>"),
        Scene("explore", STATE, picture="buckets_order"),
        Scene("dilution", "lab=theory&lab-gap=abc"),
        Scene("foundations", "part=cues"),
    )
    talk = Talk("A talk", scenes=scenes, texts={digest("a long text"): "a long text"})
    shares: list[float] = []
    found = decks.deck(talk, "en", tmp_path_factory.mktemp("kept"), on_beat=shares.append)
    assert shares[-1] == 1.0
    return found


def unpacked(value, pool):
    if isinstance(value, dict):
        if set(value) == {"$"}:
            return pool[value["$"]]
        return {key: unpacked(one, pool) for key, one in value.items()}
    return [unpacked(one, pool) for one in value] if isinstance(value, list) else value


def panels(made, scene, beat=0, theme="light"):
    return unpacked(made["scenes"][scene]["beats"][beat]["panels"][theme], made["pool"])


def test_text_and_map_hold_the_weights_of_the_model(made):
    trace = engine.models.load(TINY).read("Quill kept a lamp. Then Quill")
    att = engine.attend(trace.layer(1), "softmax")
    text, plot = panels(made, 0)
    row = att.weights(torch.tensor([6]))[2, 0]
    assert text["weights"] == pytest.approx(row.tolist(), abs=1e-4)
    assert text["chosen"] == 6 and text["seen"] == [i <= 6 for i in range(len(text["tokens"]))]
    z = plot["figure"]["data"][0]["z"]
    cells = np.frombuffer(base64.b64decode(z["bdata"]), z["dtype"])
    whole = att.weights(torch.arange(att.frame.n))[2]
    assert cells.reshape(whole.shape) == pytest.approx(whole.numpy(), abs=1e-6)


def test_a_step_shows_the_state_that_it_leads_to(made):
    weights = panels(made, 0, 1)[0]["weights"]
    assert sum(w > 0 for w in weights) == 2
    assert made["scenes"][0]["beats"][1]["say"].startswith("Now: “")
    assert "m.window=2" in made["scenes"][0]["beats"][1]["link"]


def test_maps_side_by_side_have_one_scale(made):
    tops = {panel["figure"]["data"][0]["zmax"] for panel in panels(made, 1)}
    assert len(panels(made, 1)) == 2 and len(tops) == 1


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        (2, "mechanism can't be 'nothing'"),
        (4, "/nowhere/at/all"),
        (5, "there is no picture 'buckets_order' here"),
        (6, "lab-gap must lie between 0 and 16"),
    ],
)
def test_what_cant_be_shown_is_said_in_its_place(made, scene, words):
    (beat,) = made["scenes"][scene]["beats"]
    assert words in beat["trouble"] and not beat["panels"]


def test_the_rest_plays(made):
    assert panels(made, 3)[0]["kind"] == "text"
    assert panels(made, 7) == [{"kind": "page"}]
    assert made["scenes"][4]["title"] == "<b>bold</b>"  # as it is: whoever shows it sets text


def test_dark_differs_in_colours_alone(made):
    light, dark = (panels(made, 0, theme=theme)[1]["figure"] for theme in ("light", "dark"))
    assert light["data"][0]["z"] == dark["data"][0]["z"]
    assert light["data"][0]["colorscale"] != dark["data"][0]["colorscale"]


def test_a_deck_is_kept_and_found_again(made, tmp_path):
    path = tmp_path / "talks" / "one.json.gz"
    assert decks.packed(path) is None
    decks.pack(made, path)
    assert decks.packed(path) == json.loads(json.dumps(made))
    path.write_bytes(path.read_bytes()[:-9])
    assert decks.packed(path) is None


def test_a_deck_is_named_by_all_that_decides_it():
    talk = Talk("A", scenes=(Scene("home"),))
    other = Talk("A", scenes=(Scene("home", notes="more"),))
    named = {decks.digest(one, tag) for one in (talk, other) for tag in ("en", "zh")}
    assert len(named) == 4 and decks.digest(talk, "en") in named


@pytest.mark.parametrize("name", list(talks.bundled()))
@pytest.mark.parametrize("language", ["en", "zh"])
def test_talks_that_come_along_are_packed(name, language):
    """`python -m engine talk pack NAME --beside` makes them anew, also where pictures change."""
    made = decks.packed(decks.beside(talks.named(name), language))
    assert made is not None and made["of"] == decks.of(talks.bundled()[name], language)
    assert not any("trouble" in beat for scene in made["scenes"] for beat in scene["beats"])
    assert decks.beside(talks.named(name), language).stat().st_size < 400_000


def test_what_is_refused_is_said_in_chinese(tmp_path):
    talk = Talk(scenes=(Scene("explore", "mechanism=nothing"),))
    (beat,) = decks.deck(talk, "zh", tmp_path)["scenes"][0]["beats"]
    assert beat["trouble"].startswith("mechanism")
    assert "can't" not in beat["trouble"]


@pytest.mark.parametrize(
    ("state", "count"), [("lab=noise&lab-gap=6", 2), ("lab=trained&zoo-model=window", 1)]
)
def test_noise_and_trained_models_are_scenes(tmp_path, state, count):
    """As the lab shows them: what was measured, beside the closed form; every model's loss."""
    talk = Talk(scenes=(Scene("dilution", state),))
    made = decks.deck(talk, "en", tmp_path)
    (beat,) = made["scenes"][0]["beats"]
    assert "trouble" not in beat and beat["say"]
    figures = [one["figure"] for one in panels(made, 0)]
    assert len(figures) == count
    if count == 2:
        found = opening.kept_noise(6.0)
        z = figures[0]["data"][0]["z"]
        cells = np.frombuffer(base64.b64decode(z["bdata"]), z["dtype"])
        assert cells.reshape(found.mass.shape) == pytest.approx(found.mass)
    else:
        names = {trace.get("name") for trace in figures[0]["data"]}
        assert any(name and "Window" in name for name in names)
