"""Words with facts put in: counts by the plural rules of a language, the rest by `str.format`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from operator import index
from typing import Any

from icu4py.messageformat import MessageFormat

PLURAL = re.compile(r"\{(\w+), plural,(?:[^{}]|\{[^{}]*\})*\}")
"""A count in ICU's syntax, `{heads, plural, one {# head} other {# heads}}`, and its name."""


def worded(template: str, language: str, facts: Mapping[str, Any]) -> str:
    """The words of a template with its facts put in.

    Args:
        template: `{n, plural, …}` where a count stands, with the number, in the language's way of
            writing numbers, for `#`; `{name:…}` as `str.format` takes it everywhere else.
        language: as in BCP 47, `en` or `zh`.
        facts: a count that is its own place, "{n}", stays as it is, for a script to fill in.

    Raises:
        KeyError: a fact is missing.
        TypeError: a count is not a whole number.
    """
    said, at = [], 0
    for count in PLURAL.finditer(template):
        name = count[1]
        said.append(template[at : count.start()].format(**facts))
        if facts[name] == f"{{{name}}}":
            said.append(count[0])
        else:
            said.append(MessageFormat(count[0], language).format({name: index(facts[name])}))
        at = count.end()
    return "".join([*said, template[at:].format(**facts)])
