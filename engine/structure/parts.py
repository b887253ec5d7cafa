"""A map that is a sum of maps, each of them to be looked at on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import Block, Index, Refusal, index
from engine.contract.views import Parts
from engine.kernels.rows import BLOCK
from engine.measure.attention import Attention


class Part(Attention):
    """One map of a sum, as an attention that can be drawn.

    Args:
        whole: what it is a part of. weights: (r) query positions -> (h r m).
    """

    has_output = False

    def __init__(
        self, whole: Attention, weights: Callable[[Int[Tensor, " r"]], Float[Tensor, "h r m"]]
    ) -> None:
        super().__init__(whole.frame)
        self.whole_device, self.given = whole.device, weights
        self.row_kind = "signed" if whole.row_kind == "signed" else "substochastic"

    @property
    def device(self) -> torch.device:
        return self.whole_device

    def weighted(self) -> Tensor:
        raise Refusal("a part of a map has no output of its own")

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        frame = self.frame
        at = index(rows, frame.n, self.device)
        for part in at.split(max(1, BLOCK // (frame.heads * frame.m))):
            yield Block(part, slice(0, frame.m), self.given(part))


def parts(att: Attention) -> dict[str, Part]:
    """The maps that add up to an attention's, by the ids of their names; none where it is no sum,
    or where keys are hidden, which scales rows as a whole."""
    if att.hidden_keys is not None:
        return {}
    found = next((view for view in att.views if isinstance(view, Parts)), None)
    maps = {} if found is None or len(found.maps) < 2 else found.maps
    return {name: Part(att, weights) for name, weights in maps.items()}
