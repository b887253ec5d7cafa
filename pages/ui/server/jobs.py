"""Work that is watched while it runs, in place: training, sweeps.

A job waits its turn at the desk in a thread of its own, and says its state, anything that JSON can
hold, as often as it likes; `/api/live` answers with what has changed. One that its person has left
ends: a hidden tab asks about once a minute, and a frozen one not at all, so that either a question
now and then or the session's being there keeps it.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from streamlit import runtime

from engine.contract import Refusal
from engine.runtime.threads import step_back
from engine.runtime.watch import watched
from pages.ui.server import owner
from pages.ui.server.desk import DESK, Desk, Kind, Trouble, out_of_memory
from pages.ui.server.limits import visitor
from pages.ui.server.owner import SECONDS, did
from pages.ui.shared.encoded import encoded
from pages.ui.shared.strings import language, speaker, spoken

WAITING = 64  # jobs that may wait
LEASE = 180.0  # seconds without a question after which a job without a session is given up
FORGOTTEN = 900.0  # seconds that a finished job's last state is kept

State = dict[str, Any]
Say = Callable[[State], None]
"""Called with a state; raises Stopped when the work is to end."""


class Stopped(BaseException):
    """The person stopped the work, or has gone; no fault, so that nothing mends it on the way."""


class Busy(Exception):
    """As many jobs wait as may wait."""


@dataclass(eq=False)
class Job:
    """One piece of work.

    Attributes:
        kind: which seats it waits for. session: of whoever started it; "" outside a page.
        state: as said so far. version: how often it was said. started: it has its seat.
        done: it has ended. error: "stopped", or why it ended in the words of whoever started it.
        result: what the work returned. asked: when someone last asked.
    """

    kind: Kind = "training"
    session: str = ""
    state: State = field(default_factory=dict)
    version: int = 0
    started: bool = False
    done: bool = False
    error: str | None = None
    result: Any = None
    asked: float = field(default_factory=time.monotonic)
    stopping: bool = False
    _said: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self) -> None:
        """Raises Stopped when the work is to end."""
        if self.stopping or not (
            time.monotonic() - self.asked <= LEASE or _is_there(self.session)
        ):
            raise Stopped

    def say(self, state: State) -> None:
        """Put a state where it is seen; what it leaves out stays as it was."""
        self.check()
        with self._lock:
            self.version += 1
            self.state = self.state | state
            self._said |= dict.fromkeys(state, self.version)

    def end(self, error: str | None) -> None:
        """Nothing more will be said."""
        with self._lock:
            self.done, self.error = True, error

    def since(self, version: int) -> dict[str, Any]:
        """What was said after a version, with the version it makes, and whether that is all."""
        with self._lock:
            state = {k: v for k, v in self.state.items() if self._said[k] > version}
            return {
                "version": self.version, "done": self.done, "error": self.error, "state": state
            }  # fmt: skip


def _is_there(session: str) -> bool:
    """True while a browser holds this session."""
    return bool(session) and runtime.exists() and runtime.get_instance().is_active_session(session)


class Jobs:
    """Jobs by token."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}

    def start(self, work: Callable[[Say], Any], kind: Kind = "training", needs: int = 0) -> str:
        """Start work, or have it wait its turn; its token.

        A session has one job of a kind: a new one takes the place of one that goes on.

        Args:
            needs: bytes that the work takes, at most.

        Raises:
            Busy: too many wait already.
        """
        job, token = Job(kind, visitor() or ""), secrets.token_urlsafe(16)
        now = time.monotonic()
        with self._lock:
            self._jobs = {
                t: j for t, j in self._jobs.items() if not j.done or now - j.asked <= FORGOTTEN
            }
            waiting = [j for j in self._jobs.values() if not j.started and not j.done]
            if len(waiting) >= WAITING:
                raise Busy
            for other in self._jobs.values():
                if job.session and (other.session, other.kind) == (job.session, kind):
                    other.stopping = True
            self._jobs[token] = job
            ticket = self._desk.ticket(kind, needs=needs, visitor=job.session or None)

        tag, words = language(), speaker()  # a thread has no page to ask
        said = -1

        def waiting_for(ahead: int) -> None:
            nonlocal said
            job.check()
            if ahead != said:
                job.say({"note": words("gate.queued", ahead=ahead)})
                said = ahead

        def run() -> None:
            step_back()
            error: str | None = None
            try:
                with self._desk.seat(ticket, waiting_for):
                    job.started = True
                    with watched(job.check), SECONDS.labels(kind).time(), did(kind):
                        job.result = work(job.say)
            except Stopped:
                error = "stopped"
            except Trouble as trouble:
                error = str(trouble)
            except Refusal as refusal:
                error = spoken(refusal, tag)
            except Exception as fault:
                if out_of_memory(fault):
                    error = words("error.memory")
                else:
                    error = words("error.fault", id=owner.fault(kind, fault))
            finally:
                job.end(error)

        # in the context of whoever started it, so that the log has one id for both
        threading.Thread(target=copy_context().run, args=(run,), daemon=True).start()
        return token

    def get(self, token: str) -> Job | None:
        """The job of a token, if it is still known."""
        with self._lock:
            return self._jobs.get(token)


JOBS = Jobs(DESK)
"""The jobs of this server."""


def _own(state: State) -> State:
    """A state without what it holds for other pictures."""
    return {k: v for k, v in state.items() if not (isinstance(v, dict) and "traces" in v)}


async def live(request: Request) -> Response:
    """GET /api/live?token[&since=…][&stop=1][&slot=…]: {version, done, error, state}

    The state is what was said after the version `since`; where `done` is true, nothing follows.
    What a slot of the state holds, for a picture of its own, is told to those who ask for it.
    """
    query = request.query_params
    job = JOBS.get(query.get("token", ""))
    headers = {"Cache-Control": "no-store"}
    if job is None:
        return JSONResponse({"error": "gone"}, 410, headers)
    job.asked = time.monotonic()
    if query.get("stop") == "1":
        job.stopping = True
    since, slot = query.get("since", ""), query.get("slot")
    said = job.since(int(since) if since.isdecimal() else 0)
    state = _own(said["state"]) if slot is None else said["state"].get(slot, {})
    return Response(encoded(said | {"state": state}), 200, headers, "application/json")


ROUTES = [Route("/api/live", live)]
