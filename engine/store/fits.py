"""What mechanisms fitted, kept in files: saved and loaded by hand, or found again by what it was
fitted to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.contract import QKV, Mask, params_of
from engine.contract.learned import Fidelity, Learned
from engine.mechanisms.base import Mechanism
from engine.store import keeping

M = TypeVar("M", bound=Mechanism)
FORM = 1
"""Of the files; raised when a fit of the same mechanism to the same layer comes out otherwise."""
MOST_BYTES = 2**28
"""That a folder of fits may hold; the fits used longest ago go first."""


def save(mechanism: Mechanism, path: str | Path) -> None:
    """Write a fit as safetensors, with the mechanism and its parameters in the header.

    Raises:
        ValueError: nothing was fitted. OSError: the disk is full, the folder can't be written, …
    """
    if mechanism.learned is None:
        raise ValueError(f"{mechanism.key} has not been fitted: there is nothing to save")
    tensors = {f"weights.{name}": x for name, x in mechanism.learned.weights.items()}
    header = _header(mechanism)
    if (fidelity := mechanism.learned.fidelity) is not None:
        header["measure"] = fidelity.measure
        tensors |= {"fidelity.value": fidelity.value, "fidelity.random": fidelity.random}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # a copy each, since tensors of one file may not share their memory
    copies = {name: x.cpu().clone() for name, x in tensors.items()}

    def write(part: Path) -> None:
        try:
            save_file(copies, part, metadata=header)
        except SafetensorError as error:
            raise OSError(f"{path.name} can't be written: {error}") from error

    keeping.put(path, write)


def load(mechanism: M, path: str | Path, device: torch.device | str = "cpu") -> M:
    """The mechanism with the fit that was saved for it.

    Raises:
        ValueError: the file is no fit, or of another mechanism or other parameters.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    try:
        with safe_open(path, "pt", device=str(device)) as opened:
            header = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path.name} is not a fit: {error}") from error
    if header | _header(mechanism) != header:
        raise ValueError(
            f"{path.name} holds the fit of {header.get('mechanism', 'nothing')} with "
            f"{header.get('parameters', 'no parameters')}, not of this {mechanism.key}"
        )
    fidelity = None
    if "measure" in header:
        value, random = (tensors.pop(f"fidelity.{name}", None) for name in ("value", "random"))
        if value is None or random is None:
            raise ValueError(f"{path.name} doesn't say what was measured of it")
        fidelity = Fidelity(header["measure"], value, random)
    weights = {name.removeprefix("weights."): x for name, x in tensors.items()}
    return replace(mechanism, learned=Learned(weights, fidelity))


def kept(mechanism: M, qkv: QKV, folder: str | Path, most_bytes: int = MOST_BYTES) -> M:
    """The mechanism fitted to this layer: from the folder if the fit is there, else made and put
    there. What can't be named (see `digest`) is fitted anew; what has nothing to learn is as it
    was.

    Raises:
        ValueError: the QKV holds something that this mechanism can't honour.
    """
    if type(mechanism).learn is Mechanism.learn or mechanism.learned is not None:
        return mechanism
    name = digest(mechanism, qkv)
    if name is None:
        return mechanism.fit(qkv)
    path = Path(folder) / f"{name}.safetensors"
    try:
        found = load(mechanism, path, qkv.device)
        found.check(qkv)  # what it holds has this layer's shapes
        if found.learned is None or found.learns(qkv).keys() - found.learned.weights.keys():
            raise ValueError(f"{path.name} lacks weights")
        keeping.used(path)
        return found
    except OSError:  # not there
        pass
    except ValueError:
        keeping.set_aside(path)
    fitted = mechanism.fit(qkv)
    if fitted.learned is not None:
        keeping.keep(path, lambda part: save(fitted, part), most_bytes)
    return fitted


def digest(mechanism: Mechanism, qkv: QKV) -> str | None:
    """What decides a fit, as a name: the mechanism, its parameters, and all that bears on scores.

    None where a bias or a mask is a function that could do anything.
    """
    mask = _name_of(qkv.mask)
    if mask is None or qkv.bias is not None:
        return None
    said = hashlib.sha256(
        json.dumps([FORM, _header(mechanism), qkv.causal, qkv.factor, qkv.softcap, mask]).encode()
    )
    for name, x in _tensors(qkv):
        said.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
        said.update(x.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return said.hexdigest()[:32]


def _name_of(mask: Mask | None) -> str | None:
    """What tells a mask from all others; None where nothing does."""
    if mask is None:
        return ""
    plain = is_dataclass(mask) and all(
        isinstance(getattr(mask, field.name), int | None) for field in fields(mask)
    )
    return repr(mask) if plain else None


def _tensors(qkv: QKV) -> Iterator[tuple[str, Tensor]]:
    """All tensors of a QKV, by name."""
    for kind, holder in (("QKV", qkv), ("Layer", qkv.layer)):
        for field in fields(holder) if holder is not None else ():
            if isinstance(x := getattr(holder, field.name), Tensor):
                yield f"{kind}.{field.name}", x


def _header(mechanism: Mechanism) -> dict[str, str]:
    parameters = {name: getattr(mechanism, name) for name in params_of(type(mechanism))}
    return {"mechanism": mechanism.key, "parameters": json.dumps(parameters, sort_keys=True)}
