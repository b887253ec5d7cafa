"""Rows that are worked out from the row back, and no further than there is something to tell."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial

from jaxtyping import Int
from torch import Tensor

from engine.contract import Block, Index, index
from engine.kernels.rows import BLOCK
from engine.measure.attention import Attention
from engine.runtime.threads import alone

HEIGHT = 256
"""Rows that go back together, where they need not go far."""


class Backwards(Attention):
    """Blocks of an attention whose rows look back: tall ones, as long as these rows are short."""

    @abstractmethod
    def back(self, name: Index, rows: Int[Tensor, " r"], most: int | None) -> Block | None:
        """A block of these rows, called `name`, over the keys that they reach; None as soon as
        that would take more than `most` weights."""

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        most = BLOCK // 4 if self.device.type == "cpu" else BLOCK
        for name, at in self._parts(rows, HEIGHT):
            block = alone(partial(self.back, name, at, most), self.device)
            if block is not None:
                yield block
                continue
            few = most // (self.frame.heads * self.frame.m)
            for part, those in self._parts(name, max(1, few)):
                block = alone(partial(self.back, part, those, None), self.device)
                assert block is not None
                yield block

    def pieces(self, rows: Index | None = None) -> Iterator[Callable[[], Iterator[Block]]]:
        for name, _ in self._parts(rows, HEIGHT):
            yield partial(self.blocks, name)

    def _parts(self, rows: Index | None, height: int) -> Iterator[tuple[Index, Tensor]]:
        whole = rows is None or (isinstance(rows, slice) and rows.step in (None, 1))
        for at in index(rows, self.frame.n, self.device).split(height):
            yield (slice(int(at[0]), int(at[-1]) + 1) if whole else at), at
