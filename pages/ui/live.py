"""Work that is watched while it runs, in place: training, sweeps.

A job runs in a thread of its own and says its state, anything that JSON can hold, as often as it
likes; `/api/live` answers with the latest. A few run at once; one that nobody asks about ends.
"""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pages.ui.strings import language, spoken

AT_ONCE = 4
LEFT = 15.0  # seconds without a question after which a job is given up
FORGOTTEN = 900.0  # seconds that a finished job's last state is kept

log = logging.getLogger(__name__)

State = dict[str, Any]
Say = Callable[[State], None]
"""Called with a state; raises Stopped when the work is to end."""


class Stopped(Exception):
    """The person stopped the work, or has gone."""


class Busy(Exception):
    """As many jobs run as may run at once."""


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

    def say(self, state: State) -> None:
        """Put a state where it is seen; what it leaves out stays as it was."""
        if self.stopping or time.monotonic() - self.asked > LEFT:
            raise Stopped
        self.state = self.state | state
        self.version += 1


class Jobs:
    """Jobs by token."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}

    def start(self, work: Callable[[Say], Any]) -> str:
        """Start work; its token.

        Raises:
            Busy: too many run already.
        """
        job, token = Job(), secrets.token_urlsafe(16)
        now = time.monotonic()
        with self._lock:
            old = [t for t, j in self._jobs.items() if j.done and now - j.asked > FORGOTTEN]
            for forgotten in old:
                del self._jobs[forgotten]
            if sum(not j.done for j in self._jobs.values()) >= self._at_once:
                raise Busy
            self._jobs[token] = job

        tag = language()  # a thread has no page to ask

        def run() -> None:
            try:
                job.result = work(job.say)
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

    def get(self, token: str) -> Job | None:
        """The job of a token, if it is still known."""
        with self._lock:
            return self._jobs.get(token)


JOBS = Jobs()


def _finite(value: Any) -> Any:
    """JSON has no NaN: a gap instead."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


def _own(state: State) -> State:
    """A state without what it holds for other pictures."""
    return {k: v for k, v in state.items() if not (isinstance(v, dict) and "traces" in v)}


async def live(request: Request) -> Response:
    """GET /api/live?token[&stop=1][&slot=…]: {version, done, error, state}

    What a slot of the state holds, for a picture of its own, is told to those who ask for it.
    """
    job = JOBS.get(request.query_params.get("token", ""))
    headers = {"Cache-Control": "no-store"}
    if job is None:
        return JSONResponse({"error": "gone"}, 410, headers)
    job.asked = time.monotonic()
    if request.query_params.get("stop") == "1":
        job.stopping = True
    slot = request.query_params.get("slot")
    state = _own(job.state) if slot is None else job.state.get(slot, {})
    said = {"version": job.version, "done": job.done, "error": job.error}
    return JSONResponse(said | {"state": _finite(state)}, 200, headers)


ROUTES = [Route("/api/live", live)]
