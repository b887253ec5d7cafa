"""The one owner of what a person chose: read from the URL, held here, and written back.

What is chosen together is a `Group` of keys. A page or a widget asks for a group's value, and
reports changes; nobody else reads or writes the URL. A group is read when the URL says something
of it that is new, and the URL says it from when the page first asks for it.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from engine.spec.spelling import Problem

T = TypeVar("T")


@dataclass(frozen=True)
class Group(Generic[T]):
    """Keys of the URL that are chosen together.

    Attributes:
        name: one of its own. owns: whether a key is one of its keys.
        read: what the URL says with these keys -> the value, and what could not be used.
        say: the value -> keys and what stands there; defaults go without saying.
    """

    name: str
    owns: Callable[[str], bool]
    read: Callable[[Mapping[str, str]], tuple[T, list[Problem]]]
    say: Callable[[T], dict[str, str]]


@dataclass(frozen=True)
class Held(Generic[T]):
    """What is chosen in a group.

    Attributes:
        problems: what was wrong with the URL. said: what the URL says of it. before: what it said
            before that, as long as the browser has not been heard to say `said`: who acts before
            the new URL has come to the browser still sends an old one along.
    """

    value: T
    problems: tuple[Problem, ...]
    said: Mapping[str, str]
    before: tuple[Mapping[str, str], ...] = ()


GROUPS: dict[str, Group[Any]] = {}
"""All there are, by name."""
PAGE = "url.page"
"""Where the session keeps the page of its last run."""
TOLD = "url.told"
"""Where the session keeps the names of those that the URL says by now in this run."""
_run: ContextVar[dict[str, Any] | None] = ContextVar("run", default=None)
"""Those same groups, in the thread that runs the page: it asks hundreds of times, each word for
the language, and the session takes a lock each time."""


def register(group: Group[T]) -> Group[T]:
    """Make a group known."""
    GROUPS[group.name] = group
    return group


def begin() -> None:
    """A run begins: the URL may say something new. Called before anything is asked."""
    st.session_state[TOLD] = set()
    _run.set({})
    run = get_script_run_ctx(suppress_warning=True)
    page, back = (run.page_script_hash, run.is_history_navigation) if run else ("", False)
    last = st.session_state.get(PAGE)
    st.session_state[PAGE] = page
    went = back or bool(last and page and last != page)  # to where it once was, perhaps
    for group in GROUPS.values():
        held = st.session_state.get(_place(group))
        if held and held.before and (went or _said(group) == held.said):
            st.session_state[_place(group)] = replace(held, before=())


def once(name: str, ask: Callable[[], T]) -> T:
    """What stays the same as long as a run lasts, asked once in it."""
    run = _run.get()
    if run is None:
        return ask()
    if name not in run:
        run[name] = ask()
    return run[name]


def value(group: Group[T]) -> T:
    """What is chosen."""
    return _held(group).value


def problems(group: Group[Any]) -> tuple[Problem, ...]:
    """What in the URL could not be used, until something else is chosen."""
    return _held(group).problems


def put(group: Group[T], new: T, *, newest: bool = False) -> None:
    """Choose this.

    Args:
        newest: it is newer than what the URL says, which a script of the page has moved on since
            the last run. Else what the URL says anew goes first: widgets report late.
    """
    held = Held(new, (), _said(group)) if newest else replace(_held(group), value=new, problems=())
    st.session_state[_place(group)] = held
    st.session_state.setdefault(TOLD, set()).discard(group.name)
    (_run.get() or {}).pop(group.name, None)


def _place(group: Group[Any]) -> str:
    return f"url.{group.name}"


def _said(group: Group[Any]) -> dict[str, str]:
    """What the URL says of it."""
    return {key: text for key, text in st.query_params.to_dict().items() if group.owns(key)}


def _held(group: Group[T]) -> Held[T]:
    """The group as it is, once the URL has been read and says it."""
    run = _run.get()
    if run is not None and (known := run.get(group.name)) is not None:
        return known
    held: Held[T] | None = st.session_state.get(_place(group))
    told = st.session_state.setdefault(TOLD, set())
    if held is not None and group.name in told:
        return held
    query, said = st.query_params.to_dict(), _said(group)
    if held is None or (said and said != held.said and said not in held.before):
        new, wrong = group.read(said)
        held = Held(new, tuple(wrong), said)
    wanted = group.say(held.value)
    if wanted != said:
        st.query_params.from_dict({k: v for k, v in query.items() if not group.owns(k)} | wanted)
    if wanted != held.said:
        held = replace(held, said=wanted, before=(*held.before, held.said))
    st.session_state[_place(group)] = held
    told.add(group.name)
    if run is not None:
        run[group.name] = held
    return held
