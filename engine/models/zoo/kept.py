"""The cards that lie beside the models, as they are: reading them needs no model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.models.zoo.recipes import KINDS, SEEDS
from engine.runtime.paths import ZOO

Card = Mapping[str, Any]
"""What card.json holds: "training", and "measured" once it is."""


def measured(folder: Path | None = None) -> dict[str, Card]:
    """name -> the card of every model that is measured, in the order of the list.

    Args:
        folder: where they lie; that of the project if None.
    """
    found = {}
    for name in (*KINDS, *SEEDS):
        file = (folder or ZOO) / name / "card.json"
        if file.exists() and "measured" in (card := json.loads(file.read_text("utf-8"))):
            found[name] = card
    return found
