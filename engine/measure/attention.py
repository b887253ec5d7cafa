"""What a mechanism made of its inputs: an `Attention`, or a person's own weights as one.

Statistics, maps, windows and groups follow from the blocks of weights that an attention yields.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import (
    Block,
    Colour,
    Fidelity,
    Frame,
    Index,
    Pool,
    Refusal,
    RowKind,
    Steps,
    index,
)
from engine.contract.views import View
from engine.measure import passes, windows
from engine.measure.metrics import RowStats
from engine.measure.passes import Asked, Summary
from engine.runtime.cached import cached_property

V = TypeVar("V")
LARGEST = 1e30
"""Of weights that are given: sums of larger ones pass what the float32 of a picture holds."""


class Attention(ABC):
    """What a mechanism made of a QKV. Everything else follows from `blocks`."""

    row_kind: RowKind = "stochastic"

    def __init__(
        self, frame: Frame, *, views: tuple[View, ...] | Callable[[Any], tuple[View, ...]] = ()
    ) -> None:
        """What makes the views is given the attention, and doesn't hold it: an attention that
        holds itself would keep its memory until a collection of cycles."""
        self.frame = frame
        self._views = views

    @cached_property
    def views(self) -> tuple[View, ...]:
        """The mechanism's own structure; worked out when first asked for."""
        return self._views if isinstance(self._views, tuple) else self._views(self)

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it is computed."""

    @cached_property
    def output(self) -> Float[Tensor, "h n e"]:
        """The weighted values, at the mechanism's own cost; worked out when first asked for.

        Raises:
            ValueError: there are no values to weigh.
        """
        return self.weighted()

    @abstractmethod
    def weighted(self) -> Float[Tensor, "h n e"]:
        """Work out the output."""

    @abstractmethod
    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        """Every query row (or those asked for) in exactly one block, with all its weights."""

    def weights(
        self, rows: Index | None = None, cols: Index | None = None
    ) -> Float[Tensor, "h r c"]:
        """Exact effective weights of a window.

        Raises:
            ValueError: the window would take more than 1 GiB.
        """
        return windows.window(self, rows, cols)

    def rows(self, rows: Index | None = None) -> RowStats:
        """Statistics of all rows, or of those asked for, (h r) each."""
        if rows is None and self.known is not None:
            return self.known.rows
        return passes.summarise(self, Asked(rows=rows, output=False)).rows

    def heatmap(
        self,
        size: int = 512,
        pool: Pool = "max",
        rows: Index | None = None,
        cols: Index | None = None,
        colour: Colour = "weight",
    ) -> Float[Tensor, "h a b"]:
        """A window pooled to at most size×size cells.

        Cells are ceil(r/size) by ceil(c/size), the last ragged. max keeps spikes; sum is over the
        cell's rows and columns and keeps mass; mean is over its visible pairs. `colour` scales
        each row before pooling: "uniform" by its visible keys (1 = no preference), "row" to a
        largest weight of 1.
        """
        return windows.heatmap(self, size, pool, rows, cols, colour)

    def summary(
        self,
        size: int = 512,
        pools: tuple[Pool, ...] = ("max", "mean"),
        colour: Colour = "weight",
        progress: Callable[[float], None] | None = None,
        output: bool = True,
    ) -> Summary:
        """Rows, whole maps and, unless it isn't wanted, the output in one pass.

        `progress` is told the share done as pieces are finished; what it raises ends the pass.
        """
        self.known = passes.summarise(
            self,
            Asked(output=output, size=size, pools=pools, colour=colour, progress=progress),
        )
        if self.known.output is not None:
            vars(self)["output"] = self.known.output  # as `output` keeps what it works out
        return self.known

    shown_by: ClassVar[Callable[[Attention, Any], Any] | None] = None
    """What draws it as the last line of a notebook's cell; `engine` sets it."""

    displayed_by: ClassVar[Callable[[Attention], None] | None] = None
    """What does so where there is a kernel; `engine` sets it."""

    def _ipython_display_(self) -> None:
        if Attention.displayed_by is None:
            raise NotImplementedError  # as IPython wants it: by what follows
        Attention.displayed_by(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return None if Attention.shown_by is None else Attention.shown_by(self, include)

    known: Summary | None = None
    """The last summary, so that what it holds is not worked out again."""

    @property
    def scored(self) -> int | None:
        """Pairs of all heads that are scored, where what keys hold decides how many; None where
        shapes alone do, and `Mechanism.pairs` is exact."""
        return None

    fidelity: Fidelity | None = None
    """How near the stand-in for what the paper learns comes to full attention, if there is one."""

    def group(
        self, labels: Int[Tensor, " m"], rows: Index | None = None
    ) -> Float[Tensor, "h r groups"]:
        """Mass that each row, or each of those asked for, gives to each group of keys; label −1 is
        in none."""
        return windows.group(self, labels, rows)

    def view(self, kind: type[V]) -> V:
        """The mechanism's own structure of one kind.

        Raises:
            LookupError: the mechanism has none of that kind.
        """
        for view in self.views:
            if isinstance(view, kind):
                return view
        raise LookupError(f"this attention has no view of kind {kind.__name__}")

    hidden_keys: Int[Tensor, " k"] | None = None
    """Keys whose mass `hide` removed."""
    _whole: Attention | None = None

    @property
    def whole(self) -> Attention:
        """The same with no keys hidden."""
        return self._whole or self

    def hide(self, keys: Int[Tensor, " k"]) -> Attention:
        """The same with these keys' mass removed and every row brought back to its kept mass.

        Rows of signed weights keep the others as they are: what they add up to may be 0, or below.
        """
        keys = index(keys, self.frame.m, self.device)
        if self.hidden_keys is not None:
            keys = torch.cat([self.hidden_keys, keys]).unique()
        found = self.whole._without(keys)
        found._whole, found.hidden_keys = self.whole, keys
        return found

    def removed(self, rows: Index | None = None) -> Float[Tensor, "h r"]:
        """Mass that was on hidden keys, of all rows or of those asked for; 0 if none are hidden.

        What is left of a row was scaled up by as much, unless its weights are signed.
        """
        at = index(rows, self.frame.n, self.device)
        if self.hidden_keys is None or not len(self.hidden_keys):
            return torch.zeros(self.frame.heads, len(at), device=self.device)
        height = max(1, windows.LARGEST // (self.frame.heads * len(self.hidden_keys)))
        parts = [self.whole.weights(part, self.hidden_keys).sum(-1) for part in at.split(height)]
        return torch.cat(parts, 1)

    def _without(self, keys: Int[Tensor, " k"]) -> Attention:
        return Hidden(self, keys)

    has_output: bool = True
    """False where there are no values to weigh."""

    def pieces(self, rows: Index | None = None) -> Iterator[Callable[[], Iterator[Block]]]:
        """The same blocks in pieces of work that may run side by side."""
        for block in self.blocks(rows):
            yield partial(iter, (block,))

    def room(self) -> Float[Tensor, "h n e"] | None:
        """Room for the output where blocks are the way to it, to be filled by `weigh`."""
        return None

    def weigh(self, block: Block) -> Float[Tensor, "h r e"]:
        """A block's weighted values, where there is `room` for them."""
        raise NotImplementedError

    def summarised(self, asked: Asked) -> Summary:
        """One pass; overridden where there is a quicker way than by blocks."""
        found = passes.by_blocks(self, asked)
        if found.output is None and asked.output and self.has_output:
            found.output = self.output
        return found

    def sampled(
        self, rows: Int[Tensor, " r"], v: Float[Tensor, "g m e"]
    ) -> tuple[RowStats, Float[Tensor, "h r e"]]:
        """Statistics and output of some rows only, exact for each, in their order."""
        return passes.sample(self, rows, v)

    def window(
        self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]
    ) -> Float[Tensor, "h r c"] | None:
        """A window's weights by a shorter way than the rows' blocks, where there is one."""
        return None

    def steps(self, head: int, row: int) -> Steps:
        """How one row came about.

        Raises:
            LookupError: the mechanism's weights are not one softmax over scores of pairs.
        """
        raise LookupError("this mechanism's rows do not come from one score a pair")

    @staticmethod
    def from_weights(
        w: Float[Tensor, "h n m"], v: Float[Tensor, "g m e"] | None = None, **frame: Any
    ) -> Attention:
        """A person's own weights; no output without v. `frame` as in Frame (causal, tokens, …).

        Raises:
            ValueError: values are not finite, or shapes disagree.
        """
        return Stored(w, v, **frame)


class Stored(Attention):
    """A person's own weights.

    Args:
        w: (h n m), any real numbers; what they are (stochastic, …, signed) is read off them.
        v: (g m e), for the output. frame: causal, tokens, needles, … as in Frame.

    Raises:
        ValueError: values are not finite, or shapes disagree.
    """

    def __init__(
        self, w: Float[Tensor, "h n m"], v: Float[Tensor, "g m e"] | None = None, **frame: Any
    ) -> None:
        if w.ndim != 3 or not w.is_floating_point():
            raise Refusal("weights must be floating point, (heads, queries, keys)")
        if not bool(torch.isfinite(w).all()):
            raise Refusal("weights hold values that are not finite")
        if bool((w.abs() > LARGEST).any()):
            raise Refusal("weights must lie between −1e30 and 1e30")
        heads, n, m = w.shape
        if v is not None and (v.ndim != 3 or v.shape[1] != m or heads % v.shape[0]):
            raise Refusal(
                "values {values} do not fit weights {weights}",
                values=tuple(v.shape),
                weights=tuple(w.shape),
            )
        super().__init__(Frame(heads=heads, n=n, m=m, **frame))
        if self.frame.causal and bool(w.triu(self.frame.offset + 1).any()):
            raise Refusal("weights are said to be causal, but weigh keys after the query")
        self.w, self.v = w, v
        self.row_kind = kind_of(w)
        self.has_output = v is not None

    @property
    def device(self) -> torch.device:
        return self.w.device

    def weighted(self) -> Tensor:
        if self.v is None:
            raise Refusal("weights were given without values, so there is no output")
        w = self.w.unflatten(0, (len(self.v), -1))
        return torch.einsum("grnm,gme->grne", w, self.v.to(w)).flatten(0, 1)

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        at = index(rows, self.frame.n, self.device)
        for part in at.split(max(1, 2**22 // (self.frame.heads * self.frame.m))):
            name = part if isinstance(rows, Tensor) else slice(int(part[0]), int(part[-1]) + 1)
            yield Block(name, slice(0, self.frame.m), self.w[:, part])


class Hidden(Attention):
    """Another attention without some keys' mass, each row scaled to keep what it kept, unless
    its weights are signed."""

    has_output = False

    def __init__(self, att: Attention, keys: Int[Tensor, " k"]) -> None:
        super().__init__(att.frame, views=lambda _: att.views)
        self.att, self.keys = att, keys
        self.row_kind = att.row_kind

    @property
    def device(self) -> torch.device:
        return self.att.device

    def weighted(self) -> Tensor:
        raise Refusal(
            "with keys hidden there is no output: hiding is only a way to look at weights"
        )

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        for block in self.att.blocks(rows):
            cols = block.cols
            if isinstance(cols, slice):
                cols = index(cols, self.frame.m, self.device)
            left = block.weights.masked_fill(torch.isin(cols, self.keys), 0)
            if self.row_kind != "signed":
                before, after = block.weights.sum(-1, True), left.sum(-1, True)
                left *= torch.where(after != 0, before / after, 0)
            yield Block(block.rows, block.cols, left)


def kind_of(w: Float[Tensor, "h n m"]) -> RowKind:
    """What rows of explicit weights are; rows of zeros see nothing and don't count."""
    if bool((w < 0).any()):
        return "signed"
    total = w.sum(-1, dtype=torch.float64)
    slack = 8 * torch.finfo(w.dtype).eps * max(8, w.shape[-1] ** 0.5)
    if bool((total > 1 + slack).any()):
        return "positive"
    return "stochastic" if bool(((total > 1 - slack) | (total == 0)).all()) else "substochastic"
