"""The sample texts in assets/examples."""

import json
from functools import cache
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"


@cache
def listing() -> dict[str, dict[str, str]]:
    """Sample id -> its language and the key of its title, in order."""
    entries = json.loads((EXAMPLES / "examples.json").read_text("utf-8"))
    return {entry["id"]: entry for entry in entries}


def ids() -> tuple[str, ...]:
    """The samples' ids, in order."""
    return tuple(listing())


def first(language: str) -> str:
    """The sample that opens in a language."""
    return next(key for key, entry in listing().items() if entry["language"] == language)


@cache
def text(sample: str) -> str:
    """A sample's text.

    Raises:
        KeyError: there is no such sample.
    """
    return (EXAMPLES / f"{listing()[sample]['id']}.txt").read_text("utf-8")
