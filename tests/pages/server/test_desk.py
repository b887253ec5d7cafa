"""The desk: few at once, in order, each result once, and places given up by those who leave."""

import threading
import time

import pytest
import torch

from pages.ui.server.desk import SEATS, Paced, Store, out_of_memory
from pages.ui.server.desk import Desk as Whole


def Desk(results: int, most_kept: int = 10**6, **more) -> Whole:
    return Whole(dict(SEATS) | {"result": results}, most_kept, **more)


def until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)


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
        asker.join(60)
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
        until(lambda name=name: name in order or any(t.key == name for t in desk._queue))
    for asker in askers:
        asker.join(60)
    assert (order, most) == (list("abcde"), [1])


def test_who_waits_is_told_how_many_come_first():
    desk, told = Desk(1, 10**6), []
    release = threading.Event()
    first = threading.Thread(
        target=desk.obtain, args=("a", lambda r: release.wait(60), size, silent, silent)
    )
    first.start()
    until(lambda: desk._running)

    def waiting(ahead):
        told.append(ahead)
        release.set()

    desk.obtain("b", lambda r: "B", size, waiting, silent)
    first.join(60)
    assert told and told[0] == 1


def test_who_leaves_the_queue_frees_the_place():
    desk, release = Desk(1, 10**6), threading.Event()
    first = threading.Thread(
        target=desk.obtain, args=("a", lambda r: release.wait(60), size, silent, silent)
    )
    first.start()
    until(lambda: desk._running)

    class Left(BaseException):
        pass

    def leave(ahead):
        raise Left

    with pytest.raises(Left):
        desk.obtain("b", lambda r: "B", size, leave, silent)
    release.set()
    first.join(60)
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
    started.wait(60)
    assert desk.obtain("a", lambda r: "A", size, silent, silent) == "A"
    first.join(60)


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
    assert store.get("d") == 4 and store.names() == ["d"]
    store.pop("d")
    store.pop("d")
    assert store.get("d") is None


def test_strangers_keep_no_more_than_their_share(monkeypatch):
    """A quarter each: what they used longest ago goes, and nobody else's does."""
    monkeypatch.setenv("ATTENTION_EXPLORER_PUBLIC", "1")
    store = Store(40)
    store.put("other's", 0, 9, "b")
    store.put("nobody's", 0, 9)
    for name in "abc":
        store.put(name, name, 5, "a")
        store.get("a")
    assert sorted(map(str, store.names())) == ["a", "c", "nobody's", "other's"]
    store.put("large", 1, 12, "a")  # more than a share: alone
    assert sorted(map(str, store.names())) == ["large", "nobody's", "other's"]
    store.put("large", 1, 2, "b")  # made anew by another, whose share it counts to now
    store.put("d", 1, 10, "a")
    assert sorted(map(str, store.names())) == ["d", "large", "nobody's"]


def test_on_ones_own_machine_all_of_it_is_ones_share():
    store = Store(40)
    for name in "abcd":
        store.put(name, name, 10, "me")
    assert sorted(map(str, store.names())) == ["a", "b", "c", "d"]


class Asker:
    """Someone with a ticket, who holds the seat until told to leave it."""

    def __init__(self, desk: Whole, kind, needs: int = 0) -> None:
        self.sits, self.leave = threading.Event(), threading.Event()
        ticket = desk.ticket(kind, needs=needs)

        def sit() -> None:
            with desk.seat(ticket, silent):
                self.sits.set()
                self.leave.wait(60)

        self.thread = threading.Thread(target=sit)
        self.thread.start()

    def go(self) -> None:
        self.leave.set()
        self.thread.join(60)


def test_a_long_job_takes_no_interactive_seat():
    desk = Desk(1)
    long = Asker(desk, "sweep")
    assert long.sits.wait(60)
    assert desk.obtain("a", lambda r: "A", size, silent, silent) == "A"
    window = desk.obtain("w", lambda r: "W", size, silent, silent, kind="window")
    assert window == "W" and not long.leave.is_set()
    long.go()


