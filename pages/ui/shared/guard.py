"""What can't be shown, in words, wherever on a page it comes up."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from engine.contract import Refusal
from pages.ui.server.desk import out_of_memory
from pages.ui.server.owner import REFUSALS, fault
from pages.ui.server.waiting import Trouble
from pages.ui.shared.strings import spoken, t

REFUSED = (Trouble, Refusal)


def worded(error: Exception) -> str:
    """A sentence for one of REFUSED, in the person's language; it counts as told."""
    REFUSALS.inc()
    if isinstance(error, Trouble):
        return str(error)
    return t("error.refused", reason=spoken(error))


@contextmanager
def guarded(part: str) -> Iterator[None]:
    """A part of a page: what is refused inside is said in its place, and the rest is drawn; so is
    a fault of ours, which is logged."""
    try:
        yield
    except Exception as error:
        if isinstance(error, REFUSED):
            words = worded(error)
        elif out_of_memory(error):
            words = t("error.memory")
        else:
            words = t("error.fault", id=fault(part, error))
        with st.container(key=f"trouble-{part}"):
            st.text(words)
