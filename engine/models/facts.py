"""What can be said of a model before any of its weights is read: how large it is, and whose."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

from engine.models.files import (
    check_files,
    complete,
    here,
    on_hub,
    settings_in,
    unreachable,
)
from engine.models.loading import dtype_of
from engine.models.masks import ModelError
from engine.runtime.devices import pick

Place = Literal["here", "hub"]


@dataclass(frozen=True)
class Facts:
    """A model as its files tell of it.

    Attributes:
        name: what it is called. kind: its type, as transformers calls it; "" unknown.
        place: "here", on this machine, or "hub", where it would be fetched from.
        bytes: of its weights as they are kept. parameters: how many; None unknown.
        memory: bytes that its weights take once it is open; None unknown.
        licence: as its card names it; "" unknown.
    """

    name: str
    kind: str
    place: Place
    bytes: int
    parameters: int | None
    memory: int | None
    licence: str


def describe(said: str) -> Facts:
    """What is known of a model without opening it, and without fetching it from the hub.

    Args:
        said: as of `files.find`.

    Raises:
        ModelError: there is no such model, or it can't be read; the message says why.
    """
    folder, name, revision = here(said)
    if folder is not None:
        settings = settings_in(folder, name)
        weights = list(folder.glob("*.safetensors"))
        try:
            parameters = sum(map(parameters_in, weights))
            licence = settings.get("license") or licence_in(folder / "README.md")
            size = sum(file.stat().st_size for file in weights)
        except Exception as error:  # what is not what it is called fails in many ways
            raise ModelError("the weights of '{name}' are damaged", name=name) from error
        return _facts(name, "here", settings, size, parameters, str(licence))
    try:
        info = on_hub(name, revision, files_metadata=True)
    except ConnectionError as error:
        raise unreachable(name) from error
    files = {f.rfilename: f.size or 0 for f in info.siblings or ()}
    check_files(files, name)
    size = sum(n for file, n in files.items() if file.endswith(".safetensors"))
    total = info.safetensors and info.safetensors.total
    licence = (info.card_data and info.card_data.get("license")) or ""
    return _facts(name, "hub", info.config or {}, size, total, str(licence))


def _facts(
    name: str, place: Place, settings: dict[str, Any], size: int, parameters: int | None,
    licence: str,
) -> Facts:  # fmt: skip
    each = dtype_of(settings, pick()).itemsize
    memory = None if parameters is None else parameters * each
    kind = str(settings.get("model_type") or "")
    return Facts(name, kind, place, size, parameters, memory, licence)


def parameters_in(file: Path) -> int:
    """How many numbers a file of weights holds, by its header (safetensors format)."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        if length > file.stat().st_size:
            raise ModelError("the weights of '{name}' are damaged", name=file.name)
        header = json.loads(opened.read(length))
    return sum(prod(x["shape"]) for name, x in header.items() if name != "__metadata__")


def licence_in(card: Path) -> str:
    """The licence that a model's card names in its first lines; "" if it names none."""
    if not card.is_file():
        return ""
    top = re.match(r"---\n(.*?)\n---", card.read_text("utf-8", "replace"), re.DOTALL)
    found = re.search(r"^license:[ \t]*['\"]?([^'\"\n]+)", top[1] if top else "", re.MULTILINE)
    return found[1].strip() if found else ""


def in_cache() -> dict[str, int]:
    """The models in the hub's cache on this machine that are all there: name -> bytes of their
    weights."""
    from huggingface_hub import constants

    found = {}
    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*")):
        name = folder.name.removeprefix("models--").replace("--", "/")
        main = folder / "refs" / "main"
        if not main.is_file():
            continue
        kept = folder / "snapshots" / main.read_text("utf-8").strip()
        if kept.is_dir() and complete(kept):
            found[name] = sum(file.stat().st_size for file in kept.glob("*.safetensors"))
    return found


def arrived(name: str) -> int:
    """Bytes of a hub's model that have come into the cache so far."""
    from huggingface_hub import constants

    blobs = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "blobs"
    sizes = []
    for file in blobs.glob("*"):
        try:
            sizes.append(file.stat().st_size)
        except FileNotFoundError:  # it was just given its name
            continue
    return sum(sizes)


def free_memory() -> int | None:
    """Bytes of memory that could be had now; None where the system doesn't say."""
    said = Path("/proc/meminfo")
    if not said.is_file():
        return None
    found = re.search(r"^MemAvailable:\s*(\d+) kB", said.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else None
