"""The sample texts in assets/examples."""

import json
from functools import cache

from engine.contract import Refusal
from engine.runtime.paths import EXAMPLES


@cache
def listing() -> dict[str, dict[str, str]]:
    """Sample id -> its language and the key of its title, in order; none without the app's
    assets."""
    if not EXAMPLES.is_dir():
        return {}
    entries = json.loads((EXAMPLES / "examples.json").read_text("utf-8"))
    return {entry["id"]: entry for entry in entries}


def ids() -> tuple[str, ...]:
    """The samples' ids, in order."""
    return tuple(listing())


def first(language: str) -> str:
    """The sample that opens in a language."""
    return next(key for key, entry in listing().items() if entry["language"] == language)


def long(language: str) -> list[str]:
    """Those that are long enough to be read at many lengths, a language's own first."""
    found = [entry["before"] for entry in listing().values() if "before" in entry]
    return sorted(found, key=lambda sample: listing()[sample]["language"] != language)


@cache
def text(sample: str) -> str:
    """A sample's text.

    Raises:
        ValueError: there is no such sample.
    """
    if sample not in listing():
        raise Refusal(
            "there is no sample {name}; there are {names}",
            name=sample, names=", ".join(listing()) or "–",
        )  # fmt: skip
    return (EXAMPLES / f"{listing()[sample]['id']}.txt").read_text("utf-8")
