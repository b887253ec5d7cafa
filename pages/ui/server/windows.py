"""Windows of live attentions over HTTP, so that a heatmap can zoom without a rerun of the page.

A page registers an attention and gets an unguessable token; the browser asks `/api/tile` with it.
An answer is as `engine.measure.answers` packs it.
"""

import base64
import gzip
import secrets
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import cast, get_args

import anyio
import anyio.from_thread
import anyio.to_thread
import plotly
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.contract import Colour, Pool, Refusal
from engine.measure.answers import packed
from engine.measure.attention import Attention
from pages.ui.server.desk import DESK, Store, out_of_memory
from pages.ui.server.owner import fault

LARGEST = 512  # cells a side
WAITING = 16  # questions of one visitor in the queue; more are told to come back
AT_ONCE = 128  # of all
SMALL = 1 << 14  # cells of a map that is sent with the page: it needs no question
PLOTLY = f"api/plotly.js?v={plotly.__version__}"


@dataclass(frozen=True)
class Entry:
    """A live attention, its token, and the names of its queries and keys."""

    attention: Attention
    token: str
    queries: tuple[str, ...] | None
    keys: tuple[str, ...] | None


def size_of(attention: Attention) -> int:
    """Bytes that an attention holds on to, about: Q, K and V of width 64, and its maps."""
    frame = attention.frame
    cells = min(frame.n, LARGEST) * min(frame.m, LARGEST)
    return 4 * frame.heads * (64 * (frame.n + 2 * frame.m) + 2 * cells)


class Registry:
    """Live attentions by token, kept among all that is kept."""

    def __init__(self, kept: Store) -> None:
        self._kept = kept
        self._lock = threading.Lock()

    def put(
        self,
        attention: Attention,
        name: Hashable = None,
        queries: tuple[str, ...] | None = None,
    ) -> str:
        """A token for this attention: the same one for the same attention (and name) again.

        Args:
            name: what decides the weights; an equal name later stands for the same weights even
                if the object is another, and keeps the token and the answers.
            queries: what the queries are called, where they are no keys.
        """
        called = "token", id(attention) if name is None else name
        with self._lock:
            entry = self.get(self._kept.get(called))
            if entry is None or (name is None and entry.attention is not attention):
                token, frame = secrets.token_urlsafe(24), attention.frame
                aligned = frame.tokens is not None and frame.n <= frame.m
                if queries is None and aligned and frame.tokens:
                    queries = frame.tokens[frame.m - frame.n :]
                entry = Entry(attention, token, queries, frame.tokens)
            self._kept.put(called, entry.token, len(entry.token))
            self._kept.put(("attention", entry.token), entry, size_of(attention))
            return entry.token

    def get(self, token: str | None) -> Entry | None:
        """The live attention of this token, if there is one."""
        return self._kept.get(("attention", token))


REGISTRY = Registry(DESK.kept)


@dataclass(frozen=True)
class Question:
    """One window of one head, checked and clamped."""

    head: int
    rows: tuple[int, int]
    cols: tuple[int, int]
    size: int
    pool: Pool
    colour: Colour


class Refused(ValueError):
    """A question that can't be answered; says what is allowed."""


def question(query: dict[str, str], attention: Attention) -> Question:
    """What a query string asks: numbers must be whole, ranges and sizes are clamped.

    Raises:
        Refused: something is missing, no number, or none of the choices.
    """
    frame = attention.frame

    def whole(key: str, default: int) -> int:
        try:
            return int(query.get(key, default))
        except ValueError:
            raise Refused(f"{key} must be a whole number") from None

    def span(first: str, last: str, total: int) -> tuple[int, int]:
        start = min(max(whole(first, 0), 0), total - 1)
        return start, max(min(whole(last, total), total), start + 1)

    def choice(key: str, default: str, allowed: tuple[str, ...]) -> str:
        value = query.get(key, default)
        if value not in allowed:
            raise Refused(f"{key} must be one of {', '.join(allowed)}")
        return value

    head = whole("head", 0)
    if not 0 <= head < frame.heads:
        raise Refused(f"head must be 0 … {frame.heads - 1}")
    return Question(
        head=head,
        rows=span("r0", "r1", frame.n),
        cols=span("c0", "c1", frame.m),
        size=min(max(whole("size", LARGEST), 1), LARGEST),
        pool=cast(Pool, choice("pool", "max", get_args(Pool))),
        colour=cast(Colour, choice("colour", "weight", get_args(Colour))),
    )


