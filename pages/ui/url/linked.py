"""Choices that the URL names by their ids, whatever language their words are in.

Streamlit's own `bind="query-params"` writes the words that are shown, so it serves for numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st


def linked(name: str, options: Sequence[Any], default: Any) -> Any:
    """What is chosen: as the URL says when the page opens, later as the widget of the key does."""
    by_id = {str(option): option for option in options}
    if st.session_state.get(name) not in options:
        st.session_state[name] = by_id.get(st.query_params.get(name, ""), default)
    tell(name, default)
    return st.session_state[name]


def tell(name: str, default: Any) -> None:
    """Make the URL say it; the default goes without saying."""
    value = st.session_state[name]
    if value == default:
        st.query_params.pop(name, None)
    elif st.query_params.get(name) != str(value):
        st.query_params[name] = str(value)


def select(label: str, name: str, options: Sequence[Any], default: Any,
           words: Callable[[Any], str], **more: Any) -> Any:  # fmt: skip
    """One of some, in a list."""
    linked(name, options, default)
    return st.selectbox(
        label, options, key=name, format_func=words, on_change=tell, args=(name, default), **more
    )


def segments(label: str, name: str, options: Sequence[Any], default: Any,
             words: Callable[[Any], str], **more: Any) -> Any:  # fmt: skip
    """One of a few, side by side."""
    linked(name, options, default)
    return st.segmented_control(
        label, options, key=name, format_func=words, on_change=tell, args=(name, default),
        required=True, **more,
    )  # fmt: skip


def radio(label: str, name: str, options: Sequence[Any], default: Any,
          words: Callable[[Any], str], **more: Any) -> Any:  # fmt: skip
    """One of a few, one under the other."""
    linked(name, options, default)
    return st.radio(
        label, options, key=name, format_func=words, on_change=tell, args=(name, default), **more
    )


def stops(label: str, name: str, options: Sequence[Any], default: Any,
          words: Callable[[Any], str], **more: Any) -> Any:  # fmt: skip
    """One of an ordered few, on a slider."""
    linked(name, options, default)
    return st.select_slider(
        label, options, key=name, format_func=words, on_change=tell, args=(name, default), **more
    )
