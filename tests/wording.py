"""What a string of the locales takes, as the tests read it."""

import string

from engine.contract.wording import PLURAL


def facts(words: str) -> set[str]:
    """Names of the facts that go into a string."""
    plain = PLURAL.sub("", words)
    named = {name for _, name, _, _ in string.Formatter().parse(plain) if name is not None}
    return named | {count[1] for count in PLURAL.finditer(words)}
