"""What a person sees of the desk: what is waited for, how long it takes, and a way to stop."""

import logging
from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from engine.contract import Refusal
from engine.mechanisms.cost import Estimate
from engine.text import quantities
from pages.ui.server.desk import DESK, Kind, Paced, Report, Trouble, out_of_memory
from pages.ui.shared.strings import spoken, t

T = TypeVar("T")
LARGE = 2**30  # bytes
LONG = 60.0  # seconds; a run that needs more than either is asked about first

log = logging.getLogger(__name__)


def begin() -> None:
    """Keep a place over the page for what is waited for; called once a run, before the page."""
    with st.container(key="status", horizontal=True):
        st.session_state["waiting"] = (st.empty(), st.empty())


def obtain(
    key: str,
    what: str | Callable[[float], str],
    work: Callable[[Report], T],
    size: Callable[[T], int],
    needs: int = 0,
    kind: Kind = "result",
) -> T:
    """A result through the desk, saying meanwhile what is waited for, with a way to stop.

    Args:
        what: words for what is being made, or for where it stands at a share done.
        needs: bytes that the work takes, at most. kind: of seat that it waits for.

    Raises:
        Trouble: the engine refused, or the work failed, which is logged.
    """
    if (kept := DESK.kept.get(key)) is not None:
        return kept
    if st.session_state.get("stopped") == key:
        with st.container(key="trouble"):
            st.text(t("gate.stopped"))
        st.button(t("gate.resume"), on_click=lambda: st.session_state.pop("stopped"))
        st.stop()
    place, stop_place = st.session_state["waiting"]
    shown = False

    def say(words: str, share: float) -> None:
        nonlocal shown
        place.progress(min(max(share, 0.0), 1.0), text=words)
        if not shown:
            shown = True
            stop_place.button(t("gate.stop"), key=f"stop-{key}", on_click=_stop, args=(key,))

    paced = Paced(lambda share: say(what if isinstance(what, str) else what(share), share))
    queue = Paced(lambda ahead: say(t("gate.queued", ahead=int(ahead)), 0.0), every=0.2)
    try:
        return DESK.obtain(key, work, size, queue, paced, needs=needs, kind=kind)
    except Trouble:
        raise
    except Refusal as error:
        raise Trouble(t("error.refused", reason=spoken(error))) from error
    except Exception as error:
        if out_of_memory(error):
            raise Trouble(t("error.memory")) from error
        log.exception("%s could not be made", key)
        raise Trouble(t("error.fault")) from error
    finally:
        place.empty()
        stop_place.empty()


def ask(key: str, what: str, estimate: Estimate) -> str:
    """Words for a run with what it will take; a large one starts only when the person says so."""
    seconds = estimate.flops / DESK.speed
    facts = {
        "memory": quantities.memory(estimate.bytes),
        "flops": quantities.operations(estimate.flops),
        "seconds": quantities.duration(seconds),
    }
    large = estimate.bytes > LARGE or seconds > LONG
    if large and st.session_state.get("accepted") != key:
        st.text(t("gate.large", **facts))
        st.button(t("gate.start"), on_click=st.session_state.update, args=({"accepted": key},))
        st.stop()
    return f"{what} {t('gate.estimate', **facts)}"


def _stop(key: str) -> None:
    st.session_state["stopped"] = key
