"""A talk made ready: every beat drawn, in both themes, as one object that a browser plays.

Playing computes nothing and asks nobody. Numbers that both themes, or several beats, share are
kept once, in a pool.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from engine.contract import Id, Refusal
from engine.contract.wording import worded
from engine.figures.base.theme import DARK, LIGHT
from engine.models import ModelError
from engine.runtime.paths import LOCALES, ROOT
from engine.spec.fields import LANGUAGES
from engine.spec.talk import Beat, Fault, Scene, Talk, said
from engine.talks import pictures
from engine.talks.attended import Studio
from engine.text.locale import locale, speaker

Deck = dict[str, Any]
FORM = 1
"""Of what is kept: another number, and it is made anew."""
POOLED = 200
"""Characters from which numbers are kept in the pool."""
MOST_PANELS = 4
OWN = "{said}"
"""In a scene's words: what the page itself says of the picture, with its numbers."""


def deck(
    talk: Talk,
    language: str,
    kept: Path,
    faults: list[Fault] | None = None,
    on_beat: Callable[[float], None] | None = None,
) -> Deck:
    """The talk with all that its scenes show (`Deck` of data.d.ts). What can't be shown is said in
    its place, and the rest plays.

    Args:
        kept: where fits and sweeps are kept. faults: of the reading, said with it. on_beat: called
            with the share done; may raise to stop.
    """
    t, pool = speaker(language), Pool()
    studio = Studio(talk.texts, kept)
    total = sum(1 + len(scene.steps) for scene in talk.scenes)
    scenes, done = [], 0
    for scene in talk.scenes:
        beats = []
        for beat in scene.beats(language):
            beats.append(_beat(scene, beat, studio, language, pool, t))
            done += 1
            if on_beat is not None:
                on_beat(done / max(total, 1))
        scenes.append(
            {
                "title": said(scene.title, language),
                "notes": said(scene.notes, language),
                "minutes": scene.minutes,
                "question": said(scene.question, language),
                "page": t(f"nav.{scene.page}"),
                "beats": beats,
            }
        )
    return {
        "digest": digest(talk, language),
        "of": of(talk, language),
        "title": said(talk.title, language),
        "about": said(talk.about, language),
        "language": language,
        "faults": [_told(fault, language) for fault in faults or ()],
        "scenes": scenes,
        "pool": pool.kept,
    }


class Pool:
    """Long parts of what is drawn, each once; in their places stands {"$": number}."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self._places: dict[str, int] = {}

    def share(self, value: Any) -> Any:
        """The same, with what is long in the pool."""
        if isinstance(value, dict):
            if "bdata" in value:
                return self._put(value)
            return {key: self.share(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            if len(value) > POOLED // 8 and len(found := json.dumps(value)) > POOLED:
                return self._put(value, found)
            return [self.share(one) for one in value]
        if isinstance(value, str) and len(value) > POOLED:
            return self._put(value)
        return value

    def _put(self, value: Any, spelt: str = "") -> dict[str, int]:
        key = hashlib.sha256((spelt or json.dumps(value)).encode()).hexdigest()
        if key not in self._places:
            self._places[key] = len(self.kept)
            self.kept.append(value)
        return {"$": self._places[key]}


def _beat(
    scene: Scene, beat: Beat, studio: Studio, language: str, pool: Pool, t: Callable[..., str]
) -> dict[str, Any]:
    query = beat.query if "lang" in beat.query else beat.query | {"lang": language}
    made: dict[str, Any] = {"say": beat.say, "link": f"{scene.page}?{urlencode(query)}"}
    try:
        drawn = {
            theme.name: pictures.draw(scene.page, beat, studio, theme, t)
            for theme in (LIGHT, DARK)
        }
    except (Refusal, ModelError) as error:
        return made | {"panels": {}, "trouble": spoken(error, language), "source": ""}
    own = drawn["light"].said
    made["say"] = made["say"].replace(OWN, own) if made["say"] else own
    made["source"] = drawn["light"].source
    made["panels"] = {name: pool.share(one.panels[:MOST_PANELS]) for name, one in drawn.items()}
    if made["panels"]["light"] == made["panels"]["dark"]:
        made["panels"] = {"light": made["panels"]["light"]}
    return made


def spoken(error: BaseException, language: str) -> str:
    """What was refused, in a language."""
    if not isinstance(error, Refusal) or language == LANGUAGES[0]:
        return str(error)
    facts = {
        key: locale(language)[fact.words] if isinstance(fact, Id)
        else spoken(fact, language) if isinstance(fact, Refusal) else fact
        for key, fact in error.facts.items()
    }  # fmt: skip
    template = locale(f"refusals-{language}").get(error.template, error.template)
    return worded(template, language, facts)


def _told(fault: Fault, language: str) -> str:
    why = spoken(fault.why, language)
    t = speaker(language)
    return t("talk.fault", scene=fault.scene, reason=why) if fault.scene else why


# -- kept ----------------------------------------------------------------------------------------


def of(talk: Talk, language: str) -> str:
    """What a deck is of: the talk and the language, whatever it is drawn with."""
    said = f"{FORM} {language} {talk.to_json()}"
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def beside(path: Path, language: str) -> Path:
    """The deck that is kept beside a talk's file."""
    return path.with_name(f"{path.stem}.{language}.json.gz")


def digest(talk: Talk, language: str) -> str:
    """What names a deck: the talk, the language, and all code and words that it is drawn with."""
    return hashlib.sha256(f"{of(talk, language)} {_code()}".encode()).hexdigest()[:24]


@cache
def _code() -> str:
    """Changes with the engine and its words: what is kept is never drawn by an older one."""
    found = hashlib.sha256()
    for path in sorted([*(ROOT / "engine").rglob("*.py"), *LOCALES.glob("*.json")]):
        found.update(path.read_bytes())
    return found.hexdigest()


def place(talk: Talk, language: str, kept: Path) -> Path:
    """Where a talk's deck is kept."""
    return kept / "talks" / f"{digest(talk, language)}.json.gz"


def packed(path: Path) -> Deck | None:
    """The deck in a file; None if it is not there or not whole."""
    try:
        return json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, ValueError, EOFError):
        return None


def pack(made: Mapping[str, Any], path: Path) -> None:
    """Keep a deck.

    Raises:
        OSError: the disk takes no more, …
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = gzip.compress(
        json.dumps(made, ensure_ascii=False, allow_nan=False).encode(), 6, mtime=0
    )
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)
