"""Runs of pages take turns: side by side they would only take the interpreter from one another.

A run is short and nearly all Python, of which one thread runs at a time. Of fifty that run at once
each is done when nearly all are; of those that take turns half are done in half the time, and none
later. A run that waits for the desk lets others on; one that waits long for its turn goes on
without.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

AT_ONCE = 2
PATIENT = 1.0  # seconds

_turns = threading.Semaphore(AT_ONCE)
_own = threading.local()


@contextmanager
def turn() -> Iterator[None]:
    """A page's run, in its turn."""
    _take()
    try:
        yield
    finally:
        _give()


@contextmanager
def aside() -> Iterator[None]:
    """Others have the turn meanwhile; a run that is over takes it no more."""
    had = _give()
    yield
    if had:
        _take()


def _take() -> None:
    _own.turn = _turns.acquire(timeout=PATIENT)


def _give() -> bool:
    """Whether there was a turn to give."""
    had = getattr(_own, "turn", False)
    _own.turn = False
    if had:
        _turns.release()
    return had
