"""Text as a source: Q, K and V of a language model that reads it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from engine.contract import QKV
from engine.models import Model, load
from engine.models.embedded import EMBEDDED, folder_of


@lru_cache(2)
def _loaded(folder: str) -> Model:
    return load(folder)


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
