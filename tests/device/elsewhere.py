"""A device to test with: tensors that lie in the processor's memory under an accelerator's name.

`torch.device("elsewhere")` is torch's place for a back end of one's own (`privateuse1`). Inside
`elsewhere()` tensors can be made there, moved there and computed with; whoever mixes them with
tensors of the processor, or reads their memory without moving them, is told so as on a GPU. Code
that passes has its tensors where they belong; how fast it is there, it does not tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "elsewhere"
_setup_privateuseone_for_python_backend(NAME)
DEVICE = torch.device(NAME, 0)
CPU = torch.device("cpu")


class Elsewhere(Tensor):
    """A tensor there.

    Attributes:
        held: its values, a tensor of the processor.
    """

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(),
            dtype=held.dtype, device=DEVICE, requires_grad=held.requires_grad,
        )  # fmt: skip
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Elsewhere({self.held!r})"

    def tolist(self) -> Any:  # torch has none for classes of one's own; it moves the values
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return computed(func, args, kwargs or {})


class _Made(TorchDispatchMode):
    """Sees what has no tensor of that device among its arguments: what makes one."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation gives, on the device that its arguments are on.

    Raises:
        RuntimeError: they are on several. A number of the processor, a tensor without axes, goes
            with either, as it does on a GPU.
    """
    given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    there = [x for x in given if isinstance(x, Elsewhere)]
    asked = kwargs.get("device")
    moves = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
    mixed = [x.device.type for x in given if not isinstance(x, Elsewhere) and x.ndim]
    if there and mixed and not moves and func not in INDEXED:
        raise RuntimeError(f"{func} was given tensors on two devices: {NAME} and {mixed[0]}")
    goes = asked if asked is not None else (DEVICE if there else CPU)
    goes = torch.device(goes)
    plain = dict(kwargs) | ({"device": CPU} if asked is not None else {})
    inner = tree_map_only(Elsewhere, lambda x: x.held, (args, plain))
    out = func(*inner[0], **inner[1])
    if func is torch.ops.aten.copy_.default:
        return args[0]
    if goes.type != NAME:
        return out
    outer = {id(x.held): x for x in there}  # what works in place gives back what it was given

    def wrapped(x: Tensor) -> Tensor:
        return outer[id(x)] if id(x) in outer else Elsewhere(x)

    return tree_map_only(Tensor, wrapped, out)


class _Given(TorchFunctionMode):
    """`torch.tensor`, and a list as an index, copy what they are given to a device below all
    modes: here it is moved, and the list a tensor of the processor."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        to = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and to and torch.device(to).type == NAME:
            return func(*args, **kwargs | {"device": CPU}).to(DEVICE)
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            index = tree_map_only(list, _index, args[1], is_leaf=lambda x: type(x) is list)
            return func(args[0], index, *args[2:])
        return func(*args, **kwargs)


def _index(places: list[int]) -> Tensor:
    return torch.tensor(places, dtype=torch.long)


INDEXED = {
    torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default,
    torch.ops.aten.index_put.default, torch.ops.aten._index_put_impl_.default,
}  # fmt: skip
"""Operations whose indices may lie on the processor, as they may on a GPU."""


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """Tensors can be made on that device inside."""
    with _Given(), _Made():
        yield DEVICE
