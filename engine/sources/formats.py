"""How a file of arrays is opened: .npz, .npy, .safetensors, and what torch saved.

A file of torch (.pt) is opened with `weights_only` so that no code in it is run; pickles are never
read. Tokens: an array of strings `tokens` in .npz, a JSON list under "tokens" in the metadata of
.safetensors, a list in what torch saved. What the arrays mean is in arrays.py.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.contract import Refusal

LARGEST = 2**29
"""Bytes that a file may unpack to."""
SAVED = (".pt", ".pth", ".bin")
"""Endings of what torch saved."""


def unpacked(source: str | Path | bytes, name: str = "", most: int = LARGEST) -> Any:
    """What a file holds, as its format does.

    Args:
        source: a path, or the file's bytes.
        name: the file's name, for its ending and for refusals; the path's own by default.
        most: bytes that it may unpack to.

    Returns:
        A NumPy array of .npy; arrays or tensors by name of .npz and .safetensors; of torch, what
        was saved: a tensor, or numbers, lists, tuples and dictionaries of tensors.

    Raises:
        ValueError: not such a file, pickled, locked, damaged or too large; says which.
        OSError: the path can't be read.
    """
    if not isinstance(source, bytes):
        path = Path(source)
        name = name or path.name
        if path.stat().st_size > most:
            raise Refusal("{name} is larger than {mib} MiB", name=name, mib=most >> 20)
        source = path.read_bytes()
    if not source:
        raise Refusal("{name} is empty", name=name or Refusal("the file"))
    if len(source) > most:
        raise Refusal("{name} is larger than {mib} MiB", name=name, mib=most >> 20)
    ending = Path(name).suffix.lower()
    if ending == ".npy":
        return _npy(source)
    if ending in SAVED:
        return _torch(source, most)
    if ending == ".npz" or (not ending and source[:2] == b"PK"):
        return _npz(source, most)
    if ending == ".safetensors":
        return _safetensors(source)
    raise Refusal(
        "{name} is none of .npz, .npy, .safetensors and .pt; other kinds are not read", name=name
    )


def _npy(data: bytes) -> np.ndarray:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except ValueError as error:
        _pickled(error)
        raise Refusal("not a readable .npy file: {reason}", reason=error) from None
    except Exception:  # numpy's own share no type
        raise Refusal("not a readable .npy file: damaged, or of another kind") from None


def _pickled(error: ValueError) -> None:
    if "pickle" in str(error).lower() or "object" in str(error).lower():
        raise Refusal(
            "the file holds pickled objects, which are never read; save plain arrays"
        ) from None


def _torch(data: bytes, most: int) -> Any:
    """What torch saved, as plain tensors, numbers, lists and dictionaries alone."""
    _unpacks(data, most)
    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have their own
        raise Refusal(
            "the file is not one of plain tensors: save `outputs.attentions` itself by "
            "torch.save, and not all of the outputs"
        ) from error
    _bounded(found, most)
    return found


def _bounded(found: Any, most: int) -> None:
    """Tensors may claim to be larger than what was stored of them."""
    parts = list(found.values()) if isinstance(found, Mapping) else found
    total = 0
    if isinstance(parts, Tensor):
        total = parts.numel() * parts.element_size()
    elif isinstance(parts, (list, tuple)):
        for part in parts:
            _bounded(part, most)
            total += part.numel() * part.element_size() if isinstance(part, Tensor) else 0
    if total > most:
        raise Refusal("the arrays unpack to more than {mib} MiB", mib=most >> 20)


def _unpacks(data: bytes, most: int) -> None:
    if data[:2] == b"PK":
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as file:
                total = sum(i.file_size for i in file.infolist())
                locked = any(i.flag_bits & 1 for i in file.infolist())
        except Exception:  # a damaged one raises many kinds; whoever reads it says so in words
            return
        if total > most:
            raise Refusal("the arrays unpack to more than {mib} MiB", mib=most >> 20)
        if locked:
            raise Refusal("the file is encrypted; save it without a password")


def _npz(data: bytes, most: int) -> dict[str, Any]:
    _unpacks(data, most)
    try:
        zipfile.ZipFile(io.BytesIO(data)).close()
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {k: file[k] for k in file.files}
    except ValueError as error:
        _pickled(error)
        raise Refusal("not a readable .npz file: {reason}", reason=error) from None
    except Exception:  # zipfile's, zlib's and numpy's own share no type
        raise Refusal("not a readable .npz file: damaged, or of another kind") from None


def _safetensors(data: bytes) -> dict[str, Any]:
    from safetensors.torch import load

    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        found: dict[str, Any] = dict(load(data))
        tokens = header.get("__metadata__", {}).get("tokens")
        if tokens is not None:
            found["tokens"] = json.loads(tokens)
    except Exception:  # the library's own errors share no type
        raise Refusal("not a readable .safetensors file: damaged, or of another kind") from None
    return found
