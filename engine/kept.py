"""An attention beside its summary, so that what is known of it is not computed again."""

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor, device

from engine.contract import Attention, Block, Colour, Index, Pool
from engine.metrics import RowStats
from engine.stream import Summary


class Kept(Attention):
    """The same attention; its whole maps and row statistics are those of the summary.

    Args:
        attention: what was summarised. summary: its summary, of maps with at most `size` cells a
            side in this colour.
    """

    def __init__(self, attention: Attention, summary: Summary, size: int, colour: Colour) -> None:
        super().__init__(attention.frame, views=attention.views)
        self.row_kind = attention.row_kind
        self.attention, self.summarised = attention, summary
        self.size, self.colour = size, colour

    @property
    def device(self) -> device:
        return self.attention.device

    def weighted(self) -> Float[Tensor, "h n e"]:
        return self.attention.output

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        return self.attention.blocks(rows)

    def weights(
        self, rows: Index | None = None, cols: Index | None = None
    ) -> Float[Tensor, "h r c"]:
        return self.attention.weights(rows, cols)

    def rows(self, rows: Index | None = None) -> RowStats:
        return self.summarised.rows if rows is None else self.attention.rows(rows)

    def heatmap(
        self,
        size: int = 512,
        pool: Pool = "max",
        rows: Index | None = None,
        cols: Index | None = None,
        colour: Colour = "weight",
    ) -> Float[Tensor, "h a b"]:
        whole = _all(rows, self.frame.n) and _all(cols, self.frame.m)
        if whole and (size, colour) == (self.size, self.colour) and pool in self.summarised.maps:
            return self.summarised.maps[pool]
        return self.attention.heatmap(size, pool, rows, cols, colour)


def _all(part: Index | None, total: int) -> bool:
    if part is None:
        return True
    return isinstance(part, slice) and part.indices(total) == (0, total, 1)
