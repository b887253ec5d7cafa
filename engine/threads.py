"""Work in the order given, several pieces at once, each on one thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")


def in_order(jobs: Iterator[Callable[[], T]], device: torch.device) -> Iterator[T]:
    """Results in the jobs' order; on a CPU several at once, one thread each."""
    workers = torch.get_num_threads() if device.type == "cpu" else 1
    if workers == 1:
        yield from (job() for job in jobs)
        return
    with _single_threaded(), ThreadPoolExecutor(workers, initializer=_one_thread) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(job))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _one_thread() -> None:
    torch.set_num_threads(1)


_running = threading.Lock()
_depth = 0
_before = 1


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Keeps torch's thread count at one while tiles run, and puts it back after the last."""
    global _depth, _before
    with _running:
        if _depth == 0:
            _before = torch.get_num_threads()
            torch.set_num_threads(1)
        _depth += 1
    try:
        yield
    finally:
        with _running:
            _depth -= 1
            if _depth == 0:
                torch.set_num_threads(_before)
