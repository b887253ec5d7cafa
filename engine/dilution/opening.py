"""What the lab's parts open with, measured by `python -m engine measure-lab` and kept in
assets/lab, so that nobody waits for a first picture.

Each file says what it was made from; where that is not what is asked for, it is not used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from engine.dilution import growth, measuring
from engine.dilution.growth import Disturbed, Grown, Needle
from engine.dilution.sweep import Made, Plan, Record, Task, kept, measure, stored
from engine.models import Model
from engine.runtime.paths import ASSETS
from engine.sources import samples

FOLDER = ASSETS / "lab"
LENGTHS, NOISES, GAP = (16, 64, 256, 1024, 4096), (0.25, 0.5, 1.0, 1.5, 2.0, 3.0), 6.0
"""Of needles among noise."""
PASSAGES, DRAWS = (0, 1, 2, 3, 5, 8), 4
"""Inserted into a story: how many irrelevant passages, and how often they are drawn."""
LONGEST = 4096
"""Tokens to which a text grows."""
DIGITS = 6
"""That numbers are kept with."""

H = TypeVar("H", Grown, Disturbed)
Progress = Callable[[float], None] | None


@dataclass(frozen=True)
class Heads(Generic[H]):
    """All heads of a model, at each length of a text.

    Attributes:
        model: its name. trained: tokens that it was trained on, if that is known.
    """

    model: str
    trained: int | None
    found: list[H]

    def within(self, tokens: Callable[[H], float]) -> list[H]:
        """Those within the lengths that the model was trained on."""
        return [h for h in self.found if self.trained is None or tokens(h) <= self.trained]


@dataclass(frozen=True)
class Noise:
    """Needle mass and how often the needle is first, (noise length)."""

    mass: np.ndarray
    first: np.ndarray


def noise(gap: float, progress: Progress = None) -> Noise:
    """Needles among noise, measured."""
    return Noise(*measuring.against_noise(gap, LENGTHS, NOISES, progress=progress))


def disturbed(reader: Model, language: str, progress: Progress = None) -> Heads[Disturbed]:
    """The language's story with ever more passages of its long sample inserted."""
    story, filler = (samples.text(sample) for sample in _samples(language))
    texts = growth.disturb(
        reader, story, filler, growth.NEEDLES[language], PASSAGES, DRAWS, progress
    )
    return _of(reader, texts)


def grown(
    reader: Model, text: str, needle: Needle | None = None, progress: Progress = None
) -> Heads[Grown]:
    """A text as it grows to LONGEST tokens."""
    lengths = growth.lengths(reader, text, needle, LONGEST)
    return _of(reader, growth.grow(reader, text, lengths, needle, progress))


def _of(reader: Model, texts: Iterable[list[H]]) -> Heads[H]:
    found = [one for some in texts for one in some]
    return Heads(reader.name, reader.trained_length, found)


def kept_noise(gap: float) -> Noise | None:
    """Those of a gap, where they are kept."""
    held = _held("noise", _of_noise(gap))
    return None if held is None else Noise(np.array(held["mass"]), np.array(held["first"]))


def kept_disturbed(model: Path, language: str) -> Heads[Disturbed] | None:
    """Those of a model's folder, where they are kept."""
    held = _held(f"disturbed-{language}", _of_disturbed(model, language))
    return None if held is None else _heads(held, Disturbed)


def kept_grown(model: Path, text: str, needle: Needle | None) -> Heads[Grown] | None:
    """Those of a model's folder and a text, where they are kept."""
    for path in FOLDER.glob("grown-*.json"):
        if (held := _held(path.stem, _of_grown(model, text, needle))) is not None:
            return _heads(held, Grown)
    return None


def done(plan: Plan, folder: Path) -> dict[Task, list[Record]]:
    """The records of those tasks of a sweep that are kept, or in the folder."""
    each = {
        task: kept_records(task) or stored(folder / f"{task.digest()}.json") for task in plan.tasks
    }
    return {task: made for task, made in each.items() if made}


def records(task: Task, make: Made | None, folder: Path) -> list[Record]:
    """A task's records: kept ones, those in the folder, or else made and put there."""
    return kept_records(task) or kept(task, make, folder)


def kept_records(task: Task) -> list[Record]:
    """The records of a task of a sweep, none if they are not kept."""
    if (held := (_held("sweep", "") or {}).get(task.digest())) is None:
        return []
    return [
        held["common"] | {name: values[h] for name, values in held["heads"].items()}
        for h in range(held["common"]["heads"])
    ]


def write(
    folder: Path, plan: Plan, reader: Model, model: Path, say: Callable[[str], None]
) -> None:
    """Measure all of it.

    Args:
        plan: the sweep that the lab opens with. reader, model: the embedded model, its folder.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def put(name: str, of: str, value: Any) -> None:
        say(name)
        text = json.dumps({"of": of, "value": value}, ensure_ascii=False, separators=(",", ":"))
        part = folder / f"{name}.part"
        part.write_text(text.replace("},", "},\n") + "\n", "utf-8")
        part.replace(folder / f"{name}.json")

    put("sweep", "", {task.digest(): _by_head(measure(task)) for task in plan.tasks})
    put("noise", _of_noise(GAP), _rounded(vars(noise(GAP))))
    for language in growth.NEEDLES:
        of = _of_disturbed(model, language)
        put(f"disturbed-{language}", of, _rounded(asdict(disturbed(reader, language))))
        text = samples.text(_samples(language)[1])
        of = _of_grown(model, text, None)
        put(f"grown-{language}", of, _rounded(asdict(grown(reader, text))))


def _by_head(made: Sequence[Record]) -> dict[str, Any]:
    """A task's records with what they share said once."""
    common = {k: v for k, v in made[0].items() if all(r[k] == v for r in made)}
    heads = {k: [r[k] for r in made] for k in made[0] if k not in common}
    return _rounded({"common": common, "heads": heads})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return _rounded(value.tolist())
    return [_rounded(v) for v in value] if isinstance(value, (list, tuple)) else value


def _heads(found: Mapping[str, Any], kind: type[H]) -> Heads[H]:
    return Heads(found["model"], found["trained"], [kind(**one) for one in found["found"]])


@cache
def _file(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {"of": None}


def _held(name: str, of: str) -> Any | None:
    """What is kept under a name, if it was made from this."""
    held = _file(FOLDER / f"{name}.json")
    return held["value"] if held["of"] == of else None


def _samples(language: str) -> tuple[str, str]:
    return samples.first(language), samples.long(language)[0]


def _of_noise(gap: float) -> str:
    return digest(gap, LENGTHS, NOISES, measuring.NOISE_ROWS)


def _of_disturbed(model: Path, language: str) -> str:
    texts = [samples.text(sample) for sample in _samples(language)]
    return digest(weights(model), *texts, growth.NEEDLES[language], PASSAGES, DRAWS)


def _of_grown(model: Path, text: str, needle: Needle | None) -> str:
    return digest(weights(model), text, needle, LONGEST, growth.FIRST, growth.ROWS, growth.DRAWS)


def digest(*parts: Any) -> str:
    """Of what decides a measurement, 16 hexadecimal digits."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@cache
def weights(model: Path) -> str:
    """A model's weights, settings and tokenizer, as a digest."""
    said = hashlib.sha256()
    for path in sorted(model.glob("*")):
        if path.suffix in (".safetensors", ".json") and path.name != "figures.json":
            said.update(path.read_bytes())
    return said.hexdigest()[:16]
