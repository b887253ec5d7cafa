"""Runs of pages: so many at once, and none held up by one that waits or that has left."""

import threading
import time

import pytest

from pages.ui.server import turns
from pages.ui.server.turns import AT_ONCE, aside, turn


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    """No turn is taken yet, and patience is short."""
    monkeypatch.setattr(turns, "_turns", threading.Semaphore(AT_ONCE))
    monkeypatch.setattr(turns, "PATIENT", 0.3)


def started(work) -> threading.Thread:
    one = threading.Thread(target=work)
    one.start()
    return one


def free() -> int:
    return turns._turns._value


def test_no_more_run_at_once_than_may():
    lock, inside, most = threading.Lock(), 0, 0

    def run() -> None:
        nonlocal inside, most
        with turn():
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.01)
            with lock:
                inside -= 1

    for one in [started(run) for _ in range(12)]:
        one.join()
    assert most == AT_ONCE == free()


def test_one_that_waits_at_the_desk_lets_others_on():
    waiting, over = threading.Event(), threading.Event()

    def waits() -> None:
        with turn(), aside():
            waiting.set()
            over.wait(60)

    ones = [started(waits) for _ in range(AT_ONCE)]
    waiting.wait(60)
    with turn():
        assert turns._own.turn
    over.set()
    for one in ones:
        one.join()
    assert free() == AT_ONCE


def test_a_run_that_ends_while_it_waits_gives_its_turn_once():
    with pytest.raises(KeyError), turn(), aside():
        raise KeyError
    with pytest.raises(KeyError), turn():
        raise KeyError
    assert free() == AT_ONCE


def test_patience_ends():
    held = [threading.Event() for _ in range(AT_ONCE)]
    over = threading.Event()

    def holds(mine: threading.Event) -> None:
        with turn():
            mine.set()
            over.wait(60)

    ones = [started(lambda mine=mine: holds(mine)) for mine in held]
    for mine in held:
        assert mine.wait(60)
    began = time.monotonic()
    with turn(), aside():
        assert turns.PATIENT <= time.monotonic() - began < 30
    over.set()
    for one in ones:
        one.join()
    assert free() == AT_ONCE


def test_outside_of_a_run_there_is_no_turn_to_give():
    with aside():
        assert free() == AT_ONCE
    assert free() == AT_ONCE
