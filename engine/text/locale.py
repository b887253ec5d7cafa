"""Words in the person's language, from assets/locales."""

import json
from functools import cache

from engine.runtime.paths import LOCALES


@cache
def locale(language: str) -> dict[str, str]:
    """All strings of one language, by dotted key."""
    return json.loads((LOCALES / f"{language}.json").read_text("utf-8"))
