"""What the owner of a server says: in the environment, or in `explorer.toml` beside app.py.

`public = true` in the file is what `ATTENTION_EXPLORER_PUBLIC=1` is in the environment, which is
heard where both speak. The file is read once.
"""

import os
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from engine.runtime.paths import ROOT

FILE = ROOT / "explorer.toml"
NAMES = ("public", "models", "cache", "embed", "mechanisms")


def says(name: str) -> str:
    """What is said under one of NAMES; "" for nothing.

    Raises:
        ValueError: the file is no TOML, or says something that isn't known: a misspelt "public"
            must not leave a server open.
    """
    return os.environ.get(f"ATTENTION_EXPLORER_{name.upper()}") or _file(FILE).get(name, "")


def folder() -> Path:
    """Where the app keeps things from run to run: where that is said, or in the user's cache."""
    named = says("cache")
    return Path(named) if named else Path.home() / ".cache" / "attention-explorer"


@cache
def _file(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} can't be read: {error}") from error
    if unknown := sorted(found.keys() - set(NAMES)):
        raise ValueError(f"{path.name} may say {', '.join(NAMES)}, but says {', '.join(unknown)}")
    return {name: _text(value, f"{name} in {path.name}") for name, value in found.items()}


def _text(value: Any, what: str) -> str:
    """As it stands in the environment."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and all(isinstance(x, str) for x in value.values()):
        return "\n".join(f"{key}={x}" for key, x in value.items())
    raise ValueError(f"{what} must be true, false, text, or a table of texts")
