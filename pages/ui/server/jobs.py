"""Work that is watched while it runs, in place: training, sweeps.

A job runs in a thread of its own and says its state, anything that JSON can hold, as often as it
likes; `/api/live` answers with the latest. A few run at once, the others wait their turn; one that
nobody asks about ends.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pages.ui.shared.finite import finite
from pages.ui.shared.strings import language, speaker, spoken

AT_ONCE = 4
WAITING = 64  # jobs that may wait
LEFT = 15.0  # seconds without a question after which a job is given up
POLL = 0.2  # seconds between a waiting job's looks at the queue
FORGOTTEN = 900.0  # seconds that a finished job's last state is kept

log = logging.getLogger(__name__)

State = dict[str, Any]
Say = Callable[[State], None]
"""Called with a state; raises Stopped when the work is to end."""


class Stopped(Exception):
    """The person stopped the work, or has gone."""


class Busy(Exception):
    """As many jobs wait as may wait."""


@dataclass(eq=False)
class Job:
    """One piece of work.

    Attributes:
        state: as last said. version: how often it was said. done: it has ended. error: the words
            of the ValueError that ended it, in the language of whoever started the work.
        result: what the work returned.
    """

    state: State = field(default_factory=dict)
    version: int = 0
    done: bool = False
    error: str | None = None
    result: Any = None
    asked: float = field(default_factory=time.monotonic)
    stopping: bool = False

    def check(self) -> None:
        """Raises Stopped when the work is to end."""
        if self.stopping or time.monotonic() - self.asked > LEFT:
            raise Stopped

    def say(self, state: State) -> None:
        """Put a state where it is seen; what it leaves out stays as it was."""
        self.check()
        self.state = self.state | state
        self.version += 1


class Jobs:
    """Jobs by token, a few at a time, first come first served."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = at_once
        self._change = threading.Condition()
        self._queue: list[Job] = []
        self._jobs: dict[str, Job] = {}

    def start(self, work: Callable[[Say], Any]) -> str:
        """Start work, or have it wait its turn; its token.

        Raises:
            Busy: too many wait already.
        """
        job, token = Job(), secrets.token_urlsafe(16)
        now = time.monotonic()
        with self._change:
            old = [t for t, j in self._jobs.items() if j.done and now - j.asked > FORGOTTEN]
            for forgotten in old:
                del self._jobs[forgotten]
            if len(self._queue) >= WAITING:
                raise Busy
            self._queue.append(job)
            self._jobs[token] = job

        tag, words = language(), speaker()  # a thread has no page to ask

        def run() -> None:
            try:
                self._wait(job, lambda ahead: words("gate.queued", ahead=ahead))
                try:
                    job.result = work(job.say)
                finally:
                    with self._change:
                        self._free += 1
                        self._change.notify_all()
            except Stopped:
                job.error = "stopped"
            except ValueError as error:
                job.error = spoken(error, tag)
            except Exception:
                log.exception("a job failed")
                job.error = "failed"
            finally:
                job.done = True

        threading.Thread(target=run, daemon=True).start()
        return token

    def _wait(self, job: Job, words: Callable[[int], str]) -> None:
        """Wait until it is the job's turn, and take a place.

        Raises:
            Stopped: the person no longer waits for it.
        """
        said = -1
        try:
            while True:
                with self._change:
                    ahead = self._queue.index(job)
                    if ahead < self._free:
                        self._free -= 1
                        return
                    self._change.wait(POLL)
                job.check()
                if ahead != said:
                    job.say({"note": words(ahead + 1)})
                    said = ahead
        finally:
            with self._change:
                self._queue.remove(job)
                self._change.notify_all()

    def get(self, token: str) -> Job | None:
        """The job of a token, if it is still known."""
        with self._change:
            return self._jobs.get(token)


JOBS = Jobs()
"""What is light: training that is watched."""
SWEEPS = Jobs(at_once=1)
"""What takes all the machine has, and as much memory as its page says."""


def _own(state: State) -> State:
    """A state without what it holds for other pictures."""
    return {k: v for k, v in state.items() if not (isinstance(v, dict) and "traces" in v)}


async def live(request: Request) -> Response:
    """GET /api/live?token[&stop=1][&slot=…]: {version, done, error, state}

    What a slot of the state holds, for a picture of its own, is told to those who ask for it.
    """
    token = request.query_params.get("token", "")
    job = JOBS.get(token) or SWEEPS.get(token)
    headers = {"Cache-Control": "no-store"}
    if job is None:
        return JSONResponse({"error": "gone"}, 410, headers)
    job.asked = time.monotonic()
    if request.query_params.get("stop") == "1":
        job.stopping = True
    slot = request.query_params.get("slot")
    state = _own(job.state) if slot is None else job.state.get(slot, {})
    said = {"version": job.version, "done": job.done, "error": job.error}
    return JSONResponse(said | {"state": finite(state)}, 200, headers)


ROUTES = [Route("/api/live", live)]
