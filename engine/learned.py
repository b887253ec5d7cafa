"""What a mechanism fitted to a layer, how faithful that is, and how it is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from jaxtyping import Bool, Float
from safetensors.torch import load_file, save_file
from torch import Tensor

if TYPE_CHECKING:
    from engine.contract import QKV, Mechanism

M = TypeVar("M", bound="Mechanism")


@dataclass(frozen=True, eq=False)
class Fidelity:
    """How near a stand-in comes to full attention on the layer that it was fitted to.

    Attributes:
        measure: "r2" (held-out share of the scores' variance explained), "r2_position" (of what
            position adds to them), "captured_mass" or "output_error" (relative), the id of its
            words.
        value: (h) of the fit. random: (h) of random weights of the same shape, for contrast.
    """

    measure: str
    value: Float[Tensor, " h"]
    random: Float[Tensor, " h"]


@dataclass(frozen=True, eq=False)
class Learned:
    """Fitted weights by name, and how faithful they are."""

    weights: Mapping[str, Tensor]
    fidelity: Fidelity | None = None


def explained(
    target: Float[Tensor, "*h r c"],
    made: Float[Tensor, "*h r c"],
    seen: Bool[Tensor, "*s r c"],
) -> Float[Tensor, "*h"]:
    """R² of scores inside rows, over pairs seen; 0 where rows don't vary.

    What a row's scores share is left out on both sides, since it is nothing to a softmax.
    """
    each = seen.sum(-1, keepdim=True).clamp_min(1)

    def spread(x: Tensor) -> Tensor:
        x = x.double()
        x = (x - (x * seen).sum(-1, keepdim=True) / each) * seen
        return x.square().sum((-2, -1))

    whole = spread(target)
    return torch.where(whole > 0, 1 - spread(target - made) / whole.clamp_min(1e-300), 0.0).float()


def digest(mechanism: Mechanism, qkv: QKV) -> str:
    """What decides a fit: the mechanism, its parameters, and the numbers that it was fitted to."""
    said = hashlib.sha256(json.dumps([mechanism.key, asdict(bare(mechanism))]).encode())
    layer = qkv.layer
    given = (qkv.q, qkv.k, qkv.v, *(() if layer is None else (layer.x, layer.q, layer.k)))
    for x in given:
        if x is not None:
            said.update(x.detach().float().cpu().contiguous().numpy().tobytes())
    said.update(f"{qkv.causal} {qkv.factor}".encode())
    return said.hexdigest()[:24]


def bare(mechanism: M) -> M:
    """The mechanism before any fit."""
    return replace(mechanism, learned=None)


def save(mechanism: Mechanism, path: str | Path) -> None:
    """Write a fit as safetensors, its parameters in the header.

    Raises:
        ValueError: nothing was fitted.
    """
    if mechanism.learned is None:
        raise ValueError(f"{mechanism.key} has not been fitted")
    tensors = {f"weights.{k}": v.contiguous() for k, v in mechanism.learned.weights.items()}
    parameters = asdict(bare(mechanism))
    del parameters["learned"]
    header = {"mechanism": mechanism.key, "parameters": json.dumps(parameters)}
    if (fidelity := mechanism.learned.fidelity) is not None:
        header["measure"] = fidelity.measure
        tensors |= {"fidelity.value": fidelity.value, "fidelity.random": fidelity.random}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({k: v.cpu() for k, v in tensors.items()}, part, metadata=header)
    part.replace(path)


def load(mechanism: M, path: str | Path, device: torch.device | str = "cpu") -> M:
    """The mechanism with the fit that was saved for it.

    Raises:
        ValueError: the file holds another mechanism's or other parameters' fit.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as opened:
        header = opened.metadata() or {}
    parameters = asdict(bare(mechanism))
    del parameters["learned"]
    if (header.get("mechanism"), header.get("parameters")) != (
        mechanism.key,
        json.dumps(parameters),
    ):
        raise ValueError(f"{Path(path).name} holds the fit of another mechanism")
    tensors = load_file(path, device=str(device))
    weights = {k.removeprefix("weights."): v for k, v in tensors.items() if k[0] == "w"}
    fidelity = None
    if "measure" in header:
        fidelity = Fidelity(
            header["measure"], tensors["fidelity.value"], tensors["fidelity.random"]
        )
    return replace(mechanism, learned=Learned(weights, fidelity))
