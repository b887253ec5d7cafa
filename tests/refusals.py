"""Refusals are tried as a user meets them: without the checks of annotations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine.contract import Refusal
from tests.typecheck import unchecked


@contextmanager
def refused(match: str | None = None) -> Iterator[pytest.ExceptionInfo[Refusal]]:
    """What happens inside is refused, by the engine's own checks and in words that match."""
    with unchecked(), pytest.raises(Refusal, match=match) as caught:
        yield caught
