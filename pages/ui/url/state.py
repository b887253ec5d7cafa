"""What a picture is of: the spec, and the ways in which a page changes it.

Widgets are drawn from the spec and report in their callbacks, so that at the start of a run the
spec is complete.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from engine import sources
from engine.mechanisms import MECHANISMS
from engine.sources import samples
from engine.spec import links
from engine.spec.fields import CONTENT, FIELDS, LANGUAGES, MOST_COLUMNS
from engine.spec.picture import Choice, Spec, prefix_of
from engine.spec.spelling import Problem, declarations
from pages.ui.url import owner
from pages.ui.url.owner import Group

SOURCES = {*CONTENT, "source"}
KEYS = {*SOURCES, *FIELDS, "with"}
PREFIXES = ("s.", *(prefix_of(column) for column in range(1, MOST_COLUMNS + 1)))


def browser_language() -> str:
    """The browser's language if we speak it, else English."""
    tag = owner.once("locale", lambda: (st.context.locale or "").split("-")[0].lower())
    return tag if tag in LANGUAGES else LANGUAGES[0]


def _read(query: Mapping[str, str]) -> tuple[Spec, list[Problem]]:
    """What the URL says; a Chinese text where it names none and Chinese is spoken."""
    found, problems = links.read(query, samples=samples.ids())
    if _in_chinese(found) and not query.keys() & SOURCES:
        found = found.replace(content=samples.first("zh"))
    return found, problems


def query_params(spec: Spec) -> dict[str, str]:
    """What the URL says of a spec; the English text, too, where Chinese is spoken."""
    said = spec.query_params()
    if _in_chinese(spec) and not said.keys() & SOURCES:
        return {"sample": spec.content} | said
    return said


def _in_chinese(spec: Spec) -> bool:
    return (spec.language or browser_language()) == "zh"


PICTURE: Group[Spec] = owner.register(
    Group("picture", lambda key: key in KEYS or key.startswith(PREFIXES), _read, query_params)
)


def spec() -> Spec:
    """What is chosen now."""
    return owner.value(PICTURE)


def problems() -> tuple[Problem, ...]:
    """What in the URL could not be used."""
    return owner.problems(PICTURE)


def put(new: Spec) -> None:
    """Choose this; what was wrong with the URL is past."""
    owner.put(PICTURE, new)


def change(**fields: Any) -> None:
    """Choose these, keep the rest."""
    put(spec().replace(**fields))


def change_param(field: str, name: str, value: Any) -> None:
    """Choose one parameter of the mechanism ("params") or the source ("source_params"); nothing if
    it has none of that name any more, as where a link came in between."""
    known = (
        declarations(MECHANISMS, spec().mechanism)
        if field == "params"
        else declarations(sources.SOURCES, spec().source)
    )
    if name not in known:
        return
    pairs = dict(getattr(spec(), field)) | {name: value}
    change(**{field: tuple(pairs.items())})


def switch(mechanism: str) -> None:
    """Choose a mechanism, with the parameters that were last chosen for it."""
    drafts = st.session_state.setdefault("drafts", {})
    drafts[spec().mechanism] = spec().params
    change(mechanism=mechanism, params=drafts.get(mechanism, ()))


def change_columns(columns: Sequence[Choice]) -> None:
    """Choose what stands side by side."""
    put(spec().with_columns(columns))


def switch_column(column: int, mechanism: str) -> None:
    """Choose one column's mechanism (columns from 0), with the parameters last chosen there."""
    drafts = st.session_state.setdefault("drafts", {})
    columns = list(spec().columns)
    drafts[column, columns[column][0]] = columns[column][1]
    columns[column] = mechanism, drafts.get((column, mechanism), ())
    change_columns(columns)


def change_column_param(column: int, of: str, name: str, value: Any) -> None:
    """Choose one parameter of a column's mechanism; nothing if that is no longer `of`, as where a
    link came in between."""
    columns = list(spec().columns)
    if column >= len(columns) or columns[column][0] != of:
        return
    mechanism, params = columns[column]
    columns[column] = mechanism, tuple((dict(params) | {name: value}).items())
    change_columns(columns)
