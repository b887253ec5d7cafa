"""Text as a source: Q, K and V of a language model that reads it."""

from __future__ import annotations

import threading
from pathlib import Path

from engine.contract import QKV
from engine.models import Model, load
from engine.models.embedded import EMBEDDED, folder_of

MOST = 2
"""Models that are kept open."""

_open: dict[str, Model] = {}
_lock = threading.RLock()


def lend(folder: str, model: Model) -> None:
    """Have those who name this folder, or hub id, read with a model that is open already."""
    with _lock:
        _open.pop(folder, None)
        _open[folder] = model
        while len(_open) > MOST:
            del _open[next(iter(_open))]


def _loaded(folder: str) -> Model:
    with _lock:
        model = _open.get(folder) or load(folder)
        lend(folder, model)  # the last one used
        return model


def reader_of(model: Model | str | Path | None) -> Model:
    """A model as it is, or opened by its name here, from a folder or hub id; the embedded one if
    None.

    Raises:
        ValueError: it can't be opened.
    """
    chosen = model or EMBEDDED
    return _loaded(folder_of(str(chosen))) if isinstance(chosen, (str, Path)) else chosen


def text(
    text: str,
    model: Model | str | Path | None = None,
    layer: int = 0,
    characters: bool = False,
) -> QKV:
    """Q, K and V of one layer of a language model that reads this text.

    Args:
        model: a loaded model, or a folder or hub id; the embedded one if None. layer: from 0.
        characters: it reads character by character.

    Raises:
        ValueError: the text is empty, there is no such layer, or the model can't be opened.
    """
    return reader_of(model).read(text, characters=characters).layer(layer)
