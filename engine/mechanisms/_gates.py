"""What a token opens or shuts in each head: σ(w·x + b), trained, or drawn where nothing was.

Shapes: h heads, m keys, D numbers of a token that are read.
"""

from __future__ import annotations

from math import expm1, log

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Id, Learned, Refusal


def read(qkv: QKV) -> Float[Tensor, "m D"] | None:
    """The layer's input, where that is known of every key."""
    x = None if qkv.layer is None else qkv.layer.x
    return None if x is None or len(x) != qkv.m else x


def check(qkv: QKV, key: Id, learned: Learned | None) -> None:
    """Raises ValueError where trained gates have nothing to read."""
    if learned is not None and read(qkv) is None:
        raise Refusal(
            "{key} was trained to read its layer's input, which isn't known of these keys", key=key
        )


def shapes(qkv: QKV, *names: str) -> dict[str, tuple[int | None, ...]]:
    """Of a w and b for each of these names: (h D) and (h)."""
    x = read(qkv)
    found: dict[str, tuple[int | None, ...]] = {}
    for name in names:
        found[f"w_{name}"] = (qkv.heads, None if x is None else x.shape[1])
        found[f"b_{name}"] = (qkv.heads,)
    return found


def trained(qkv: QKV, learned: Learned, name: str) -> Float[Tensor, "h m"]:
    """w·x + b in float64."""
    x = read(qkv)
    assert x is not None  # `check` refuses such a QKV
    w, b = (learned.weights[f"{part}_{name}"].double().to(qkv.device) for part in "wb")
    return w @ x.double().mT + b[:, None]


def drawn(qkv: QKV, seed: int) -> Float[Tensor, "h m"]:
    """A direction for each head, drawn at random, times the layer's input, or the head's keys
    where that is not known, each of the length √D: about N(0, 1) where directions don't matter."""
    draw, x = torch.Generator().manual_seed(seed), read(qkv)
    width = qkv.k.shape[-1] if x is None else x.shape[1]
    u = torch.randn(qkv.heads, width, generator=draw, dtype=torch.float64)
    u = F.normalize(u, dim=-1).to(qkv.device) * width**0.5
    if x is not None:
        return u @ F.normalize(x.double(), dim=-1).mT
    k = F.normalize(qkv.k.double(), dim=-1)
    return (u.unflatten(0, (qkv.groups, -1)) @ k.mT).flatten(0, 1)


def kept(half_life: float) -> float:
    """The logit of what one token keeps if half is left after so many."""
    lost = log(2) / half_life
    return -lost - log(-expm1(-lost))


def held(qkv: QKV) -> int:
    """Bytes of what is read, of the gates and of their sums, in float64."""
    x = read(qkv)
    return 8 * (2 * (qkv.k if x is None else x).numel() + 4 * qkv.heads * qkv.m)
