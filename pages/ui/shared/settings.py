"""A mechanism's parameters in words."""

from collections.abc import Callable
from typing import Any

from engine.mechanisms import MECHANISMS
from engine.spec.spelling import declarations
from pages.ui.shared import strings


def setting(mechanism: str, name: str, value: Any, t: Callable[..., str] = strings.t) -> str:
    """One parameter and its value, as people read them.

    Args:
        t: words, where no page runs.
    """
    stem = f"mechanism.{mechanism}.param.{name}"
    if declarations(MECHANISMS, mechanism)[name].choices:
        return f"{t(stem)} {t(f'{stem}.{value}')}"
    if isinstance(value, bool):
        return f"{t(stem)} {'✓' if value else '✗'}"
    return f"{t(stem)} {value:g}" if isinstance(value, float) else f"{t(stem)} {value}"
