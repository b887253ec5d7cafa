"""A talk: scenes of the app's pages in an order, kept in a file (JSON) that any copy of it opens.

A scene is a page's state, as its URL says it, with a title, a sentence and notes. It may have a
question that is asked before the picture is shown, and steps: changes to the state, each on top of
those before. What the file may hold is said in `talk.schema.json`, beside this module.

Words are a string, or one for each language; so is a state, as texts have languages, too. Nothing
in a file is ever run or read as HTML.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from engine.contract import Refusal
from engine.runtime.paths import ASSETS
from engine.spec import links

FORMAT, VERSION = "attention-explorer-talk", 1
PAGES = ("home", "explore", "compare", "dilution", "foundations")
OF_A_PICTURE = ("explore", "compare")
"""Pages whose state is a picture's spec."""
MOST_SCENES = 200
MOST_BYTES = 8_000_000
SCHEMA = Path(__file__).with_suffix(".schema.json")
TALKS = ASSETS / "talks"
"""Those that come with the project."""

Words = str | Mapping[str, str]
"""One string, or one for each language."""


def said(words: Words, language: str) -> str:
    """Words in a language, else in whichever there is."""
    if isinstance(words, str):
        return words
    return words.get(language) or next(iter(words.values()), "")


@dataclass(frozen=True)
class Step:
    """One change.

    Attributes:
        change: keys of the state and new values, spelt as a state; an empty one takes a key away.
        picture, frame: as of a Scene; as before if "" and None. say: as of a Scene.
    """

    change: Words = ""
    picture: str = ""
    frame: int | None = None
    say: Words = ""


@dataclass(frozen=True)
class Scene:
    """One picture of a page.

    Attributes:
        page: its name. state: what follows the ? of its URL.
        picture: which of its pictures, its main one if "". frame: of one that moves, from 0; the
            last if None.
        title: large, above. say: one or two sentences under the picture, those of the page itself
            where it says {said}, or nothing.
        notes: for the speaker. minutes: that it should take; None = not said.
        question: asked before anything is shown. steps: changes, in their order.
    """

    page: str
    state: Words = ""
    picture: str = ""
    frame: int | None = None
    title: Words = ""
    say: Words = ""
    notes: Words = ""
    minutes: float | None = None
    question: Words = ""
    steps: tuple[Step, ...] = ()

    def query(self, language: str) -> dict[str, str]:
        """The state as keys and values."""
        return queried(said(self.state, language))

    def beats(self, language: str) -> Iterator[Beat]:
        """The scene as it is first, and after each step."""
        query = self.query(language)
        beat = Beat(query, self.picture, self.frame, said(self.say, language))
        yield beat
        for step in self.steps:
            query = changed(query, said(step.change, language))
            frame = beat.frame if step.frame is None else step.frame
            say = said(step.say, language) or beat.say
            beat = Beat(query, step.picture or beat.picture, frame, say)
            yield beat


@dataclass(frozen=True)
class Beat:
    """What stands on the screen until the next key; attributes as of a Scene."""

    query: dict[str, str]
    picture: str
    frame: int | None
    say: str


