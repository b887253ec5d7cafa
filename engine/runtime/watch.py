"""Work that ends soon after nobody wants it: somebody looks between operations of torch.

A mode of torch's, so that nothing that computes has to know: of every operation that Python calls
it asks the clock, and now and then the one who watches, who may raise. A single operation runs to
its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch.overrides import TorchFunctionMode

EVERY = 0.1
"""Seconds between looks."""
Look = Callable[[], None]

_watching: ContextVar[Look | None] = ContextVar("watching", default=None)


class _Between(TorchFunctionMode):
    def __init__(self, look: Look) -> None:
        super().__init__()
        self.look, self.next = look, time.monotonic() + EVERY

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if (now := time.monotonic()) >= self.next:
            self.next = now + EVERY
            self.look()
        return func(*args, **(kwargs or {}))


@contextmanager
def watched(look: Look) -> Iterator[None]:
    """Have `look` called every tenth of a second, between operations; what it raises ends them."""
    token = _watching.set(look)
    try:
        with _Between(look):
            yield
    finally:
        _watching.reset(token)


def watching() -> Look | None:
    """Who looks at what this thread does; None for nobody."""
    return _watching.get()
