"""Work on several threads: in order, in the caller's modes, and torch's counts left alone."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
import torch

from engine.contract import QKV
from engine.mechanisms.softmax import Softmax
from engine.runtime import threads
from engine.runtime.threads import alone, here, in_order, workers
from engine.runtime.watch import watched, watching

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, params=[1, 3])
def counted(request: pytest.FixtureRequest) -> Iterator[int]:
    """One thread, where pieces run in the caller's, and several."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def modes() -> tuple[bool, bool]:
    return torch.is_inference_mode_enabled(), torch.is_grad_enabled()


def born() -> int:
    """How many torch threads a new thread has."""
    found: list[int] = []
    one = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    one.start()
    one.join()
    return found[0]


def test_results_come_in_order():
    def late(i: int) -> int:
        time.sleep(0.002 * (i % 3))
        return i

    assert list(in_order((partial(late, i) for i in range(50)), CPU)) == list(range(50))
    assert list(in_order(iter(()), CPU)) == []


def test_jobs_and_what_makes_them_run_in_the_callers_modes():
    """Writing into a tensor made under inference_mode is an error outside of it."""
    for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad):
        with mode():
            out, expected = torch.zeros(4), modes()

            def write(i, drawn, out=out):
                out[i] = 1
                return drawn, modes()

            jobs = (partial(write, i, modes()) for i in range(4))
            assert set(in_order(jobs, CPU)) == {(expected, expected)}
            assert bool((out == 1).all())


def test_pieces_have_one_thread_each_and_others_keep_theirs(counted):
    def piece() -> tuple[int, int]:
        return torch.get_num_threads(), born()

    pieces = list(in_order((piece for _ in range(20)), CPU))
    assert pieces == [(1, counted)] * 20
    assert torch.get_num_threads() == counted == born()


def test_a_thread_that_works_while_a_pass_runs_is_not_held_to_one(counted):
    """Born during the pass, it has all its threads then and afterwards."""
    seen: list[int] = []
    started, over = threading.Event(), threading.Event()

    def live() -> None:
        seen.append(torch.get_num_threads())
        started.set()
        over.wait(10)
        seen.append(torch.get_num_threads())

    beside = threading.Thread(target=live)

    def piece() -> None:
        if not beside.ident:
            beside.start()
        started.wait(10)

    alone(piece, CPU)
    over.set()
    beside.join()
    assert seen == [counted, counted]


def test_passes_share_their_threads(counted):
    """Several at once take no more of them than one does."""
    names: set[str] = set()

    def piece() -> None:
        names.add(threading.current_thread().name)
        time.sleep(0.002)

    def pass_over() -> None:
        for _ in in_order((piece for _ in range(10)), CPU):
            pass

    askers = [threading.Thread(target=pass_over, name="asker") for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert names == {"asker"} if counted == 1 else len(names) <= counted


def test_a_pass_within_a_piece_runs_in_it():
    def inner() -> int:
        return threading.get_ident()

    def outer() -> bool:
        return set(in_order((inner for _ in range(3)), CPU)) == {threading.get_ident()}

    assert all(in_order((outer for _ in range(6)), CPU))


def test_pieces_run_here_where_they_are_asked_to():
    with here():
        assert workers(CPU) == 1
        assert alone(threading.get_ident, CPU) == threading.get_ident()
    assert workers(CPU) == torch.get_num_threads()
    assert workers(torch.device("meta")) == 1


def test_what_ends_a_pass_leaves_nothing_running(counted):
    running = []

    def piece(i: int) -> int:
        running.append(i)
        time.sleep(0.01)
        running.remove(i)
        return i

    def fails() -> int:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        list(in_order((fails if i == 3 else partial(piece, i) for i in range(50)), CPU))
    assert not running

    def drawn() -> Iterator[partial[int]]:
        yield partial(piece, 0)
        raise LookupError

    with pytest.raises(LookupError):
        list(in_order(drawn(), CPU))
    results = in_order((partial(piece, i) for i in range(50)), CPU)
    assert next(results) == 0
    results.close()
    assert not running and list(in_order(iter([modes]), CPU)) == [modes()]


def test_a_fork_makes_threads_of_its_own(counted):
    alone(modes, CPU)
    pool = threads._pool
    threads._forget()
    assert alone(modes, CPU) == modes()
    assert counted == 1 or threads._pool is not pool


def test_results_are_taken_in_order_beside_the_jobs(counted):
    """One at a time, in the workers and the caller's modes; what a taking raises is raised."""
    taken: list[int] = []
    threads_of: set[str] = set()

    def late(i: int) -> int:
        time.sleep(0.002 * (i % 3))
        return i

    def take(i: int) -> int:
        threads_of.add(threading.current_thread().name)
        assert modes() == (True, False)
        taken.append(i)
        return -i

    with torch.inference_mode():
        given = list(in_order((partial(late, i) for i in range(30)), CPU, take))
    assert taken == list(range(30)) and given == [-i for i in taken]
    assert counted == 1 or threading.current_thread().name not in threads_of

    def fails(i: int) -> int:
        if i == 3:
            raise LookupError
        return i

    with pytest.raises(LookupError):
        list(in_order((partial(late, i) for i in range(30)), CPU, fails))


def test_who_is_watched_ends_between_operations_and_so_do_the_workers():
    class Left(BaseException):
        pass

    left, turns = threading.Event(), [0]

    def look() -> None:
        if left.is_set():
            raise Left

    def work() -> None:  # would never end
        while True:
            torch.ones(2).add_(1)
            turns[0] += 1
            left.set()

    began = time.monotonic()
    with watched(look), pytest.raises(Left):
        alone(work, CPU)
    assert time.monotonic() - began < 1
    after = turns[0]
    time.sleep(0.2)
    assert turns[0] == after
    assert watching() is None
    assert alone(lambda: 3, CPU) == 3  # the workers are there for others


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priorities of their own here")
def test_workers_give_way_and_nobody_else(counted, monkeypatch):
    for name, value in {"_pool": None, "_size": 0, "_gives_way": False}.items():
        monkeypatch.setattr(threads, name, value)
    threads.give_way()

    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = nice()
    found = list(in_order(iter([nice] * 8), CPU))
    assert found == [before + threads.NICE if counted > 1 else before] * 8
    assert nice() == before


def test_what_is_small_waits_for_nobodys_long_work():
    torch.set_num_threads(several := 2)  # on one, all runs where it is asked for
    free, begun = threading.Event(), threading.Semaphore(0)

    def long() -> None:
        begun.release()
        assert free.wait(60)

    busy = threading.Thread(target=lambda: list(in_order(iter([long] * several), CPU)))
    busy.start()
    try:
        for _ in range(several):  # they are at it
            assert begun.acquire(timeout=60)
        me = threading.get_ident()
        assert list(in_order(iter([threading.get_ident]), CPU, size=threads.SMALL)) == [me]
        assert alone(threading.get_ident, CPU, size=1) == me
        g = torch.Generator().manual_seed(0)
        q, k, v = (torch.randn(2, 40, 4, generator=g) for _ in range(3))
        att = Softmax().attend(QKV(q, k, v))
        row = att.weights(torch.tensor([39]))  # its log-sum-exp is a pass of its own
        assert row.shape == (2, 1, 40)
        assert att.summary(8).rows.entropy.shape == (2, 40)
    finally:
        free.set()
        busy.join(60)
    assert alone(threading.get_ident, CPU, size=threads.SMALL + 1) != me
