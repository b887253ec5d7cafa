"""Files that save work: whole or not at all, and never worth a failure.

What is kept can be made again. So a file that can't be read is set aside, as `<name>.damaged`, and
made anew; a disk that is full or can't be written costs the keeping and not what was made; and a
folder holds at most so many bytes, what was used longest ago going first. Several processes may
share a folder: a file is put into its place in one step.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SET_ASIDE = ".damaged"
PART = ".part"
OLD = 3600.0
"""Seconds after which a part, a lock or what was set aside is nobody's any more."""

log = logging.getLogger(__name__)


def put(path: Path, write: Callable[[Path], object]) -> None:
    """Have a file written beside its place, and put it there.

    Raises:
        OSError: the disk is full, the folder can't be written, …
    """
    part = path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}{PART}")
    try:
        write(part)
        used(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def keep(path: Path, write: Callable[[Path], object], most_bytes: int) -> bool:
    """Put a file, and make room for it; False where the disk takes none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put(path, write)
        tidy(path.parent, most_bytes)
    except OSError as error:
        log.warning("%s is not kept: %s", path.name, error.strerror or type(error).__name__)
        return False
    return True


def set_aside(path: Path) -> None:
    """Take a file that can't be read out of the way, for its owner to look at."""
    with suppress(OSError):  # a disk that can't be written: it is passed over every time
        path.replace(path.with_name(path.name + SET_ASIDE))
    log.warning("%s is damaged, and made anew", path.name)


def used(path: Path) -> None:
    """It was used just now."""
    now = time.time_ns()  # to more than the system's tick
    with suppress(OSError):
        os.utime(path, ns=(now, now))


def tidy(folder: Path, most_bytes: int) -> None:
    """Remove what was used longest ago until the rest fits, and what was left behind."""
    now, kept = time.time(), []
    for path in folder.iterdir():
        try:
            stat = path.stat()
        except FileNotFoundError:  # another process tidies, too
            continue
        if path.suffix in (PART, SET_ASIDE, ".lock"):
            if now - stat.st_mtime > OLD:
                path.unlink(missing_ok=True)
        elif path.is_file():
            kept.append((stat.st_mtime_ns, stat.st_size, path))
    held = sum(size for _, size, _ in kept)
    for _, size, path in sorted(kept):
        if held <= most_bytes:
            return
        path.unlink(missing_ok=True)
        held -= size
