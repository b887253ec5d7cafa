"""Words of the person's language, from assets/locales. A missing key is an error."""

from collections.abc import Callable
from typing import Any

from engine.contract import Id, Refusal
from engine.contract.wording import worded
from engine.spec.fields import LANGUAGES
from engine.text.locale import locale as locale
from engine.text.locale import speaker as speaker_of
from pages.ui.url import state


def language() -> str:
    """The language chosen, else the browser's, else English."""
    return state.spec().language or state.browser_language()


def keyed(key: str) -> str:
    """The key of a list whose options are words: under one key the browser would go on showing,
    and report, the words of the language before."""
    return f"{key}.{language()}"


def formula(key: str) -> str:
    """A formula in LaTeX, whose braces are its own."""
    return locale(language())[key]


def t(key: str, /, **facts: Any) -> str:
    """The words that a key names, with facts put in.

    Raises:
        KeyError: there is no such key, or a fact is missing.
    """
    return speaker()(key, **facts)


def speaker() -> Callable[..., str]:
    """`t` in the language that is spoken now, also where no page runs (in a job's thread)."""
    return speaker_of(language())


def spoken(error: object, tag: str = "") -> str:
    """What the engine says, a Refusal in the person's language; anything else as it is.

    Args:
        tag: the language, where no page runs.
    """
    tag = tag or language()
    if isinstance(error, Id):
        return locale(tag)[error.words]
    if not isinstance(error, Refusal):
        return str(error)
    template, first = error.template, tag == LANGUAGES[0]
    facts = {
        k: spoken(v, tag) if isinstance(v, (Refusal, Id)) else v for k, v in error.facts.items()
    }
    return worded(template if first else locale(f"refusals-{tag}")[template], tag, facts)
