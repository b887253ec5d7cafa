"""The one desk of this server: who computes when, and what is kept.

Work stands in one queue. Of each kind so many run at once: quick work before slow, but none waits
for ever; visitors in turn, so that no one's wishes hold up another's; and one visitor's in the
order they came. What a person waits for goes before what they watch, and a long job never takes an
interactive seat. All that run share a bound of memory. A result is made once and kept by the name
of the choice (never by tensors), least recently used first out. A person who leaves or chooses
anew is taken off the queue: while they wait, and while their work runs, between operations of
torch, a call is made every so often, and that call raises when the run is over.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from cachetools import LRUCache

from engine.runtime.watch import watched
from pages.ui.server.limits import limits

T = TypeVar("T")
Kind = Literal["window", "picture", "result", "model", "training", "sweep"]

POLL = 0.25  # seconds between looks at whether a person who waits is still there
SLOW = 5.0  # seconds; what takes longer lets quicker work go first
PATIENT = 30.0  # seconds that it does so
WORKED = 4 * 2**30  # bytes that what runs may need at once
KEPT = 2 * 2**30  # bytes of results, live attentions and their windows
TURNS = 10_000  # visitors whose last turn is known
GIVEN = 2**27  # bytes of what people gave, which can't be made again
SEATS: Mapping[Kind, int] = {
    "window": 1,
    "picture": 2,  # of what has been worked out: short, and mostly Python
    "result": max(1, (os.cpu_count() or 1) // 4),
    "model": 1,  # opened, or fetched first, while others get what is open already
    "training": 4,  # light: small steps
    "sweep": 1,  # takes all the machine has
}
LONG: tuple[Kind, ...] = ("training", "sweep")

FULL = ("allocate memory", "out of memory", "size calculation overflowed", "Invalid buffer size")
"""What torch says of a tensor that no memory holds."""

Report = Callable[[float], None]
"""Called with the share done, 0 … 1; may raise to stop the work."""


class Trouble(Exception):
    """What a person chose can't be shown; the message is in their language."""


def out_of_memory(error: BaseException) -> bool:
    """True for Python's, the accelerator's and the CPU allocator's ways to say so."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in FULL)


class Store:
    """Values by key, the least recently used dropped beyond a number of bytes: all in all, and of
    one visitor's beyond their share. Thread-safe."""

    def __init__(self, most_bytes: int) -> None:
        self._lock = threading.Lock()
        self._values: LRUCache[Hashable, tuple[Any, int]] = LRUCache(
            most_bytes, getsizeof=lambda kept: kept[1]
        )
        self._of: dict[Hashable, OrderedDict[Hashable, int]] = {}  # visitor -> sizes, as used
        self._whose: dict[Hashable, Hashable] = {}

    def get(self, key: Hashable) -> Any:
        """The value, or None."""
        with self._lock:
            if (who := self._whose.get(key)) is not None:
                self._of[who].move_to_end(key)
            return self._values.get(key, (None, 0))[0]

    def put(self, key: Hashable, value: Any, size: int, visitor: Hashable = None) -> None:
        """Keep a value of about this many bytes; one larger than everything is kept alone.

        Args:
            visitor: whose share it counts to, if anyone's; what they used longest ago goes first.
        """
        with self._lock:
            self._disown(key)
            self._values[key] = (value, min(size, int(self._values.maxsize)))
            if visitor is not None:
                self._of.setdefault(visitor, OrderedDict())[key] = size
                self._whose[key] = visitor
                self._fit(visitor)
            if len(self._whose) > 2 * len(self._values):
                for gone in [one for one in self._whose if one not in self._values]:
                    self._disown(gone)

    def _fit(self, visitor: Hashable) -> None:
        """Drop what a visitor used longest ago beyond their share; their last is kept."""
        own, most = self._of[visitor], limits().share * self._values.maxsize
        for gone in [one for one in own if one not in self._values]:
            self._disown(gone)
        while len(own) > 1 and sum(own.values()) > most:
            oldest = next(iter(own))
            self._disown(oldest)
            self._values.pop(oldest)

    def _disown(self, key: Hashable) -> None:
        who = self._whose.pop(key, None)
        if who is not None:
            self._of[who].pop(key)
            if not self._of[who]:
                del self._of[who]

    def pop(self, key: Hashable) -> None:
        """Let go of a value, if it is there."""
        with self._lock:
            self._disown(key)
            self._values.pop(key, None)

    @property
    def held(self) -> int:
        """Bytes of all values."""
        with self._lock:
            return int(self._values.currsize)

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._values.clear()
            self._of.clear()
            self._whose.clear()

    def names(self) -> list[Hashable]:
        """What there is, in no order."""
        with self._lock:
            return list(self._values)


@dataclass(eq=False)
class Ticket:
    """A place in the queue.

    Attributes:
        key: of the result; two of one key don't run at once. needs: bytes, at most.
        visitor: who wants it; None for one of their own. seconds: that it may take, 0 unknown.
        came: when. here: whether someone waits with it. seated: whether its turn has come.
        called: set when there may be something to do.
    """

    kind: Kind
    key: Hashable = None
    needs: int = 0
    visitor: Hashable = None
    seconds: float = 0.0
    came: float = field(default_factory=time.monotonic)
    here: bool = False
    seated: bool = False
    called: threading.Event = field(default_factory=threading.Event)


