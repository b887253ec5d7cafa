"""Logits of some rows and keys, and which pairs carry weight: what every pass over rows needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import QKV, Frame, Index, as_slice, index, of_heads, of_rows
from engine.kernels.normalisers import Normaliser, Softmax
from engine.kernels.patterns import Pattern, Span
from engine.kernels.scoring import Dot, Features, Scoring

BLOCK = 2**22
"""Scores held at once by the plain paths, all heads together."""


@runtime_checkable
class Mod(Protocol):
    """What becomes of scores after the QKV's softcap and bias."""

    def head(self, h: int) -> Mod:
        """That of one head, as a single head's QKV wants it."""
        ...

    def __call__(
        self, scores: Float[Tensor, "h r c"], heads: slice, rows: Tensor, cols: Tensor
    ) -> Float[Tensor, "h r c"]: ...


class Rows:
    """A mechanism's three choices over one QKV, a few rows and keys at a time.

    Args:
        qkv: what is attended.
        pattern, scoring, normaliser: the three choices.
        beta: rows (r) -> (h r) or (1 r), each row's inverse temperature: multiplies its logits,
            sink logits among them. Asked for when needed, once a row.
        mod: changes scores pair by pair, before the temperature.
        share: rows (r) -> (h r), what is kept of each row's weights, 0 … 1.

    Raises:
        Refusal: the scoring doesn't fit the widths of queries and keys.
    """

    def __init__(
        self,
        qkv: QKV,
        pattern: Pattern,
        scoring: Scoring | None = None,
        normaliser: Normaliser | None = None,
        beta: Callable[[Tensor], Tensor] | None = None,
        mod: Mod | None = None,
        share: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.frame: Frame = qkv.frame
        self.qkv = qkv
        self.pattern = pattern
        self.scoring: Scoring = scoring or Dot()
        self.normaliser: Normaliser = normaliser or Softmax()
        self.scoring.check(qkv)
        self._beta, self.mod, self.share = beta, mod, share
        self._betas: Tensor | None = None

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    @property
    def dtype(self) -> torch.dtype:
        """What scores are computed in: half precisions are lifted to float32."""
        double = self.qkv.dtype == torch.float64 or self.normaliser.double
        return torch.float64 if double else torch.float32

    @property
    def streams(self) -> bool:
        """True if a row's weights follow from its log-sum-exp, by tiles that heads share."""
        by_row = isinstance(self.normaliser, Softmax) and isinstance(self.scoring, Features)
        return by_row and not self.pattern.per_head

    def spans(self, rows: Int[Tensor, " r"]) -> list[Span]:
        """Spans of keys that hold all that these rows see; never empty, so that a row is a row."""
        frame = self.frame
        low, high = int(rows.min()) + frame.offset, int(rows.max()) + frame.offset
        start, stop = 0, min(frame.m, high + 1) if frame.causal else frame.m
        if isinstance(span := getattr(frame.mask, "span", None), Callable):
            first, last = span(rows)
            start, stop = max(start, first), min(stop, last)
        found = self.pattern.spans(max(low, 0), max(high, 0), frame.m)
        cut = [(max(a, start), min(b, stop)) for a, b in found]
        return [(a, b) for a, b in cut if a < b] or [(0, 1)]

    def allowed(
        self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]
    ) -> Bool[Tensor, "r c"] | Bool[Tensor, "h r c"] | None:
        """Which pairs carry weight; None where all do."""
        visible = self.frame.visible(rows, cols)
        pattern = self.pattern.allows(rows + self.frame.offset, cols)
        if visible is None or pattern is None:
            return visible if pattern is None else pattern
        return visible & pattern

    def scores(self, heads: slice, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"]:
        """Scaled scores, before softcap, bias and masks, of heads that share whole groups."""
        qkv, per = self.qkv, self.qkv.heads // self.qkv.groups
        start, stop, _ = heads.indices(qkv.heads)
        q = qkv.q[start:stop, rows].to(self.dtype)
        k = qkv.k[start // per : (stop - 1) // per + 1, as_slice(cols)].to(self.dtype)
        return self.scoring.scores(qkv, heads, q, k)

    def beta(self, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r"] | None:
        """Inverse temperature of the rows, if they have one of their own; kept once known."""
        if self._beta is None:
            return None
        if self._betas is None:
            self._betas = self.unknown()
        missing = rows[self._betas[0, rows].isnan()]
        if len(missing):
            self._betas[:, missing] = self._beta(missing).to(self._betas)
        return self._betas[:, rows]

    def unknown(self) -> Float[Tensor, "h n"]:
        """Room for what becomes known row by row, NaN until then.

        An ordinary tensor even in inference mode, so that it can be filled on outside of it.
        """
        with torch.inference_mode(False):
            shape = self.frame.heads, self.frame.n
            return torch.full(shape, torch.nan, dtype=self.dtype, device=self.device)

    def bias(self, heads: slice, rows: Tensor) -> Callable[[Tensor], Tensor] | None:
        """What is added to the scores of some rows, by their keys."""
        if self.qkv.bias is None:
            return None
        return of_rows(of_heads(self.qkv.bias, heads), rows)

    def finish(
        self,
        scores: Tensor,
        heads: slice,
        rows: Tensor,
        cols: Tensor,
        bias: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Softcap, bias, mod and the row's own temperature applied, in place; the bias of these
        rows may be given, where they are asked for again."""
        if (cap := self.qkv.softcap) is not None:
            scores = scores.div_(cap).tanh_().mul_(cap)
        if (bias := bias or self.bias(heads, rows)) is not None:
            scores = scores.add_(bias(cols).to(scores))
        if self.mod is not None:
            scores = scores.copy_(self.mod(scores, heads, rows, cols))
        if (beta := self.beta(rows)) is not None:
            scores = scores.mul_(beta[heads, :, None])
        return scores

    def normalise(self, logits: Tensor, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"]:
        """Weights from logits of rows and all the keys that carry weight in them."""
        weights = self.normaliser.weights(
            logits, self.allowed(rows, cols), self.sinks(rows), self.frame.seen(rows)[0]
        )
        if self.share is None:
            return weights
        return weights.mul_(self.share(rows)[: len(weights), :, None].to(weights))

    def sinks(self, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r"] | None:
        """Sink logits of the rows, their own temperature applied."""
        if self.qkv.sinks is None:
            return None
        sinks = self.qkv.sinks.to(self.dtype)[:, None].expand(-1, len(rows))
        beta = self.beta(rows)
        return sinks if beta is None else sinks * beta

    def row_parts(self, rows: Index | None, most: int = BLOCK) -> Iterator[tuple[Index, Tensor]]:
        """Rows in pieces of at most so many scores."""
        frame = self.frame
        at = index(rows, frame.n, self.device)
        height = 1
        while height < 1024 and frame.heads * 2 * height * self.width(2 * height) <= most:
            height *= 2
        whole = not isinstance(rows, Tensor) and (rows is None or rows.step in (None, 1))
        for part in at.split(height):
            yield (slice(int(part[0]), int(part[-1]) + 1) if whole else part), part

    def width(self, height: int) -> int:
        """Keys that `height` consecutive rows look at, at most."""
        return min(self.frame.m, self.pattern.span(height) or self.frame.m)

    @property
    def plain(self) -> bool:
        """True if scores are logits, so that queries can take the temperature."""
        return self.qkv.softcap is None and self.qkv.bias is None and self.mod is None

    def queries(self, heads: slice, rows: Tensor) -> Float[Tensor, "h r f"]:
        """Features of queries, temperatures in them where scores are logits."""
        assert isinstance(self.normaliser, Softmax) and isinstance(self.scoring, Features)
        q = self.scoring.queries(self.qkv, self.qkv.q[heads].index_select(1, rows).to(self.dtype))
        if self.plain:
            if (tau := self.normaliser.temperature) != 1:
                q = q / tau
            if (beta := self.beta(rows)) is not None:
                q = q * beta[heads, :, None]
        return q
