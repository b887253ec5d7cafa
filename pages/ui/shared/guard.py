"""What can't be shown, in words, wherever on a page it comes up."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from engine.contract import Refusal
from pages.ui.server.waiting import Trouble
from pages.ui.shared.strings import spoken, t

REFUSED = (Trouble, Refusal)


def worded(error: Exception) -> str:
    """A sentence for one of REFUSED, in the person's language."""
    return str(error) if isinstance(error, Trouble) else t("error.refused", reason=spoken(error))


@contextmanager
def guarded(part: str) -> Iterator[None]:
    """A part of a page: what is refused inside is said in its place, and the rest is drawn."""
    try:
        yield
    except REFUSED as error:
        with st.container(key=f"trouble-{part}"):
            st.text(worded(error))
