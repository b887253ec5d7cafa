"""Refusals are tried as a user meets them: without the checks of annotations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jaxtyping
import pytest

from engine.contract import Refusal


@contextmanager
def unchecked() -> Iterator[None]:
    """Annotations are not checked inside: what happens is what happens to a user."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@contextmanager
def refused(match: str | None = None) -> Iterator[pytest.ExceptionInfo[Refusal]]:
    """What happens inside is refused, by the engine's own checks and in words that match."""
    with unchecked(), pytest.raises(Refusal, match=match) as caught:
        yield caught
