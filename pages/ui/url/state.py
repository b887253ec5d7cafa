"""The one owner of what the person chose: read from the URL once, changed here, written back.

A page never writes to the URL or keeps a choice elsewhere. Widgets are drawn from the spec and
report through `change`, in their callbacks, so that at the start of a run the spec is complete.
"""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from engine.sources import samples
from engine.spec.fields import CONTENT, MOST_COLUMNS, PARSERS, Problem
from engine.spec.picture import DEFAULT, Choice, Spec, prefix_of, read

OURS = {*CONTENT, *PARSERS, "source", "with"}
PREFIXES = ("s.", *(prefix_of(column) for column in range(1, MOST_COLUMNS + 1)))


def _ours(key: str) -> bool:
    return key in OURS or key.startswith(PREFIXES)


def begin(browser_language: Callable[[], str]) -> None:
    """Take the spec from the URL if it says something new, and make the URL say the spec.

    Called once a run, before anything is drawn. A URL without our keys (a page's own link) leaves
    the choices as they are.
    """
    query = st.query_params.to_dict()
    said = {key: value for key, value in query.items() if _ours(key)}
    first = "spec" not in st.session_state
    if first or (said and said != st.session_state["said"]):
        spec, problems = read(said, samples=samples.ids())
        untouched = not said.keys() & {*CONTENT, "source"}
        if untouched and (spec.language or browser_language()) == "zh":
            spec = spec.replace(content=samples.first("zh"))
        st.session_state["spec"] = spec
        st.session_state["problems"] = problems
    wanted = spec_query()
    if wanted != said:
        st.query_params.from_dict({k: v for k, v in query.items() if not _ours(k)} | wanted)
    st.session_state["said"] = wanted


def spec() -> Spec:
    """What is chosen now."""
    return st.session_state.get("spec", DEFAULT)


def spec_query() -> dict[str, str]:
    """What the URL says of it."""
    return spec().query_params()


def problems() -> list[Problem]:
    """What in the URL could not be used."""
    return st.session_state.get("problems", [])


def put(new: Spec) -> None:
    """Choose this; what was wrong with the URL is past."""
    st.session_state["spec"] = new
    st.session_state["problems"] = []


def change(**fields: Any) -> None:
    """Choose these, keep the rest."""
    put(spec().replace(**fields))


def change_param(field: str, name: str, value: Any) -> None:
    """Choose one parameter of the mechanism ("params") or the source ("source_params")."""
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


def change_column_param(column: int, name: str, value: Any) -> None:
    """Choose one parameter of one column's mechanism."""
    columns = list(spec().columns)
    mechanism, params = columns[column]
    columns[column] = mechanism, tuple((dict(params) | {name: value}).items())
    change_columns(columns)
