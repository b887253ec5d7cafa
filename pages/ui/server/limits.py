"""What this server gives one visitor: on a person's own machine all that it has, in public so much
that nobody takes it from the others."""

import os
from dataclasses import dataclass
from math import inf

from streamlit.runtime.scriptrunner import get_script_run_ctx

from engine.runtime.public import public

GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """Bounds of one visitor's wishes.

    Attributes:
        work: bytes that one result may need while it is made. seconds: that it may take; job: that
            a sweep may take, which runs beside.
        upload: bytes that an upload may unpack to. text: characters of one text.
        share: of what is kept in memory (results, or uploads), that one visitor's may be.
    """

    work: int
    seconds: float
    job: float
    upload: int
    text: int
    share: float


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return 16 * GIB


OWN = Limits(_memory(), inf, inf, GIB // 2, 2_000_000, 1.0)
PUBLIC = Limits(3 * GIB, 60.0, 600.0, GIB // 16, 200_000, 0.25)


def limits() -> Limits:
    """Those in force."""
    return PUBLIC if public() else OWN


def visitor() -> str | None:
    """Who is being served: their session; None outside of a page."""
    page = get_script_run_ctx(suppress_warning=True)
    return page.session_id if page else None
