"""What a transformers model lets see and adds to its scores, without n×n tensors.

A mask function of transformers becomes `causal`, `key_mask` and, where there is more to it, one of
the masks below; a position bias that depends on the distance alone becomes a table of distances.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import Bias, Refusal


class ModelError(Refusal):
    """A model can't be opened or read; the message says why, and what is allowed."""


@dataclass(frozen=True)
class Band:
    """Query i sees keys i − back … i + ahead; without a bound ahead if that is None."""

    back: int
    ahead: int | None = None

    def __call__(self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]) -> Bool[Tensor, "r c"]:
        seen = cols >= rows[:, None] - self.back
        return seen if self.ahead is None else seen & (cols <= rows[:, None] + self.ahead)

    def span(self, rows: Int[Tensor, " r"]) -> tuple[int, int]:
        """Half-open range of keys outside of which these rows see none (may pass the last key)."""
        stop = 2**62 if self.ahead is None else int(rows.max()) + self.ahead + 1
        return max(0, int(rows.min()) - self.back), stop

    def hides_nothing(self, m: int) -> bool:
        return self.back >= m - 1 and (self.ahead is None or self.ahead >= m - 1)


@dataclass(frozen=True)
class Chunks:
    """A query sees the keys of its own chunk; the first chunk starts after `shift` positions."""

    size: int
    shift: int = 0

    def __call__(self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]) -> Bool[Tensor, "r c"]:
        return (cols - self.shift) // self.size == ((rows - self.shift) // self.size)[:, None]

    def span(self, rows: Int[Tensor, " r"]) -> tuple[int, int]:
        """Half-open range of keys outside of which these rows see none (may pass the last key)."""
        first, last = ((int(x) - self.shift) // self.size for x in (rows.min(), rows.max()))
        return max(0, first * self.size + self.shift), (last + 1) * self.size + self.shift

    def hides_nothing(self, m: int) -> bool:
        return self.shift == 0 and self.size >= m


@dataclass(frozen=True, eq=False)
class Predicate:
    """A mask function of transformers, or a mask tensor that a model made, for one batch item."""

    function: Callable[..., Tensor] | Bool[Tensor, "n m"]
    batch: int = 0
    q_offset: int = 0
    kv_offset: int = 0

    def __call__(self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]) -> Bool[Tensor, "r c"]:
        if isinstance(self.function, Tensor):
            return self.function.to(rows.device)[rows[:, None], cols]
        batch = torch.tensor(self.batch, device=rows.device)
        i, j = rows[:, None] + self.q_offset, cols[None] + self.kv_offset
        return self.function(batch, 0, i, j).to(rows.device).expand(len(rows), len(cols))


@dataclass(frozen=True, eq=False)
class Toeplitz:
    """A bias by distance alone: table (h 2n−1), its middle is distance 0."""

    table: Float[Tensor, "h w"]

    def __call__(self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]) -> Float[Tensor, "h r c"]:
        table = self.table.to(rows.device)
        return table[:, cols - rows[:, None] + table.shape[1] // 2]


@dataclass(frozen=True, eq=False)
class Added:
    """A bias that the model itself laid out for every pair, (h or 1, n, m)."""

    values: Float[Tensor, "h n m"]
    total: int

    def __call__(self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]) -> Float[Tensor, "h r c"]:
        tile = self.values.to(rows.device)[:, rows[:, None], cols]
        return tile.expand(self.total, -1, -1)

    def heads(self, some: slice) -> Added:
        """That of some heads only."""
        chosen = range(self.total)[some]
        return Added(self.values if len(self.values) == 1 else self.values[some], len(chosen))