def answer(entry: Entry, asked: Question) -> bytes:
    """The header and the cells of one window."""
    return packed(
        entry.attention, asked.head, asked.rows, asked.cols, size=asked.size, pool=asked.pool,
        colour=asked.colour, queries=entry.queries, keys=entry.keys,
    )  # fmt: skip


def sent_along(token: str, head: int, pool: Pool, colour: Colour) -> str | None:
    """The whole of one head's map as the browser would be answered, in base64: with it a small
    map is drawn as soon as its page is. None for larger ones, and where it can't be computed."""
    entry = REGISTRY.get(token)
    if entry is None or entry.attention.frame.n * entry.attention.frame.m > SMALL:
        return None
    frame = entry.attention.frame
    asked = Question(head, (0, frame.n), (0, frame.m), LARGEST, pool, colour)
    key = "window", token, asked
    made = DESK.kept.get(key)
    if made is None:
        try:
            made = answer(entry, asked)
        except Exception:
            return None  # the browser asks, and is told why
        DESK.kept.put(key, made, len(made))
    return base64.b64encode(made).decode()


class Gone(Exception):
    """Whoever asked has left."""


def _obtained(request: Request, entry: Entry, asked: Question) -> bytes:
    """The answer, made once at the desk; in a thread of its own.

    Raises:
        Gone: nobody waits for it any more.
    """

    def here(_: float = 0) -> None:
        if anyio.from_thread.run(request.is_disconnected):
            raise Gone

    def work(_: object) -> bytes:
        here()
        return answer(entry, asked)

    key = "window", entry.token, asked
    who = _visitor(request)
    return DESK.obtain(key, work, len, here, here, kind="window", visitor=who)


def _visitor(request: Request) -> str:
    return request.client.host if request.client else ""


@cache
def _threads() -> anyio.CapacityLimiter:
    """Threads that wait for windows: of their own, so that all else has its own."""
    return anyio.CapacityLimiter(AT_ONCE)


def _sorry(status: int, words: str) -> JSONResponse:
    return JSONResponse({"error": words}, status, {"Cache-Control": "no-store"})


async def tile(request: Request) -> Response:
    """GET /api/tile?token&head&r0&r1&c0&c1&size&pool&colour"""
    entry = REGISTRY.get(request.query_params.get("token", ""))
    if entry is None:
        return _sorry(410, "this picture is no longer kept: it has to be drawn again")
    try:
        asked = question(dict(request.query_params), entry.attention)
    except Refused as error:
        return _sorry(400, str(error))
    own = DESK.waiting("window", _visitor(request))
    if own >= WAITING or DESK.waiting("window") >= AT_ONCE:
        return _sorry(503, "too many windows are being drawn: try again in a moment")
    try:
        packed = await anyio.to_thread.run_sync(
            partial(_obtained, request, entry, asked), limiter=_threads()
        )
    except Gone:
        return Response(status_code=499)
    except Refusal as error:
        return _sorry(422, str(error))
    except Exception as error:
        if out_of_memory(error):
            return _sorry(503, "there is not enough memory for this window")
        return _sorry(
            500, f"this window could not be computed; logged as {fault('window', error)}"
        )
    headers = {"Cache-Control": "no-store", "Content-Encoding": "identity"}
    return Response(packed, media_type="application/octet-stream", headers=headers)


@cache
def _plotly() -> tuple[bytes, bytes]:
    folder = Path(plotly.__file__).parent / "package_data"
    script = (folder / "plotly.min.js").read_bytes()
    return script, gzip.compress(script, 6)


async def plotly_script(request: Request) -> Response:
    """GET /api/plotly.js, the copy that plotly.py carries; the address names its version."""
    script, packed = await anyio.to_thread.run_sync(_plotly)
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(
            packed, media_type="text/javascript", headers=headers | {"Content-Encoding": "gzip"}
        )
    return Response(
        script, media_type="text/javascript", headers=headers | {"Content-Encoding": "identity"}
    )


ROUTES = [Route("/api/tile", tile), Route("/api/plotly.js", plotly_script)]
