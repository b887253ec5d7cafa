"""Work in the order given, several pieces at once, each on one thread.

Small operations that are each split over threads spend their time waiting for one another, above
all on a shared machine; pieces that are each one thread's own do not. The threads are the
process's own, shared by all passes, so that many passes at once take no more of them than one:
their pieces take turns.

torch counts threads in two places: each thread its own, and the process the number that a thread
starts with. `set_num_threads` writes both. A worker is therefore set to one thread once, when it
is born, and the process's number is put back; no pass writes either.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TypeVar

import torch

from engine.runtime.watch import EVERY, watched, watching

T = TypeVar("T")
U = TypeVar("U")

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_size = 0
_gives_way = False
SMALL = 2**20
"""Weights that are worked out where they are asked for: others' pieces may stand before them."""
ONE = 2**22
"""Weights of which one worker makes all: two share caches, and on many machines a core, and take
half as much processor time again to be hardly sooner ready."""
NICE = 10
"""What a thread that gives way adds, as `nice` counts it."""
_here: ContextVar[bool] = ContextVar("here", default=False)


class _Ended(BaseException):
    """Whoever asked wants no more."""


def workers(device: torch.device) -> int:
    """How many pieces run at once: torch's threads here, on the CPU; else, and in a piece, one."""
    return 1 if device.type != "cpu" or _here.get() else torch.get_num_threads()


def give_way() -> None:
    """Have workers run only where the processor has nothing else to do: for a server, whose quick
    answers would wait for somebody's long text. Linux alone ranks threads; elsewhere all stays as
    it is. Called before the first piece."""
    global _gives_way
    _gives_way = sys.platform == "linux"


def step_back() -> None:
    """Have this thread, to its end, run after others, as the workers do; where they give way."""
    if _gives_way:
        now = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, min(now + NICE, 19))


@contextmanager
def here() -> Iterator[None]:
    """Pieces that are asked for inside run in the thread that asks, where its modes see them."""
    before = _here.set(True)
    try:
        yield
    finally:
        _here.reset(before)


def alone(work: Callable[[], T], device: torch.device, size: int | None = None) -> T:
    """Work of many small steps, as one piece; its result. size: as of `in_order`."""
    (made,) = in_order(iter((work,)), device, size=size)
    return made


def in_order(
    jobs: Iterator[Callable[[], T]],
    device: torch.device,
    take: Callable[[T], U] = lambda made: made,
    size: int | None = None,
) -> Iterator[U]:
    """What is taken from each job's result, in the jobs' order, a few jobs ahead.

    size: weights that all jobs work out, where that is known; up to SMALL the thread that asks
    does it all.

    What a consumer raises ends the rest. `take` is called in order, one result at a time. It, the
    jobs and the iterator that makes them run in the workers, which share no operation with
    others, in the caller's inference and gradient modes, which torch keeps for each thread. Where
    the caller is watched (`watch`), so is the waiting, and the workers end with it.
    """
    count = workers(device)
    if count == 1 or (size is not None and size <= SMALL):
        yield from (take(job()) for job in jobs)
        return
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    places, drawing, taking = enumerate(jobs), threading.Lock(), threading.Lock()
    made: dict[int, T] = {}
    due = 0
    look, ended = watching(), threading.Event()

    def wanted() -> None:
        if ended.is_set():
            raise _Ended

    def turn() -> list[tuple[int, U]] | None:
        """Run the next job, and take the results that are due; None if there is no job."""
        nonlocal due
        seen = nullcontext() if look is None else watched(wanted)
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients), seen:
            with drawing:
                drawn = next(places, None)
            if drawn is None:
                return None
            place, job = drawn
            result = job()
            taken = []
            with taking:
                made[place] = result
                while due in made:
                    taken.append((due, take(made.pop(due))))
                    due += 1
            return taken

    pool = _shared(count)
    turns: deque[Future[list[tuple[int, U]] | None]] = deque()
    ready: dict[int, U] = {}
    told = 0
    try:
        turns.extend(pool.submit(turn) for _ in range(count + 1))
        while turns:
            while look is not None and not wait((turns[0],), EVERY).done:
                look()
            if (taken := turns.popleft().result()) is None:
                continue
            turns.append(pool.submit(turn))
            ready |= taken
            while told in ready:
                yield ready.pop(told)
                told += 1
    finally:
        ended.set()
        for one in turns:
            one.cancel()
        wait(turns)


def _shared(count: int) -> ThreadPoolExecutor:
    """The process's workers: as many as were ever asked for at once."""
    global _pool, _size
    with _lock:
        if _pool is None or _size < count:
            _pool, _size = ThreadPoolExecutor(count, "piece", initializer=_born), count
        return _pool


def _forget() -> None:
    """A forked process has none of its parent's threads."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _born() -> None:
    """One torch thread for this thread; a later thread starts with as many as before."""
    step_back()
    with _lock:
        before = torch.get_num_threads()  # asked first: only then does what is set stay
        torch.set_num_threads(1)
        back = threading.Thread(target=torch.set_num_threads, args=(before,))
        back.start()
        back.join()
