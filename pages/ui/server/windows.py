"""Windows of live attentions over HTTP, so that a heatmap can zoom without a rerun of the page.

A page registers an attention and gets an unguessable token; the browser asks `/api/tile` with it.
An answer is the length of a header (four bytes, little-endian), the header as JSON, padded to a
multiple of four bytes, and the cells as float32, row by row; cells that no pair may fill are NaN.
"""

import asyncio
import gzip
import json
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import cast, get_args

import anyio.to_thread
import numpy as np
import plotly
import torch
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.contract import Colour, Pool
from engine.measure.attention import Attention
from engine.text.tokens import shortened
from pages.ui.shared.finite import finite

LARGEST = 512  # cells a side
ROOM = 2**30  # bytes of attentions kept, about
LIFE = 3600.0  # seconds without a question
KEPT = 12  # answers kept an attention
WAITING = 16  # questions in the queue; more are told to come back
LABEL = 9  # characters of a token in an answer
PLOTLY = f"api/plotly.js?v={plotly.__version__}"

log = logging.getLogger(__name__)


@dataclass
class Entry:
    """A live attention, the names of its queries and keys, its bytes, and its latest answers."""

    attention: Attention
    queries: tuple[str, ...] | None
    keys: tuple[str, ...] | None
    size: int = 0
    used: float = 0.0
    answers: OrderedDict[Hashable, bytes] = field(default_factory=OrderedDict)


def size_of(attention: Attention) -> int:
    """Bytes that an attention holds on to, about: Q, K, V of width 64, its maps, its answers."""
    frame = attention.frame
    cells = min(frame.n, LARGEST) * min(frame.m, LARGEST)
    return 4 * (frame.heads * (64 * (frame.n + 2 * frame.m) + 2 * cells) + KEPT * cells)


class Registry:
    """Live attentions by token; the least recently used, and those long unasked, are let go."""

    def __init__(self, room: int = ROOM, life: float = LIFE) -> None:
        self._room, self._life = room, life
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._names: dict[Hashable, str] = {}
        self._lock = threading.Lock()

    def put(self, attention: Attention, name: Hashable = None) -> str:
        """A token for this attention: the same one for the same attention (and name) again.

        Args:
            name: what decides the weights; an equal name later stands for the same weights even
                if the object is another, and keeps the token and the answers.
        """
        name = id(attention) if name is None else name
        with self._lock:
            token = self._names.get(name)
            entry = self._entries.get(token) if token else None
            if token is None or entry is None:
                token = secrets.token_urlsafe(24)
                frame = attention.frame
                aligned = frame.tokens is not None and frame.n <= frame.m
                queries = frame.tokens[frame.m - frame.n :] if aligned and frame.tokens else None
                entry = Entry(attention, queries, frame.tokens, size_of(attention))
                self._names[name] = token
            entry.attention, entry.used = attention, time.monotonic()
            self._entries[token] = entry
            self._entries.move_to_end(token)
            self._expire()
            return token

    def get(self, token: str) -> Entry | None:
        """The live attention of this token, if there is one."""
        with self._lock:
            self._expire()
            entry = self._entries.get(token)
            if entry is not None:
                entry.used = time.monotonic()
                self._entries.move_to_end(token)
            return entry

    def _expire(self) -> None:
        oldest = time.monotonic() - self._life
        held = sum(entry.size for entry in self._entries.values())
        while self._entries:
            token, entry = next(iter(self._entries.items()))
            full = held > self._room and len(self._entries) > 1
            if not full and entry.used >= oldest:
                break
            held -= entry.size
            del self._entries[token]
            self._names = {name: kept for name, kept in self._names.items() if kept != token}


REGISTRY = Registry()


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
    key: Hashable = asked
    if key in entry.answers:
        return entry.answers[key]
    attention, frame = entry.attention, entry.attention.frame
    (r0, r1), (c0, c1) = asked.rows, asked.cols
    with torch.inference_mode():
        maps = attention.heatmap(
            asked.size, asked.pool, rows=slice(r0, r1), cols=slice(c0, c1), colour=asked.colour
        )
    cells = maps[asked.head].float().cpu().numpy().astype("<f4", copy=True)
    tall, wide = -(-(r1 - r0) // asked.size), -(-(c1 - c0) // asked.size)
    tops, lefts = np.arange(r0, r1, tall), np.arange(c0, c1, wide)
    if frame.causal:
        last_seen = np.minimum(tops + tall, r1) - 1 + frame.offset
        cells[lefts > last_seen[:, None]] = np.nan
    some = bool(np.isfinite(cells).any())
    header = {
        "shape": cells.shape,
        "rows": asked.rows,
        "cols": asked.cols,
        "cell": (tall, wide),
        "top": float(np.nanmax(cells)) if some else 0.0,
        "bottom": float(np.nanmin(cells)) if some else 0.0,
        "queries": _names(entry.queries, tops, tall, r1),
        "keys": _names(entry.keys, lefts, wide, c1),
    }
    said = json.dumps(finite(header)).encode()
    said += b" " * (-len(said) % 4)
    packed = len(said).to_bytes(4, "little") + said + cells.tobytes()
    entry.answers[key] = packed
    while len(entry.answers) > KEPT:
        entry.answers.popitem(last=False)
    return packed


def _names(tokens: tuple[str, ...] | None, starts: np.ndarray, step: int, stop: int) -> list[str]:
    if tokens is None:
        return []
    if step == 1:
        return [shortened(tokens[i], LABEL) for i in starts.tolist()]
    ends = [min(i + step, stop) for i in starts.tolist()]
    shown = (
        shortened("".join(tokens[i:end][:4]), LABEL) for i, end in zip(starts, ends, strict=True)
    )
    return [text if text.endswith("…") else f"{text}…" for text in shown]


class Queue:
    """One window at a time is computed; whoever has left meanwhile is not computed for."""

    def __init__(self, waiting: int = WAITING) -> None:
        self._waiting, self._most = 0, waiting
        self._turn: asyncio.Semaphore | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def full(self) -> bool:
        """True if a further question should come back later."""
        return self._waiting >= self._most

    async def run(self, request: Request, entry: Entry, asked: Question) -> bytes | None:
        """The answer, or None if whoever asked has gone."""
        loop = asyncio.get_running_loop()
        if self._turn is None or self._loop is not loop:
            self._turn, self._loop = asyncio.Semaphore(1), loop
        self._waiting += 1
        try:
            async with self._turn:
                if await request.is_disconnected():
                    return None
                return await anyio.to_thread.run_sync(answer, entry, asked)
        finally:
            self._waiting -= 1


QUEUE = Queue()


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
    if QUEUE.full():
        return _sorry(503, "too many windows are being drawn: try again in a moment")
    try:
        packed = await QUEUE.run(request, entry, asked)
    except ValueError as error:
        return _sorry(422, str(error))
    except (RuntimeError, MemoryError):  # torch: out of memory
        log.exception("a window could not be computed: %s", asked)
        return _sorry(503, "this window could not be computed")
    if packed is None:
        return Response(status_code=499)
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
