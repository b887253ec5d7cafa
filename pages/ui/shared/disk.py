"""Where the app keeps things from run to run."""

import os
from pathlib import Path


def folder(of: str) -> Path:
    """A kind of them ("sweeps", "fits"): in $ATTENTION_EXPLORER_CACHE, or the user's cache."""
    named = os.environ.get("ATTENTION_EXPLORER_CACHE")
    return (Path(named) if named else Path.home() / ".cache" / "attention-explorer") / of
