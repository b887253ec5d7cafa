"""What the engine refuses, as a sentence that can also be said in another language."""

from collections.abc import Collection
from typing import Any


class Refusal(ValueError):
    """What was asked can't be done: an English sentence with its facts put in.

    Attributes:
        template: the sentence, with a place for each fact, `{key} has no {name}`; what other
            languages make of it is in `assets/locales/refusals-<language>.json`.
        facts: what goes there. One may be a Refusal itself: words within words.
    """

    def __init__(self, template: str, /, **facts: Any) -> None:
        super().__init__(template.format(**facts) if facts else template)
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
