"""Work in the order given, several pieces at once, each on one thread.

Small operations that are each split over threads spend their time waiting for one another, above
all on a shared machine; pieces that are each one thread's own do not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")


@contextmanager
def one_thread_each(device: torch.device) -> Iterator[int]:
    """Keeps torch to one thread inside; gives how many pieces may run at once."""
    before = torch.get_num_threads()
    if device.type != "cpu" or before == 1:
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def in_order(jobs: Iterator[Callable[[], T]], workers: int) -> Iterator[T]:
    """Results in the jobs' order, a few jobs ahead; what a consumer raises ends the rest.

    Jobs run in the caller's inference and gradient modes, which torch keeps for each thread.
    """
    if workers == 1:
        yield from (job() for job in jobs)
        return
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def run(job: Callable[[], T]) -> T:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            return job()

    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(run, job))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
