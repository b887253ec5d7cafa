"""Shapes and types in annotations are checked while the tests run."""

from hypothesis import settings
from jaxtyping import install_import_hook

# the same cases on every run; other ones: pytest --hypothesis-profile=explore
settings.register_profile("steady", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile("steady")

# not engine.contract: its Self and its circular names can't be resolved from outside
CHECKED = (
    "cells", "comparison", "composed", "effort", "mechanisms", "metrics", "normalisers",
    "online", "patterns", "positions", "probes", "projection", "scoring", "sources", "spectra",
    "stored", "stream", "threads", "tiles",
)  # fmt: skip

install_import_hook([f"engine.{name}" for name in CHECKED], "beartype.beartype")
