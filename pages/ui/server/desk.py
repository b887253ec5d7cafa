"""A desk where computations queue: few at once, first come first served, each result made once.

Results are kept by the string that names the choice (never by tensors), least recently used first
out. A person who leaves or chooses anew is taken off the queue: while they wait and while their
work runs, a Streamlit call is made every so often, and that call raises when the run is over.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
POLL = 0.1  # seconds between looks at the queue

Report = Callable[[float], None]
"""Called with the share done, 0 … 1; may raise to stop the work."""


class Store:
    """Values by key, the least recently used dropped beyond a number of bytes. Thread-safe."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held = 0
        self._lock = threading.Lock()
        self._values: OrderedDict[str, tuple[Any, int]] = OrderedDict()

    def get(self, key: str) -> Any:
        """The value, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: str, value: Any, size: int) -> None:
        """Keep a value of about this many bytes; one larger than everything is kept alone."""
        with self._lock:
            self.held -= self._values.pop(key, (None, 0))[1]
            self._values[key] = (value, size)
            self.held += size
            while self.held > self.most_bytes and len(self._values) > 1:
                self.held -= self._values.popitem(last=False)[1][1]

    def __len__(self) -> int:
        return len(self._values)


@dataclass(eq=False)
class Ticket:
    """A place in the queue."""

    key: str


class Desk:
    """Makes each result once, at most `seats` at a time, in the order they were asked for.

    Attributes:
        results: what was made. speed: operations a second, as last measured by who knows.
    """

    def __init__(self, seats: int, most_bytes: int) -> None:
        self.seats = seats
        self.results = Store(most_bytes)
        self._change = threading.Condition()
        self._queue: list[Ticket] = []
        self._running: set[str] = set()
        self.speed = 1e10

    def obtain(
        self,
        key: str,
        work: Callable[[Report], T],
        size: Callable[[T], int],
        waiting: Callable[[int], None],
        report: Report,
    ) -> T:
        """The result named by key: a kept one, or one made by `work` when its turn comes.

        Args:
            key: names everything that decides the result.
            work: makes it; calls its argument with the share done between steps.
            size: bytes of a result, for the store.
            waiting: called every moment with how many are before this one; may raise to leave.
            report: what work calls; may raise to stop.

        Raises:
            whatever work, waiting or report raises; the place in the queue is given up then.
        """
        if (kept := self.results.get(key)) is not None:
            return kept
        ticket = Ticket(key)
        with self._change:
            self._queue.append(ticket)
        try:
            while not self._may_start(ticket):
                if (kept := self.results.get(key)) is not None:
                    return kept
                waiting(self.before(ticket))
        finally:
            with self._change:
                self._queue.remove(ticket)
                self._change.notify_all()
        try:
            if (kept := self.results.get(key)) is None:
                kept = work(report)
                self.results.put(key, kept, size(kept))
            return kept
        finally:
            with self._change:
                self._running.discard(key)
                self._change.notify_all()

    def before(self, ticket: Ticket) -> int:
        """How many computations run or come before this one."""
        with self._change:
            ahead = self._queue[: self._queue.index(ticket)]
            return len(self._running | {other.key for other in ahead} - {ticket.key})

    def _may_start(self, ticket: Ticket) -> bool:
        """Take a seat if it is this ticket's turn; else wait a moment."""
        with self._change:
            others = [other for other in self._queue if other.key not in self._running]
            mine = others and others[0] is ticket
            if mine and len(self._running) < self.seats:
                self._running.add(ticket.key)
                return True
            self._change.wait(POLL)
            return False


class Paced:
    """Calls a function with the share done, at most every `every` seconds, after `patience`."""

    def __init__(self, call: Report, patience: float = 0.4, every: float = 0.15) -> None:
        self.call = call
        self.next = time.monotonic() + patience
        self.every = every

    def __call__(self, share: float) -> None:
        if (now := time.monotonic()) >= self.next:
            self.next = now + self.every
            self.call(share)
