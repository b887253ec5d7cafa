"""What the engine refuses, as a sentence that can also be said in another language."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from engine.contract.wording import worded


class Id(str):
    """A name of the code's own, such as `linformer`, in a refusal.

    Whoever writes code reads it as it is; a page says what people call it.

    Attributes:
        words: the key of that in `assets/locales`, `mechanism.linformer.name`.
    """

    words: str

    def __new__(cls, name: str, words: str = "") -> Id:
        made = super().__new__(cls, name)
        made.words = words
        return made


class Refusal(ValueError):
    """What was asked can't be done: an English sentence with its facts put in.

    Attributes:
        template: the sentence, with a place for each fact, `{key} has no {name}`; what other
            languages make of it is in `assets/locales/refusals-<language>.json`.
        facts: what goes there. One may be a Refusal itself: words within words; or an Id.
    """

    def __init__(self, template: str, /, **facts: Any) -> None:
        super().__init__(worded(template, "en", facts) if facts else template)
        self.template, self.facts = template, facts


def one_of(name: str, value: Any, allowed: Collection[str]) -> None:
    """Check that a value is among those allowed.

    Raises:
        Refusal: it isn't; says which are.
    """
    if value not in allowed:
        raise Refusal(
            "{name} must be one of {allowed}, not {value!r}",
            name=name, allowed=", ".join(allowed), value=value,
        )  # fmt: skip