class Desk:
    """Makes each result once, a few of each kind at a time, in the order they were asked for.

    Attributes:
        kept: what was made.
    """

    def __init__(
        self,
        seats: Mapping[Kind, int] = SEATS,
        most_kept: int = KEPT,
        most_worked: int = WORKED,
    ) -> None:
        self.seats, self.most_worked = seats, most_worked
        self.kept = Store(most_kept)
        self._lock = threading.Lock()
        self._queue: list[Ticket] = []
        self._running: list[Ticket] = []
        self._turns: LRUCache[Hashable, int] = LRUCache(TURNS)  # visitor -> their last turn
        self._turn = 0

    def obtain(
        self,
        key: Hashable,
        work: Callable[[Report], T],
        size: Callable[[T], int],
        waiting: Callable[[int], None],
        report: Report,
        *,
        kind: Kind = "result",
        needs: int = 0,
        visitor: Hashable = None,
        seconds: float = 0.0,
    ) -> T:
        """The result named by key: a kept one, or one made by `work` when its turn comes.

        Args:
            key: names everything that decides the result.
            work: makes it; calls its argument with the share done between steps.
            size: bytes of a result, for the store.
            waiting: called every moment with how many are before this one; may raise to leave.
            report: what work calls; may raise to stop.
            needs, visitor, seconds: as in `Ticket`.

        Raises:
            whatever work, waiting or report raises; the place in the queue is given up then.
        """
        if (kept := self.kept.get(key)) is not None:
            return kept
        ticket = self.ticket(kind, key, needs, visitor, seconds)
        with self.seat(ticket, waiting, lambda: self.kept.get(key) is not None):
            if (kept := self.kept.get(key)) is None:
                share = 0.0

                def done(now: float) -> None:
                    nonlocal share
                    share = now
                    report(share)

                with watched(lambda: report(share)):  # work that says nothing can be left, too
                    kept = work(done)
                self.kept.put(key, kept, size(kept), visitor)
            return kept

    def ticket(
        self,
        kind: Kind,
        key: Hashable = None,
        needs: int = 0,
        visitor: Hashable = None,
        seconds: float = 0.0,
    ) -> Ticket:
        """A place in the queue, for `seat`."""
        ticket = Ticket(kind, key, needs, visitor, seconds)
        with self._lock:
            self._queue.append(ticket)
        return ticket

    @contextmanager
    def seat(
        self,
        ticket: Ticket,
        waiting: Callable[[int], None],
        made: Callable[[], bool] = lambda: False,
    ) -> Iterator[None]:
        """Wait for the ticket's turn, and hold a seat inside.

        Args:
            waiting: as in `obtain`. made: says that nothing is left to do; no seat is taken then.
        """
        try:
            with self._lock:
                ticket.here = True
                self._call()
            while not (ticket.seated or made()):
                if not ticket.called.wait(POLL):
                    waiting(self.before(ticket))
                ticket.called.clear()
            with self._lock:
                if not ticket.seated:
                    self._queue.remove(ticket)
            yield
        finally:
            self._leave(ticket)

    def _leave(self, ticket: Ticket) -> None:
        """Its place is another's; who waits for the same result looks whether it is there."""
        with self._lock:
            for those in (self._queue, self._running):
                if ticket in those:
                    those.remove(ticket)
            for one in self._queue:
                if one.key is not None and one.key == ticket.key:
                    one.called.set()
            self._call()

    def before(self, ticket: Ticket) -> int:
        """How many computations of its kind run or come before this one."""
        with self._lock:
            if ticket not in self._queue:
                return 0
            queue = self._in_order(ticket.kind)
            running = [one for one in self._running if one.kind == ticket.kind]
            others = running + queue[: queue.index(ticket)]
            return len({one.key or id(one) for one in others} - {ticket.key})

    def waiting(self, kind: Kind | None = None, visitor: Hashable = None) -> int:
        """How many are in the queue: of a kind, of a visitor, or all."""
        with self._lock:
            return sum(
                kind in (None, one.kind) and visitor in (None, one.visitor) for one in self._queue
            )

    def longest(self) -> float:
        """Seconds that someone has waited, at most, for what a person waits for."""
        with self._lock:
            came = [one.came for one in self._queue if one.kind not in LONG]
        return time.monotonic() - min(came) if came else 0.0

    def running(self) -> int:
        """How many have a seat."""
        with self._lock:
            return len(self._running)

    def _in_order(self, kind: Kind) -> list[Ticket]:
        """The queue of a kind: quick before slow, visitors in turn, each one's as they came."""
        now = time.monotonic()
        ahead: dict[Hashable, int] = {}

        def place(ticket: Ticket) -> tuple[bool, int, int]:
            who = id(ticket) if ticket.visitor is None else ticket.visitor
            own = ahead[who] = ahead.get(who, -1) + 1
            slow = ticket.seconds > SLOW and now - ticket.came < PATIENT
            return slow, own, self._turns.get(who, 0)

        return sorted((one for one in self._queue if one.kind == kind), key=place)

    def _call(self) -> None:
        """Give the seats that are free to those whose turn it is; what is long comes last."""
        kinds: set[Kind] = {one.kind for one in self._queue}
        for kind in sorted(kinds, key=LONG.__contains__):
            while (ticket := self._next(kind)) is not None:
                self._queue.remove(ticket)
                self._running.append(ticket)
                if ticket.visitor is not None:
                    self._turn += 1
                    self._turns[ticket.visitor] = self._turn
                ticket.seated = True
                ticket.called.set()

    def _next(self, kind: Kind) -> Ticket | None:
        """Whose turn it is for a seat of a kind; None where there is none to be had."""
        if sum(one.kind == kind for one in self._running) >= self.seats[kind]:
            return None
        made = {one.key for one in self._running if one.key is not None}
        able = [one for one in self._queue if one.key not in made]
        if kind in LONG and any(one.kind not in LONG for one in able):
            return None
        first = next((one for one in self._in_order(kind) if one.here and one in able), None)
        taken = sum(one.needs for one in self._running)
        if first is None or (self._running and taken + first.needs > self.most_worked):
            return None
        return first


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


DESK = Desk()
"""The one desk of this server."""