@dataclass(frozen=True)
class Talk:
    """Scenes in their order.

    Attributes:
        about: one or two sentences. texts: long ones that states name by their digests.
    """

    title: Words = ""
    about: Words = ""
    scenes: tuple[Scene, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def minutes(self) -> float:
        """That all scenes should take, as far as they say."""
        return sum(scene.minutes or 0 for scene in self.scenes)

    def to_json(self) -> str:
        """The file."""
        plain = {"format": FORMAT, "version": VERSION, **_plain(self)}
        return json.dumps(
            plain | {"scenes": plain.get("scenes", [])}, ensure_ascii=False, indent=1
        )


def _plain(made: Talk | Scene | Step) -> dict[str, Any]:
    """What is said of one, defaults left out."""
    found = {}
    for one in fields(made):
        value = getattr(made, one.name)
        if value in ("", None, (), {}):
            continue
        if isinstance(value, tuple):
            value = [_plain(part) for part in value]
        found[one.name] = dict(value) if isinstance(value, Mapping) else value
    return found


@dataclass(frozen=True)
class Fault:
    """What could not be used. scene: its number, from 1; 0 of the talk as a whole."""

    scene: int
    why: ValueError


# -- states --------------------------------------------------------------------------------------


def queried(state: str) -> dict[str, str]:
    """A state's keys and values; of a key that comes twice, the last."""
    return dict(parse_qsl(state.removeprefix("?"), keep_blank_values=True, max_num_fields=200))


def spelt(query: Mapping[str, str]) -> str:
    """Keys and values as a state."""
    return urlencode(query)


def changed(query: Mapping[str, str], change: str) -> dict[str, str]:
    """Keys and values with a change made."""
    return {key: text for key, text in (dict(query) | queried(change)).items() if text}


# -- reading -------------------------------------------------------------------------------------


def read(text: str) -> tuple[Talk, list[Fault]]:
    """The talk that a file holds, and what in it could not be used: that scene is left out, and
    the rest stays.

    Raises:
        Refusal: the file is no talk, or one of a newer version.
    """
    if len(text) > MOST_BYTES:
        raise Refusal("a talk has at most {most} MB", most=MOST_BYTES // 10**6)
    try:
        plain = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refusal("the file is not JSON, so it can't be a talk") from error
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise Refusal('the file is no talk: a talk says "format": "{format}"', format=FORMAT)
    version = plain.get("version")
    if type(version) is int and version > VERSION:
        raise Refusal(
            "this talk was made by a newer version of the app (format {version}; this app reads "
            "up to {known})", version=version, known=VERSION,
        )  # fmt: skip
    scenes = plain.get("scenes")
    if not isinstance(scenes, list):
        raise Refusal("the talk has no list of scenes")
    if wrong := _wrong(plain | {"scenes": []}):
        raise wrong
    faults, kept = [], []
    if len(scenes) > MOST_SCENES:
        why = Refusal(
            "of the talk's scenes, {count:,} in all, the first {most} are read",
            count=len(scenes), most=MOST_SCENES,
        )  # fmt: skip
        faults.append(Fault(0, why))
    for number, scene in enumerate(scenes[:MOST_SCENES], 1):
        if wrong := _wrong(scene, "scene"):
            faults.append(Fault(number, wrong))
            continue
        steps = tuple(Step(**step) for step in scene.get("steps", ()))
        kept.append(Scene(**scene | {"steps": steps}))
    said = {key: plain[key] for key in ("title", "about", "texts") if key in plain}
    return Talk(**said, scenes=tuple(kept)), faults


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


@cache
def _validator(of: str) -> Any:
    from jsonschema import Draft202012Validator

    schema = json.loads(SCHEMA.read_text("utf-8"))
    if of:
        schema = {"$defs": schema["$defs"], "$ref": f"#/$defs/{of}"}
    return Draft202012Validator(schema)


def _wrong(plain: Any, of: str = "") -> Refusal | None:
    """The first thing that the schema has against a talk, or against a part of one."""
    error = next(iter(_validator(of).iter_errors(plain)), None)
    if error is None:
        return None
    while error.context:  # of the ways that there are, the one that came furthest
        error = max(error.context, key=lambda one: len(one.absolute_path))
    place = ".".join(map(str, error.absolute_path)) or of or "talk"
    message = error.message if len(error.message) <= 160 else error.message[:159] + "…"
    return Refusal("{place} can't be used: {message}", place=place, message=message)


def problems(scene: Scene, language: str, texts: Mapping[str, str]) -> list[ValueError]:
    """What the states of a scene say that can't be used, as far as can be told without drawing."""
    if scene.page not in OF_A_PICTURE:
        return []
    found: dict[str, ValueError] = {}
    for beat in scene.beats(language):
        spec, wrong = links.read(beat.query)
        for one in wrong:
            why = Refusal("{field} can't be {value!r}", field=one.field, value=one.value[:40])
            found.setdefault(str(why), why)
        if spec.source == "file" and spec.content not in texts:
            why = Refusal("the text of this scene is not in the talk")
            found.setdefault(str(why), why)
    return list(found.values())


def named(name: str) -> Path:
    """A talk's file: that of a talk of the project by its name, else the path itself."""
    own = TALKS / f"{name}.json"
    return own if name.isidentifier() and own.exists() and not Path(name).exists() else Path(name)


def bundled() -> dict[str, Talk]:
    """The talks that come with the project, by name, in the order in which they are offered."""
    made = {path.stem: read(path.read_text("utf-8"))[0] for path in TALKS.glob("*.json")}
    return {name: made[name] for name in sorted(made, key=lambda name: (_order(name), name))}


ORDER = ("dilution", "hashing", "levels", "routing", "remedies")


def _order(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)