def test_what_a_person_waits_for_goes_before_long_jobs():
    desk = Desk(1)
    first = Asker(desk, "result")
    assert first.sits.wait(60)
    second, long = Asker(desk, "result"), Asker(desk, "training")
    assert not long.sits.wait(0.3)
    first.go()
    assert second.sits.wait(60) and long.sits.wait(60)
    second.go()
    long.go()


def test_those_who_run_share_the_memory():
    desk = Desk(2, most_worked=100)
    first = Asker(desk, "result", needs=80)
    assert first.sits.wait(60)
    wide, narrow = Asker(desk, "result", needs=30), Asker(desk, "window", needs=10)
    assert narrow.sits.wait(60) and not wide.sits.is_set()
    narrow.go()
    first.go()
    assert wide.sits.wait(60)
    wide.go()
    vast = Asker(desk, "result", needs=1000)  # more than there is: alone
    assert vast.sits.wait(60)
    vast.go()


def test_memory_runs_out_in_several_ways():
    cpu = "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried"
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA"), RuntimeError(cpu)):
        assert out_of_memory(error)
    assert not out_of_memory(RuntimeError("shapes"))


def test_paced_calls_are_few():
    calls = []
    paced = Paced(calls.append, patience=0.05, every=10)
    for _ in range(5):
        paced(0.1)
    time.sleep(0.06)
    paced(0.5)
    paced(0.6)
    assert calls == [0.5]


def waiting_in(desk: Whole, log: list[str], *wishes: tuple[str, str | None, float]) -> None:
    """Ask for these (name, visitor, seconds) while a seat is taken, free it, and see the order."""
    first = Asker(desk, "result")
    assert first.sits.wait(60)
    askers = []
    for count, (name, visitor, seconds) in enumerate(wishes, 1):
        asker = threading.Thread(
            target=lambda name=name, visitor=visitor, seconds=seconds: desk.obtain(
                name, lambda r: log.append(name) or name, size, silent, silent,
                visitor=visitor, seconds=seconds,
            )
        )  # fmt: skip
        asker.start()
        askers.append(asker)
        until(lambda count=count: desk.waiting("result") == count)
    first.go()
    for asker in askers:
        asker.join(60)


def test_visitors_take_turns_however_much_one_wants():
    desk, log = Desk(1), []
    wishes = [(f"a{i}", "a", 0.0) for i in range(5)] + [("b0", "b", 0.0), ("c0", "c", 0.0)]
    waiting_in(desk, log, *wishes)
    assert set(log[:3]) == {"a0", "b0", "c0"} and log[3:] == ["a1", "a2", "a3", "a4"]


def test_quick_work_goes_before_slow_but_not_for_ever(monkeypatch):
    desk, log = Desk(1), []
    waiting_in(desk, log, ("slow", "a", 60.0), ("quick", "b", 0.1))
    assert log == ["quick", "slow"]
    monkeypatch.setattr("pages.ui.server.desk.PATIENT", 0.0)
    waiting_in(desk, log, ("slower", "c", 60.0), ("quicker", "d", 0.1))
    assert log[2:] == ["slower", "quicker"]


def test_work_that_says_nothing_is_left_within_a_second():
    """A thousand small operations of torch and no report among them, as a fit or routing is."""
    desk, left = Desk(1), threading.Event()

    class Left(BaseException):
        pass

    def stop(share):
        if left.is_set():
            raise Left

    def endless(report):
        end = time.monotonic() + 60  # so that who waits for it in vain is told
        while time.monotonic() < end:
            torch.ones(8).add_(1)

    def leaver():
        with pytest.raises(Left):
            desk.obtain("a", endless, size, silent, stop)

    asker = threading.Thread(target=leaver)
    asker.start()
    until(lambda: desk.running())
    left.set()
    began = time.monotonic()
    assert desk.obtain("b", lambda r: "B", size, silent, silent) == "B"
    assert time.monotonic() - began < 1
    asker.join(60)
