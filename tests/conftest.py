"""Shapes and types in annotations are checked while the tests run."""

from jaxtyping import install_import_hook

# not engine.contract: its Self and its circular names can't be resolved from outside
CHECKED = (
    "cells", "comparison", "composed", "effort", "mechanisms", "metrics", "normalisers",
    "online", "patterns", "positions", "probes", "projection", "scoring", "sources", "spectra",
    "stored", "stream", "threads", "tiles",
)  # fmt: skip

install_import_hook([f"engine.{name}" for name in CHECKED], "beartype.beartype")
