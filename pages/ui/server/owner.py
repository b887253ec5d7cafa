"""What the server's owner sees: requests and faults in the log, whether all is well, counters.

Every request and every run of a page has an id, which stands before all that the log says of it;
an answer has it as `X-Request-Id`. A fault has one more, which the person is told too. Where
strangers are served nothing that they wrote is logged: of a request its path, where it is one of
ours, without its query; of a fault its type and where it came up, and not its message.

`/health` says whether the server works, `/metrics` the counters in Prometheus' format.
"""

import logging
import secrets
import time
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import anyio.to_thread
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.runtime.owner import says
from engine.runtime.public import public
from pages.ui.server.desk import DESK, SEATS

OURS = ("/api/tile", "/api/live", "/api/thumbnail", "/api/plotly.js")
"""Paths that the log names; a look at the server's health is not worth a line."""
STUCK = 300.0  # seconds that the first in a queue waits in a server that is not well

log = logging.getLogger(__name__)

_request: ContextVar[str] = ContextVar("request", default="-")

COUNTERS = CollectorRegistry()
ProcessCollector(registry=COUNTERS)
NAME = "attention_explorer"
REFUSALS = Counter(f"{NAME}_refusals", "What could not be shown, and was said.", registry=COUNTERS)
FAULTS = Counter(f"{NAME}_faults", "What went wrong, and was logged.", registry=COUNTERS)
SECONDS = Histogram(
    f"{NAME}_work_seconds", "How long work took that was done.", ["kind"],
    buckets=(0.01, 0.1, 0.5, 1, 5, 20, 60, 300), registry=COUNTERS,
)  # fmt: skip
_waiting = Gauge(f"{NAME}_waiting", "How many wait for a seat.", ["kind"], registry=COUNTERS)
for _kind in SEATS:
    _waiting.labels(_kind).set_function(lambda kind=_kind: DESK.waiting(kind))
_running = Gauge(f"{NAME}_running", "How many have a seat.", registry=COUNTERS)
_running.set_function(DESK.running)
_kept = Gauge(f"{NAME}_kept_bytes", "What is kept of results, in memory.", registry=COUNTERS)
_kept.set_function(lambda: DESK.kept.held)


def speak() -> None:
    """Have requests and work logged, too, each on a line of standard error: for a server that
    strangers use."""
    lines = logging.StreamHandler()
    lines.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    log.propagate = False


def requested() -> str:
    """An id for what begins here, in this thread and those that take its context."""
    name = secrets.token_hex(4)
    _request.set(name)
    return name


@contextmanager
def did(kind: str) -> Iterator[None]:
    """Log how long work of a kind took, or that it was left."""
    began, end = time.monotonic(), "left"
    try:
        yield
        end = "done"
    finally:
        log.info("%s %s %s in %.3f s", _request.get(), kind, end, time.monotonic() - began)


def fault(place: str, error: BaseException) -> str:
    """Log what went wrong; its id.

    Args:
        place: what was being done, in the code's own words.
    """
    name = secrets.token_hex(4)
    FAULTS.inc()
    if public():
        at = traceback.extract_tb(error.__traceback__)[-6:]
        where = " > ".join(f"{x.filename.rpartition('/')[2]}:{x.lineno} {x.name}" for x in at)
        kind = type(error).__name__
        log.error("%s fault %s in %s: %s at %s", _request.get(), name, place, kind, where)
    else:
        log.error("%s fault %s in %s", _request.get(), name, place, exc_info=error)
    return name


async def health(_: Request) -> Response:
    """GET /health: 200 while work is done, 503 while the first in a queue has waited for long."""
    # in a worker, so that a server whose workers are all held is not called well
    waited = await anyio.to_thread.run_sync(DESK.longest)
    said = {"well": waited < STUCK, "waiting": DESK.waiting(), "running": DESK.running()}
    return JSONResponse(said, 200 if said["well"] else 503, {"Cache-Control": "no-store"})


async def metrics(_: Request) -> Response:
    """GET /metrics"""
    return Response(
        generate_latest(COUNTERS), headers={"Content-Type": CONTENT_TYPE_LATEST}
    )  # fmt: skip


ROUTES = [Route("/health", health), Route("/metrics", metrics)]


class Headers:
    """Puts into every answer what keeps browsers from being misled: no guessing of types, and no
    frames of other sites, but those that the owner says ("embed")."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        frames = f"'self' {says('embed')}".strip()
        self.said = [
            (b"x-content-type-options", b"nosniff"),
            (b"content-security-policy", f"frame-ancestors {frames}".encode()),
            (b"referrer-policy", b"same-origin"),  # a text may stand in an address
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                ours = {name for name, _ in self.said}
                kept = [pair for pair in message.get("headers", ()) if pair[0].lower() not in ours]
                message["headers"] = [*kept, *self.said]
            await send(message)

        await self.app(scope, receive, told if scope["type"] == "http" else send)


class Requests:
    """Gives each request over HTTP its id, and logs what became of those of OURS; any other path
    is a visitor's words."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name, began, status = requested(), time.monotonic(), 0

        async def told(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.get("headers", ())
                message["headers"] = [*headers, (b"x-request-id", name.encode())]
            await send(message)

        try:
            await self.app(scope, receive, told)
        finally:
            if scope["path"] in OURS:
                spent = time.monotonic() - began
                log.info("%s %s %s in %.3f s", name, scope["path"], status or "left", spent)


MIDDLEWARE = [Middleware(Headers), Middleware(Requests)]
