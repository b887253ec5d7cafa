"""Projections along the text: from positions to fewer slots, and weights of slots back again."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Pooling:
    """Means over `slots` consecutive segments of the visible positions, sizes differing by 1.

    Hidden positions are as if they weren't there. With fewer visible positions than slots there
    are as many slots as these; with none there is one slot, which holds nothing.

    Args:
        m: positions. slots: how many segments are wanted. visible: (m), all if None.
    """

    def __init__(self, m: int, slots: int, visible: Bool[Tensor, " m"] | None = None) -> None:
        self.m = m
        self.at = None if visible is None else visible.nonzero()[:, 0]
        self.count = m if self.at is None else len(self.at)
        """Visible positions."""
        self.slots = max(1, min(slots, self.count))
        self.size, self.wide = divmod(self.count, self.slots)
        """Positions of a segment; the first `wide` segments have one more."""

    def _parts(self, x: Float[Tensor, "g p f"]) -> Iterator[Float[Tensor, "g s size f"]]:
        """The longer segments, then the shorter, where there are any."""
        edge = self.wide * (self.size + 1)
        for part, size in ((x[:, :edge], self.size + 1), (x[:, edge:], self.size)):
            if part.shape[1]:
                yield part.unflatten(1, (-1, size))

    def project(self, x: Float[Tensor, "g m f"]) -> Float[Tensor, "g k f"]:
        """Slots from positions."""
        if self.at is not None:
            x = x[:, self.at.to(x.device)]
        found = [part.mean(2) for part in self._parts(x)]
        return torch.cat(found, 1) if found else x.new_zeros(len(x), self.slots, x.shape[2])

    def spread(self, weights: Float[Tensor, "h r k"]) -> Float[Tensor, "h r m"]:
        """The weight of every slot, shared out evenly over its positions."""
        sizes = torch.full((self.slots,), self.size, device=weights.device)
        sizes[: self.wide] += 1
        each = (weights / sizes.clamp_min(1)).repeat_interleave(sizes, -1)
        if self.at is None:
            return each
        out = weights.new_zeros(*weights.shape[:2], self.m)
        return out.index_copy_(-1, self.at.to(out.device), each)

    def matrix(self, like: Tensor) -> Float[Tensor, "1 k m"]:
        """What positions are multiplied by, in the type and on the device of `like`."""
        return self.spread(torch.eye(self.slots, dtype=like.dtype, device=like.device)[None])


class Dense:
    """Any linear map.

    Args:
        e: (G k m), one for all heads (G = 1) or one for each.
    """

    def __init__(self, e: Float[Tensor, "G k m"]) -> None:
        self.e = e

    def project(self, x: Float[Tensor, "g m f"]) -> Float[Tensor, "Gg k f"]:
        """Slots from positions: of every key head, or of every head if each has its own map."""
        e = self.e.to(x)
        if len(e) == 1:
            return e @ x
        each = e.unflatten(0, (len(x), -1)).flatten(1, 2) @ x
        return each.unflatten(1, (-1, e.shape[1])).flatten(0, 1)

    def spread(self, weights: Float[Tensor, "h r k"]) -> Float[Tensor, "h r m"]:
        """Weights of slots to weights of positions."""
        return weights @ self.e.to(weights)

    def matrix(self, like: Tensor) -> Float[Tensor, "G k m"]:
        """The map, in the type and on the device of `like`."""
        return self.e.to(like)
