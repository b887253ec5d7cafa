"""Single choices, declared and registered with the owner, and the widgets that show them.

A widget's key is the choice's key in the URL. Widgets follow what is held and report in their
callbacks. What is said of an option is its id, whatever language its words are in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from engine.contract import Param
from engine.spec.spelling import Field, Problem, read_pairs, spell, spell_pairs
from pages.ui.shared import about
from pages.ui.shared.strings import keyed
from pages.ui.url import owner
from pages.ui.url.owner import Group


@dataclass(frozen=True)
class OneOf(Field):
    """One of these, spelt as itself."""

    options: tuple[Any, ...] = ()


def one_of(options: Sequence[Any], default: Any = None) -> OneOf:
    """One of some; what suits the page where it is None that is chosen."""
    by_id = {spell(option): option for option in options}
    return OneOf(
        type(options[0]), default, read=lambda text: by_id.get(text, text),
        fits=lambda value: value in options, said=", ".join(by_id), options=tuple(options),
    )  # fmt: skip


def number(low: float, high: float | None, default: float, step: float | None = None) -> Param:
    """A number from low to high, of the default's type."""
    return Param(type(default), default, low=low, high=high, step=step)


def flag(default: bool = False) -> Param:
    """On or off."""
    return Param(bool, default)


class Fields:
    """Choices whose keys begin alike.

    Attributes:
        prefix: how their keys begin. declared: name -> what may be chosen; a default of None is
            what suits the page.
    """

    def __init__(self, prefix: str, declared: Mapping[str, Param]) -> None:
        self.prefix, self.declared = prefix, declared
        self.group: Group[dict[str, Any]] = owner.register(
            Group(prefix or "+".join(declared), self._owns, self._read, self._say)
        )

    def __getitem__(self, name: str) -> Any:
        """What is chosen, else the default."""
        return owner.value(self.group).get(name, self.declared[name].default)

    def key(self, name: str) -> str:
        """A choice's key, in the URL and of its widget."""
        return self.prefix + name

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What in the URL could not be used."""
        return owner.problems(self.group)

    def choose(self, name: str, value: Any, default: Any = None) -> None:
        """Choose this, keep the rest; the default (what suits the page) goes without saying.

        What can't be chosen is passed over: a list reports words that it doesn't offer any more
        when a text or a model changes under it.
        """
        if value is not None:  # which is what suits the page
            try:
                self.declared[name].check(name, value)
            except ValueError:
                return
        chosen = owner.value(self.group) | {name: value}
        if value == (self.declared[name].default if default is None else default):
            del chosen[name]
        owner.put(self.group, chosen)

    def _owns(self, key: str) -> bool:
        return key.startswith(self.prefix) if self.prefix else key in self.declared

    def _read(self, query: Mapping[str, str]) -> tuple[dict[str, Any], list[Problem]]:
        problems: list[Problem] = []
        pairs = read_pairs(query, self.prefix, self.declared, problems)
        return {k: v for k, v in pairs if v != self.declared[k].default}, problems

    def _say(self, chosen: dict[str, Any]) -> dict[str, str]:
        return spell_pairs(self.prefix, chosen.items())


def follow(key: str, value: Any) -> None:
    """Make a widget show this value; call it right before the widget is drawn."""
    if st.session_state.get(key) != value:
        st.session_state[key] = value


def _shown(
    fields: Fields, name: str, fits: Callable[[Any], bool], default: Any, worded: bool = False
) -> dict[str, Any]:
    """What a widget is drawn with, after it was made to show the choice; a choice that is not to
    be had here is given up for the default. `worded`: it is a list of words."""
    declared = fields.declared[name]
    key = keyed(fields.key(name)) if worded else fields.key(name)
    suited = declared.default if default is None else default
    chosen = suited if fields[name] is None else fields[name]
    if not fits(chosen):
        fields.choose(name, suited, default)
        chosen = suited
    follow(key, chosen)

    def changed() -> None:
        fields.choose(name, st.session_state[key], default)

    return {"key": key, "on_change": changed}


Words = Callable[[Any], str]


def told(label: str, value: Any, words: Words = str) -> Any:
    """The value, once the page's figures know that it was chosen."""
    if value is not None:
        about.choose(label, words(value))
    return value


def _options(fields: Fields, name: str, options: Sequence[Any] | None) -> Sequence[Any]:
    if options is not None:
        return options
    declared = fields.declared[name]
    assert isinstance(declared, OneOf)
    return declared.options


def select(
    fields: Fields, name: str, label: str, words: Words,
    options: Sequence[Any] | None = None, default: Any = None, **more: Any,
) -> Any:  # fmt: skip
    """One of some, in a list.

    Args:
        words: of an option. options: those that there are here, if not all that are declared.
        default: what suits, where the declared default is None.
    """
    options = _options(fields, name, options)
    shown = _shown(fields, name, options.__contains__, default, worded=True)
    return told(label, st.selectbox(label, options, format_func=words, **shown, **more), words)


def segments(
    fields: Fields, name: str, label: str, words: Words, default: Any = None, **more: Any
) -> Any:
    """One of a few, side by side; default as of `select`."""
    options = _options(fields, name, None)
    shown = _shown(fields, name, options.__contains__, default)
    more = {"format_func": words, "required": True, **shown, **more}
    return told(label, st.segmented_control(label, options, **more), words)


def radio(fields: Fields, name: str, label: str, words: Words) -> Any:
    """One of a few, one under the other."""
    options = _options(fields, name, None)
    shown = _shown(fields, name, options.__contains__, None)
    return told(label, st.radio(label, options, format_func=words, **shown), words)


def stops(
    fields: Fields, name: str, label: str, words: Words,
    options: Sequence[Any] | None = None, default: Any = None, **more: Any,
) -> Any:  # fmt: skip
    """One of an ordered few, on a slider; arguments as of `select`."""
    options = _options(fields, name, options)
    shown = _shown(fields, name, options.__contains__, default)
    return told(label, st.select_slider(label, options, format_func=words, **shown, **more), words)


def slider(fields: Fields, name: str, label: str, high: float | None = None, **more: Any) -> Any:
    """A number on a slider, up to `high` where that is less than what is declared."""
    declared = fields.declared[name]
    ends = declared.low, declared.high if high is None else high
    low, top = (declared.kind(end or 0) for end in ends)
    shown = _shown(fields, name, lambda value: low <= value <= top, min(declared.default, top))
    return told(label, st.slider(label, low, top, step=declared.step, **shown, **more))


def counter(fields: Fields, name: str, label: str) -> int:
    """A whole number to type."""
    declared = fields.declared[name]
    low, high = (None if end is None else int(end) for end in (declared.low, declared.high))
    shown = _shown(fields, name, lambda value: True, None)
    return told(label, st.number_input(label, low, high, **shown))


def toggle(fields: Fields, name: str, label: str, **more: Any) -> bool:
    """On or off."""
    shown = _shown(fields, name, lambda value: True, None)
    return told(label, st.toggle(label, **shown, **more), lambda on: "✓" if on else "✗")


def line(fields: Fields, name: str, label: str, default: str, most: int) -> str:
    """A line of one's own, of so many characters."""
    shown = _shown(fields, name, lambda value: True, default)
    return st.text_input(label, max_chars=most, **shown) or ""
