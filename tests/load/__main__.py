"""Many at once, in one server on this machine: `python -m tests.load [--sessions 50]`.

Each session opens Explore and changes text, mechanism and head in turn, as a page in a browser
does, over its own websocket, and looks at each picture for a while (`--look`, seconds); beside
them run one long text and one sweep. Prints a table of what they waited for, the server's memory
at its highest, and its faults; ends with 1 where a bound of docs/serving.md is not kept. Nothing
but loopback is asked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

ROOT = Path(__file__).parents[2]
SAMPLES = ("lamp", "harbour")
MECHANISMS = ("softmax", "window", "segmented", "lsh", "linformer", "kmeans", "ssmax", "routing")
MOST_MEMORY, MOST_FIRST, TIMES = 2.5e9, 4.0, 3.0
"""Bytes of the server, seconds of a first answer at the median, times of its own that a later
answer takes at most, waiting and all, at the median."""


@dataclass
class Seen:
    """What came of all sessions: seconds of first answers and of the later ones; what failed."""

    first: list[float] = field(default_factory=list)
    later: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@contextmanager
def served(folder: str) -> Iterator[tuple[str, int]]:
    """A server of its own: its address without a scheme, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"ATTENTION_EXPLORER_CACHE": folder, "ATTENTION_EXPLORER_PUBLIC": "1"}
    command = [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}"]
    server = subprocess.Popen(command, cwd=ROOT, env=os.environ | own)
    where = f"127.0.0.1:{port}"
    try:
        for _ in range(400):
            try:
                urllib.request.urlopen(f"http://{where}/_stcore/health", timeout=1)
                break
            except OSError:
                time.sleep(0.25)
        yield where, server.pid
    finally:
        server.terminate()
        server.wait(20)


async def run(socket_: websockets.ClientConnection, query: dict[str, str], page: str) -> str:
    """One run of a page's script, to its end; what went wrong in it, "" for nothing."""
    asked = BackMsg()
    asked.rerun_script.query_string = urlencode(query)
    asked.rerun_script.page_name = page
    asked.rerun_script.context_info.locale = "en"
    await socket_.send(asked.SerializeToString())
    wrong, begun = "", False
    while True:
        data = await socket_.recv()
        message = ForwardMsg()
        message.ParseFromString(data if isinstance(data, bytes) else data.encode())
        kind = message.WhichOneof("type")
        if kind == "new_session":
            begun = True
        elif kind == "delta" and message.delta.new_element.WhichOneof("type") == "exception":
            wrong = message.delta.new_element.exception.message
        elif kind == "script_finished" and begun:
            return wrong


async def session(
    where: str, seen: Seen, number: int, changes: int, look: float, page: str = "explore",
    **query: str,
) -> None:  # fmt: skip
    """A visitor who opens a page, and changes what it shows."""
    draw = random.Random(number)
    await asyncio.sleep(draw.random() * 2)  # a hall opens the link within two seconds
    address = f"ws://{where}/_stcore/stream"
    async with websockets.connect(address, max_size=None, subprotocols=["streamlit"]) as socket_:
        for i in range(changes + 1):
            began = time.monotonic()
            wrong = await run(socket_, query, page)
            (seen.later if i else seen.first).append(time.monotonic() - began)
            if wrong:
                seen.failed.append(f"{query}: {wrong}")
            kind = ("text", "mechanism", "head")[i % 3]
            if kind == "text":
                query |= {"sample": draw.choice(SAMPLES)}
            elif kind == "mechanism":
                query |= {"mechanism": draw.choice(MECHANISMS)}
            else:
                query |= {"head": str(draw.randrange(4))}
            await asyncio.sleep(draw.uniform(0.5, 1.5) * look)


async def watch(pid: int, where: str, most: list[int], done: asyncio.Event) -> None:
    """The server's memory, once a second, and that it answers."""
    while not done.is_set():
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        most.append(pages * os.sysconf("SC_PAGE_SIZE"))
        await asyncio.to_thread(urllib.request.urlopen, f"http://{where}/health", None, 60)
        await asyncio.sleep(1)


async def load(
    where: str, pid: int, sessions: int, changes: int, look: float
) -> dict[str, object]:
    """All of them, and what came of it."""
    alone, seen, beside = Seen(), Seen(), Seen()
    await session(where, alone, 0, changes, 0.5)
    memory: list[int] = []
    done = asyncio.Event()
    watching = asyncio.create_task(watch(pid, where, memory, done))
    long = {"source": "planted", "s.n": "16384", "s.heads": "1", "mechanism": "window"}
    sweep = {"lab": "measured", "sweep.of": "softmax,window", "sweep.lengths": "256,1024"}
    await asyncio.gather(
        session(where, beside, 1000, 0, 0, **long),
        session(where, beside, 1001, 0, 0, page="dilution", **sweep),
        *(session(where, seen, i, changes, look) for i in range(1, sessions + 1)),
    )
    done.set()
    await watching
    counters = urllib.request.urlopen(f"http://{where}/metrics").read().decode()
    faults = next(
        float(line.split()[1])
        for line in counters.splitlines()
        if line.startswith("attention_explorer_faults_total")
    )
    own = statistics.median(alone.later)
    return {
        "sessions": sessions,
        "changes of each": changes,
        "looked at each, s": look,
        "first answer, median s": round(statistics.median(seen.first), 2),
        "first answer, slowest s": round(max(seen.first), 2),
        "later answer alone, median s": round(own, 2),
        "later answer, median s": round(statistics.median(seen.later), 2),
        "later answer, slowest s": round(max(seen.later), 2),
        "times its own, median": round(statistics.median(seen.later) / own, 1),
        "of these waited": round(max(0.0, statistics.median(seen.later) / own - 1), 1),
        "16,384 tokens beside, s": round(beside.first[0], 1),
        "memory at most, MB": round(max(memory) / 1e6),
        "faults": faults,
        "failed": seen.failed + beside.failed,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--changes", type=int, default=10)
    parser.add_argument("--look", type=float, default=1.25, help="seconds at each picture, about")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served(folder) as (where, pid):
        found = asyncio.run(load(where, pid, asked.sessions, asked.changes, asked.look))
    print(json.dumps(found, indent=2))
    kept = (
        not found["failed"]
        and not found["faults"]
        and float(str(found["memory at most, MB"])) * 1e6 < MOST_MEMORY
        and float(str(found["first answer, median s"])) < MOST_FIRST
        and float(str(found["times its own, median"])) <= TIMES
    )
    print("all bounds are kept" if kept else "a bound is not kept")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
