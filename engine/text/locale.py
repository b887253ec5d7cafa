"""Words in the person's language, from assets/locales."""

import json
from collections.abc import Callable
from functools import cache

from engine.contract.wording import worded
from engine.runtime.paths import LOCALES


@cache
def locale(language: str) -> dict[str, str]:
    """All strings of one language, by dotted key."""
    return json.loads((LOCALES / f"{language}.json").read_text("utf-8"))


def speaker(language: str) -> Callable[..., str]:
    """`t(key, **facts)`: the words that a key names, in this language, with facts put in."""
    words = locale(language)
    return lambda key, /, **facts: worded(words[key], language, facts)
