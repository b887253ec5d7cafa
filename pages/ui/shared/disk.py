"""Where the app keeps things from run to run."""

from pathlib import Path

from engine.runtime import owner


def folder(of: str) -> Path:
    """A kind of them ("sweeps", "fits")."""
    return owner.folder() / of
