"""A person's own arrays: q, k and v, or attention weights, from .npz or .safetensors.

Arrays, by name: `q` (h n d), `k` (g m d), `v` (g m e), or `weights` (h n m) with, if wanted, `v`;
a missing head axis is one head, a leading axis of one (a batch) is dropped. Also `key_mask` (m),
`causal`, `scale`. Tokens: an array of strings `tokens` in .npz, a JSON list under "tokens" in the
metadata of .safetensors. Pickles are never read.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.contract import QKV, Origin, Refusal
from engine.measure.attention import Attention
from engine.text.units import group_units

LARGEST = 2**29
"""Bytes that a file may unpack to."""
NAMES = ("q", "k", "v", "weights", "tokens", "key_mask", "causal", "scale")


def read(source: str | Path | bytes, name: str = "", most: int = LARGEST) -> QKV | Attention:
    """Q, K, V or weights out of a file.

    Args:
        source: a path, or the file's bytes.
        name: the file's name, for its ending and for the badge; the path's own by default.
        most: bytes that it may unpack to.

    Raises:
        ValueError: not such a file, pickled, too large, arrays missing, of wrong shape, or not
            finite; says which.
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
    if ending == ".npz" or (not ending and source[:2] == b"PK"):
        found = _npz(source, most)
    elif ending == ".safetensors":
        found = _safetensors(source)
    else:
        raise Refusal(
            "{name} is neither .npz nor .safetensors; other kinds are not read", name=name
        )
    return _made(found, Origin("arrays", name))


def _npz(data: bytes, most: int) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            total = sum(i.file_size for i in file.infolist())
            locked = any(i.flag_bits & 1 for i in file.infolist())
        if total > most:
            raise Refusal("the arrays unpack to more than {mib} MiB", mib=most >> 20)
        if locked:
            raise Refusal("the file is encrypted; save it without a password")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {k: file[k] for k in file.files if k in NAMES}
    except Refusal:
        raise
    except ValueError as error:
        if "pickle" in str(error).lower() or "object" in str(error).lower():
            raise Refusal(
                "the file holds pickled objects, which are never read; save plain arrays"
            ) from None
        raise Refusal("not a readable .npz file: {reason}", reason=error) from None
    except Exception as error:  # zipfile's, zlib's and numpy's own share no type
        raise Refusal("not a readable .npz file: {reason}", reason=error) from None


def _safetensors(data: bytes) -> dict[str, Any]:
    from safetensors.torch import load

    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        found: dict[str, Any] = {k: v for k, v in load(data).items() if k in NAMES}
        tokens = header.get("__metadata__", {}).get("tokens")
        if tokens is not None:
            found["tokens"] = json.loads(tokens)
    except Exception as error:  # the library's own errors share no type
        raise Refusal("not a readable .safetensors file: {reason}", reason=error) from None
    return found


def _numbers(name: str, x: Any) -> Tensor:
    """An array of integers, real numbers or truths that torch knows, in this machine's order."""
    if isinstance(x, Tensor):
        return x
    x = np.asarray(x)
    if x.dtype.kind not in "biuf" or x.dtype.itemsize > 8:  # not text, dates, long doubles
        raise Refusal("{name} must hold real numbers, not {dtype}", name=name, dtype=x.dtype)
    return torch.as_tensor(x.astype(x.dtype.newbyteorder("="), copy=False))


def _floats(name: str, x: Any) -> Tensor:
    x = _numbers(name, x)
    if x.is_complex() or x.dtype == torch.bool:
        raise Refusal("{name} must hold real numbers, not {dtype}", name=name, dtype=x.dtype)
    if not x.is_floating_point() or x.element_size() < 2:  # float8 is kept, not computed in
        try:
            x = x.float()
        except (RuntimeError, NotImplementedError):
            raise Refusal(
                "{name} must hold real numbers, not {dtype}", name=name, dtype=x.dtype
            ) from None
    while x.ndim > 3 and x.shape[0] == 1:
        x = x[0]
    if x.ndim == 2:
        x = x[None]
    if x.ndim != 3:
        raise Refusal(
            "{name} is {shape}; it must be (heads, positions, width), or without heads",
            name=name,
            shape=tuple(x.shape),
        )
    return x


def _scalar(name: str, x: Any) -> Any:
    x = _numbers(name, x)
    if x.numel() != 1:
        raise Refusal("{name} must be one value, not {shape}", name=name, shape=tuple(x.shape))
    if x.is_complex():
        raise Refusal("{name} must hold real numbers, not {dtype}", name=name, dtype=x.dtype)
    return x.item()


def _tokens(tokens: Any) -> tuple[str, ...]:
    try:
        tokens = tokens.tolist() if isinstance(tokens, np.ndarray) else tokens
    except (ValueError, SystemError):  # numpy keeps numbers that are no characters
        tokens = None
    if not isinstance(tokens, list) or not all(isinstance(t, str) for t in tokens):
        raise Refusal("tokens must be a list of strings")
    return tuple(t.encode("utf-8", "replace").decode() for t in tokens)  # no half characters


def _made(found: dict[str, Any], origin: Origin) -> QKV | Attention:
    frame: dict[str, Any] = {
        "origin": origin,
        "causal": bool(_scalar("causal", found.get("causal", False))),
    }
    m = None
    if "weights" in found:
        weights = _floats("weights", found["weights"])
        m = weights.shape[-1]
    elif missing := [x for x in "qkv" if x not in found]:
        raise Refusal(
            "the file has no {missing}: it must hold q, k and v, or weights",
            missing=", ".join(missing),
        )
    else:
        weights = None
        m = _floats("k", found["k"]).shape[1]
    if "tokens" in found:
        frame["tokens"] = _tokens(found["tokens"])
    if "key_mask" in found:
        frame["key_mask"] = _numbers("key_mask", found["key_mask"]).bool().flatten()
    frame["units"] = group_units(m)
    if weights is not None:
        v = _floats("v", found["v"]) if "v" in found else None
        return Attention.from_weights(weights, v, **frame)
    q, k, v = (_floats(x, found[x]) for x in "qkv")
    scale = float(_scalar("scale", found["scale"])) if "scale" in found else None
    if scale is not None and not np.isfinite(scale):
        raise Refusal("scale must be finite")
    widest = max((q.dtype, k.dtype, v.dtype), key=lambda t: torch.finfo(t).bits)
    return QKV(q.to(widest), k.to(widest), v.to(widest), scale=scale, **frame)
