"""The desk: few at once, in order, each result once, and places given up by those who leave."""

import threading
import time

import pytest

from pages.ui.server.desk import Desk, Paced, Store


def silent(_):
    pass


def size(_):
    return 1


def test_a_result_is_made_once_and_kept():
    desk, made = Desk(1, 10**6), []
    for _ in range(3):
        assert desk.obtain("a", lambda r: made.append(1) or "A", size, silent, silent) == "A"
    assert made == [1]


def test_one_flight_for_many_askers():
    desk, made, got = Desk(2, 10**6), [], []

    def work(report):
        made.append(1)
        time.sleep(0.3)
        return "A"

    askers = [
        threading.Thread(target=lambda: got.append(desk.obtain("a", work, size, silent, silent)))
        for _ in range(6)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(5)
    assert (made, got) == ([1], ["A"] * 6)


def test_first_come_first_served_and_never_more_than_the_seats():
    desk, order, running, most = Desk(1, 10**6), [], [0], [0]
    lock = threading.Lock()

    def work(name):
        def run(report):
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            order.append(name)
            time.sleep(0.05)
            with lock:
                running[0] -= 1
            return name

        return run

    askers = []
    for name in "abcde":
        asker = threading.Thread(target=desk.obtain, args=(name, work(name), size, silent, silent))
        asker.start()
        askers.append(asker)
        time.sleep(0.01)
    for asker in askers:
        asker.join(5)
    assert (order, most) == (list("abcde"), [1])


def test_who_waits_is_told_how_many_come_first():
    desk, told = Desk(1, 10**6), []
    release = threading.Event()
    first = threading.Thread(
        target=desk.obtain, args=("a", lambda r: release.wait(5), size, silent, silent)
    )
    first.start()
    time.sleep(0.05)

    def waiting(ahead):
        told.append(ahead)
        release.set()

    desk.obtain("b", lambda r: "B", size, waiting, silent)
    first.join(5)
    assert told and told[0] == 1


def test_who_leaves_the_queue_frees_the_place():
    desk, release = Desk(1, 10**6), threading.Event()
    first = threading.Thread(
        target=desk.obtain, args=("a", lambda r: release.wait(5), size, silent, silent)
    )
    first.start()
    time.sleep(0.05)

    class Left(BaseException):
        pass

    def leave(ahead):
        raise Left

    with pytest.raises(Left):
        desk.obtain("b", lambda r: "B", size, leave, silent)
    release.set()
    first.join(5)
    assert desk.obtain("c", lambda r: "C", size, leave, silent) == "C"


def test_who_stops_frees_the_seat_and_another_takes_over():
    desk, started = Desk(1, 10**6), threading.Event()

    class Left(BaseException):
        pass

    def abandoned(report):
        started.set()
        time.sleep(0.2)
        report(0.5)

    def stop(share):
        raise Left

    def leaver():
        with pytest.raises(Left):
            desk.obtain("a", abandoned, size, silent, stop)

    first = threading.Thread(target=leaver)
    first.start()
    started.wait(5)
    assert desk.obtain("a", lambda r: "A", size, silent, silent) == "A"
    first.join(5)


def test_an_error_is_the_askers_own_and_is_not_kept():
    desk = Desk(1, 10**6)

    def fails(report):
        raise ValueError("no")

    with pytest.raises(
        ValueError,
    ):
        desk.obtain("a", fails, size, silent, silent)
    assert desk.obtain("a", lambda r: "A", size, silent, silent) == "A"


def test_the_store_drops_what_was_used_longest_ago():
    store = Store(10)
    store.put("a", 1, 4)
    store.put("b", 2, 4)
    store.get("a")
    store.put("c", 3, 4)
    assert (store.get("a"), store.get("b"), store.get("c")) == (1, None, 3)
    store.put("d", 4, 100)
    assert store.get("d") == 4 and len(store) == 1 and store.held == 100


def test_paced_calls_are_few():
    calls = []
    paced = Paced(calls.append, patience=0.05, every=10)
    for _ in range(5):
        paced(0.1)
    time.sleep(0.06)
    paced(0.5)
    paced(0.6)
    assert calls == [0.5]
