"""What a network's attention layers are called: their part of it, and its own numbers for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from engine.models.capture import Seen


@dataclass(frozen=True)
class Place:
    """Where a layer's attention stands in its network.

    Attributes:
        part: "encoder" (both directions), "decoder" (backwards only), "cross" (a decoder looks at
            what the encoder read).
        name: the network's own number for the layer, from 0, as in the names of its weights; "3"
            for the only full layer of a hybrid that is its fourth. Where one layer attends more
            than once, with a letter: "0a", "0b".
    """

    part: str
    name: str


def places(net: nn.Module, seen: Sequence[Seen], read: int | None) -> tuple[Place, ...]:
    """Places of the layers that one pass went through, in their order.

    Args:
        read: tokens that the encoder read, of a network with two sides; the decoder's pass must
            have been over another number of tokens. None for one side.
    """
    parts = [_part(x, read) for x in seen]
    numbers = _numbers(net, seen)
    total = Counter(zip(parts, numbers, strict=True))
    met: Counter[tuple[str, int]] = Counter()
    found = []
    for key in zip(parts, numbers, strict=True):
        letter = chr(ord("a") + met[key] % 26) if total[key] > 1 else ""
        met[key] += 1
        found.append(Place(key[0], f"{key[1]}{letter}"))
    return tuple(found)


def _part(seen: Seen, read: int | None) -> str:
    qkv = seen.qkv[0]
    if read is None:
        return "decoder" if qkv.causal else "encoder"
    if qkv.n != qkv.m:
        return "cross"
    return "encoder" if qkv.n == read else "decoder"


def _numbers(net: nn.Module, seen: Sequence[Seen]) -> list[int]:
    """The layer of each call: the first number in the name of its module.

    One module may stand in several places (Zamba), whose order is that of the calls; or be called
    over and over in one place (ALBERT), and then the calls are numbered.
    """
    modules = {x.module for x in seen}
    named: dict[nn.Module, list[list[int]]] = {module: [] for module in modules}
    for path, module in net.named_modules(remove_duplicate=False):
        if module in modules:
            named[module].append([int(x) for x in path.split(".") if x.isdigit()])
    numbers: list[int] = []
    calls = Counter(x.module for x in seen if not x.again)
    done: Counter[nn.Module] = Counter()
    for x in seen:
        if x.again:
            numbers.append(numbers[-1])
            continue
        paths, which = named[x.module], done[x.module]
        done[x.module] += 1
        if calls[x.module] > len(paths) or not paths[which]:
            numbers.append(numbers[-1] + 1 if numbers else 0)
        else:
            numbers.append(paths[which][0])
    return numbers
