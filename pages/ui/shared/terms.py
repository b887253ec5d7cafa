"""The field's terms, explained where a page first uses them: on hover, focus and tap."""

import re
from functools import cache

import streamlit as st

from pages.ui.shared.strings import language, locale, t

TERMS = (
    "token", "query", "key", "head", "logit", "softmax", "needle", "sink", "effective_tokens",
    "entropy", "nat", "uniform",
)  # fmt: skip
"""`term.<name>` explains it; `term.<name>.forms` are the words that it is seen by, `|` between."""
EXPLAINED = "terms-explained"


def begin() -> None:
    """Nothing is explained yet: at the start of a run."""
    st.session_state[EXPLAINED] = set()


def say(words: str) -> None:
    """Words, with what their terms mean, if the page has not said it."""
    st.text(words, help=explanation(words))


def explanation(words: str) -> str | None:
    """What the terms in some words mean that the page has not explained before, in Markdown."""
    told = st.session_state.setdefault(EXPLAINED, set())
    new = [name for name in TERMS if name not in told and _seen(language(), name).search(words)]
    told.update(new)
    return "\n\n".join(f"**{_title(name)}** · {t(f'term.{name}')}" for name in new) or None


def _title(name: str) -> str:
    return locale(language())[f"term.{name}.forms"].split("|")[0]


@cache
def _seen(tag: str, name: str) -> re.Pattern[str]:
    """A term as a word of its own, also in Chinese, where 关键, 指针 and 开头 are other words."""
    forms = "|".join(map(re.escape, locale(tag)[f"term.{name}.forms"].split("|")))
    return re.compile(rf"(?<![A-Za-z关指开-])(?:{forms})(?![A-Za-z-])", re.IGNORECASE)
