"""The parts of the foundations course in their order: key -> what draws it."""

from collections.abc import Callable

PARTS: dict[str, Callable[[], None]] = {}
