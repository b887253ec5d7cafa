"""What a person sees of the desk: what is waited for, how long it takes, and a way to stop."""

from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from engine.contract import Refusal
from engine.mechanisms.cost import Estimate
from engine.text import quantities
from pages.ui.server.desk import DESK, Kind, Paced, Report, Trouble, out_of_memory
from pages.ui.server.limits import limits, visitor
from pages.ui.server.owner import SECONDS, did, fault, requested
from pages.ui.server.turns import aside
from pages.ui.shared.strings import spoken, t

T = TypeVar("T")
LARGE = 2**30  # bytes
LONG = 60.0  # seconds; a run that needs more than either is asked about first
TOLD = 0.2  # seconds that a run takes at least before it tells how fast this machine is

SPEEDS: defaultdict[str, float] = defaultdict(lambda: 1e10)
"""Operations a second, by mechanism, as last measured."""


def begin() -> None:
    """Keep a place over the page for what is waited for; called once a run, before the page. What
    the log says of the run is under one id."""
    requested()
    with st.container(key="status", horizontal=True):
        st.session_state["waiting"] = (st.empty(), st.empty())


def kept(key: str, make: Callable[[], T], size: Callable[[T], int]) -> T:
    """What takes too little time to wait for a turn, made once for all who ask for the same."""
    made = DESK.kept.get(key)
    if made is None:
        made = make()
        DESK.kept.put(key, made, size(made), visitor())
    return made


def obtain(
    key: str,
    what: str | Callable[[float], str],
    work: Callable[[Report], T],
    size: Callable[[T], int],
    needs: int = 0,
    kind: Kind = "result",
    seconds: float = 0.0,
) -> T:
    """A result through the desk, saying meanwhile what is waited for, with a way to stop.

    Args:
        what: words for what is being made, or for where it stands at a share done.
        needs: bytes that the work takes, at most. kind: of seat that it waits for.
        seconds: that it may take, 0 unknown.

    Raises:
        Trouble: the engine refused, it is more than one visitor may have, or the work failed,
            which is logged.
    """
    if (kept := DESK.kept.get(key)) is not None:
        return kept
    if st.session_state.get("stopped") == key:
        with st.container(key="trouble"):
            st.text(t("gate.stopped"))
        st.button(t("gate.resume"), on_click=lambda: st.session_state.pop("stopped"))
        st.stop()
    bounded(needs, seconds)
    place, stop_place = st.session_state["waiting"]
    place.empty()  # whoever has left goes no further
    shown = False

    def say(words: str, share: float) -> None:
        nonlocal shown
        place.progress(min(max(share, 0.0), 1.0), text=words)
        if not shown:
            shown = True
            stop_place.button(t("gate.stop"), key=f"stop-{key}", on_click=_stop, args=(key,))

    paced = Paced(lambda share: say(what if isinstance(what, str) else what(share), share))
    queue = Paced(lambda ahead: say(t("gate.queued", ahead=int(ahead)), 0.0), every=0.5)

    def timed(report: Report) -> T:
        with SECONDS.labels(kind).time(), did(kind):
            return work(report)

    try:
        with aside():
            return DESK.obtain(
                key, timed, size, queue, paced, needs=needs, kind=kind, seconds=seconds,
                visitor=visitor(),
            )  # fmt: skip
    except Trouble:
        raise
    except Refusal as error:
        raise Trouble(t("error.refused", reason=spoken(error))) from error
    except Exception as error:
        if out_of_memory(error):
            raise Trouble(t("error.memory")) from error
        name = fault(key.partition(":")[0], error)  # the rest may be somebody's text
        raise Trouble(t("error.fault", id=name)) from error
    finally:
        place.empty()
        stop_place.empty()


def bounded(needs: float, seconds: float = 0.0) -> None:
    """Raises Trouble for what takes more than one visitor may have."""
    most = limits()
    if needs > most.work or seconds > most.seconds:
        facts = {
            "memory": quantities.memory(needs), "seconds": quantities.duration(seconds),
            "most": quantities.memory(most.work),
        }  # fmt: skip
        raise Trouble(t("error.beyond" if needs > most.work else "error.beyond_long", **facts))


def seconds_of(mechanism: str, estimate: Estimate) -> float:
    """How long it will take here, as far as is known."""
    return estimate.work / SPEEDS[mechanism]


def took(mechanism: str, estimate: Estimate, seconds: float) -> None:
    """It took so long: what the next is estimated by."""
    if seconds > TOLD and estimate.work:
        SPEEDS[mechanism] = estimate.work / seconds


def ask(key: str, what: str, estimate: Estimate, seconds: float) -> str:
    """Words for a run with what it will take; a large one starts only when the person says so.

    Raises:
        Trouble: it takes more than one visitor may have.
    """
    bounded(estimate.bytes, seconds)
    facts = {
        "memory": quantities.memory(estimate.bytes),
        "flops": quantities.operations(estimate.work),
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