@dataclass(frozen=True, eq=False)
class Visible:
    """What stands in for transformers' n×n mask tensor."""

    function: Callable[..., Tensor]
    padding: Bool[Tensor, "b m"] | None
    q_offset: int = 0
    kv_offset: int = 0

    def fields(self, batch: int, n: int, m: int) -> dict[str, Any]:
        """`causal`, `mask` and `key_mask` of a QKV with n queries and m keys."""
        known: dict[str, Any] = {}
        if self.padding is not None and not bool(self.padding[batch].all()):
            known["key_mask"] = self.padding[batch, self.kv_offset : self.kv_offset + m]
        found = _recognise(self.function, batch)
        if found is None or self.q_offset != self.kv_offset or n != m:
            predicate = Predicate(self.function, batch, self.q_offset, self.kv_offset)
            return known | {"mask": predicate}
        causal, masks = found
        # a window or chunk that holds the whole text hides nothing
        mask = next((mask for mask in masks if not mask.hides_nothing(m)), None)
        return known | {"causal": causal, "mask": mask}


def _recognise(
    function: Callable[..., Any], batch: int
) -> tuple[bool, list[Band | Chunks]] | None:
    """What a mask function of transformers stands for: causal or not, and further masks; or None.

    By the functions' own names and what they close over, so that a change there makes a mask
    unrecognised (evaluated as a predicate: slower, never wrong).
    """
    if function.__module__ != "transformers.masking_utils":
        return None
    held = inspect.getclosurevars(function).nonlocals
    try:
        match function.__qualname__.removesuffix(".<locals>.inner_mask"):
            case "causal_mask_function":
                return True, []
            case "bidirectional_mask_function":
                return False, []
            case "sliding_window_overlay":
                return False, [Band(int(held["sliding_window"]) - 1)]
            case "sliding_window_bidirectional_overlay":
                return False, [Band(int(held["sliding_window"]), int(held["sliding_window"]))]
            case "chunked_overlay":
                return False, [Chunks(int(held["chunk_size"]), int(held["left_padding"][batch]))]
            case "and_masks.<locals>.and_mask":
                found = [_recognise(f, batch) for f in held["mask_functions"]]
                parts = [part for part in found if part is not None]
                masks = [mask for _, some in parts for mask in some]
                if len(parts) == len(found) and len(masks) < 2:
                    return any(causal for causal, _ in parts), masks
    except KeyError:
        pass
    return None


def tensor_fields(mask: Tensor, batch: int, heads: int) -> dict[str, Any]:
    """Fields of a QKV from a mask that the model laid out itself, (b, 1 or h, n, m).

    Keys that only some heads may see keep their lowest value as a bias, whose weight is 0.
    """
    tile = mask[min(batch, len(mask) - 1)]
    if tile.dtype == torch.bool:
        if len(tile) > 1:
            raise ModelError("its heads may see different keys, which can't be shown yet")
        return _seen_fields(tile[0])
    hidden = (tile <= torch.finfo(tile.dtype).min / 2).all(0)
    fields = _seen_fields(~hidden) if bool(hidden.any()) else {}
    rest = tile.masked_fill(hidden, 0).clamp_min(torch.finfo(tile.dtype).min / 2)
    return fields | ({"bias": Added(rest, heads)} if bool(rest.any()) else {})


def _seen_fields(seen: Bool[Tensor, "n m"]) -> dict[str, Any]:
    """`causal` and `key_mask` where a mask is no more than these, else a predicate."""
    n, m = seen.shape
    keys = seen.any(0)
    known: dict[str, Any] = {} if bool(keys.all()) else {"key_mask": keys}
    if torch.equal(seen, keys.expand(n, -1)):
        return known
    back = torch.ones_like(seen).tril(m - n)
    if torch.equal(seen, back & keys):
        return known | {"causal": True}
    return {"mask": Predicate(seen)}


def bias_of(position_bias: Float[Tensor, "b h n m"], batch: int) -> Bias:
    """A position bias without its n×n tensor where it depends on the distance alone."""
    values = position_bias[min(batch, len(position_bias) - 1)]
    h, n, m = values.shape
    if n == m and torch.equal(values[:, 1:, 1:], values[:, :-1, :-1]):
        return Toeplitz(torch.cat([values[:, :, 0].flip(1), values[:, 0, 1:]], 1))
    return Added(values, h)
