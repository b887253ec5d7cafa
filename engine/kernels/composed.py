"""Attention made of three choices: a pattern, a scoring and a normaliser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import QKV, Block, Index, Steps, as_slice, index
from engine.contract.views import View
from engine.kernels import online
from engine.kernels.normalisers import Normaliser, Softmax
from engine.kernels.patterns import Pattern
from engine.kernels.rows import BLOCK, Mod, Rows
from engine.kernels.scoring import Dot, Features, Scoring
from engine.measure.attention import Attention
from engine.measure.metrics import RowStats
from engine.measure.passes import Asked, Summary
from engine.runtime.threads import in_order


class Composed(Rows, Attention):
    """A row's weights are normaliser(scores of the keys that pattern, causality and masks allow).

    Args:
        qkv, pattern, scoring, normaliser, beta, mod, share: as in Rows.
        output: computes (h n e) of the attention that it is given, faster than row blocks do, if
            the mechanism knows how. views: as of Attention.
    """

    def __init__(
        self,
        qkv: QKV,
        pattern: Pattern,
        scoring: Scoring | None = None,
        normaliser: Normaliser | None = None,
        *,
        beta: Callable[[Tensor], Tensor] | None = None,
        mod: Mod | None = None,
        share: Callable[[Tensor], Tensor] | None = None,
        output: Callable[[Any], Tensor] | None = None,
        views: tuple[View, ...] | Callable[[Any], tuple[View, ...]] = (),
    ) -> None:
        Rows.__init__(self, qkv, pattern, scoring, normaliser, beta, mod, share)
        Attention.__init__(self, qkv.frame, views=views)
        self._fast_output = output
        self.row_kind = self.normaliser.kind
        joined = qkv.sinks is not None or share is not None
        if joined and self.row_kind == "stochastic":
            self.row_kind = "substochastic"
        self._lse: Tensor | None = None

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    @property
    def rowwise(self) -> bool:
        """True if blocks are the way to the output, too."""
        plain = type(self).weighted is Composed.weighted and self._fast_output is None
        return plain and not self.streams

    def weighted(self) -> Tensor:
        if self._fast_output is not None:
            return self._fast_output(self)
        if self.streams:
            found = online.one_pass(self, stats=False)
            assert found.output is not None
            return found.output
        out = self.qkv.v.new_empty(self.frame.heads, self.frame.n, self.qkv.v.shape[-1])

        def fill(blocks: Callable[[], Iterator[Block]]) -> None:
            for block in blocks():
                out[:, block.rows] = self.weigh(block).to(out)

        pieces = (partial(fill, piece) for piece in self.pieces())
        for _ in in_order(
            pieces, self.device, size=self.frame.heads * self.frame.n * self.frame.m
        ):
            pass
        return out

    def weigh(self, block: Block) -> Float[Tensor, "h r e"]:
        """Weighted values of a block whose columns are shared by all heads."""
        return block.weigh(self.qkv.v)

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        for name, at in self.row_parts(rows):
            spans = self.spans(at)
            cols = torch.cat([torch.arange(a, b, device=self.device) for a, b in spans])
            everyone = slice(0, self.frame.heads)
            logits = self.finish(self.scores(everyone, at, cols), everyone, at, cols)
            weights = self.normalise(logits, at, cols)
            yield Block(name, slice(*spans[0]) if len(spans) == 1 else cols, weights)

    def lse(self, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r"]:
        """Log-sum-exp of the rows' logits over temperature, sinks in it; kept once known."""
        if self._lse is None:
            self._lse = self.unknown()
        missing = rows[self._lse[0, rows].isnan()]
        if len(missing):
            found = online.one_pass(self, rows=missing, output=False, stats=False)
            self._lse[:, missing] = found.lse
        return self._lse[:, rows]

    def window(self, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"] | None:
        """Exact weights of a window from the rows' log-sum-exp; None if that can't be."""
        if not (self.streams or self.normaliser.pairwise):
            return None
        everyone = slice(0, self.frame.heads)
        if self.normaliser.pairwise:
            logits = self.finish(self.scores(everyone, rows, cols), everyone, rows, cols)
            return self.normalise(logits, rows, cols)
        lse = self.lse(rows)
        weights = self.tempered(rows, cols).sub_(lse.masked_fill(lse == -torch.inf, 0)[..., None])
        allowed = self.allowed(rows, cols)
        if allowed is not None:
            weights.masked_fill_(~allowed, -torch.inf)
        return weights.clamp_(max=0).exp_()  # a logit far up may round to above its row's sum

    def tempered(self, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"]:
        """Logits over the temperature, rounded as by the pass that finds log-sum-exps."""
        assert isinstance(self.normaliser, Softmax)
        qkv, everyone = self.qkv, slice(0, self.frame.heads)
        if not self.plain:
            logits = self.finish(self.scores(everyone, rows, cols), everyone, rows, cols)
            return logits.div_(self.normaliser.temperature)
        assert isinstance(self.scoring, Features)
        k = self.scoring.keys(qkv, qkv.k[:, as_slice(cols)].to(self.dtype))
        q = self.queries(everyone, rows).unflatten(0, (len(k), -1))
        return (q.flatten(1, 2) @ k.mT).unflatten(1, q.shape[1:3]).flatten(0, 1)

    def summarised(self, asked: Asked) -> Summary:
        if not self.streams:
            return super().summarised(asked)
        found = online.one_pass(
            self, rows=asked.rows, output=asked.output, size=asked.size, pools=asked.pools,
            colour=asked.colour, progress=asked.progress,
        )  # fmt: skip
        if asked.rows is None:
            self._lse = found.lse
        assert found.rows is not None
        return Summary(found.output, found.rows, asked.means(found.maps, self.frame, self.device))

    def sampled(
        self, rows: Int[Tensor, " r"], v: Float[Tensor, "g m e"]
    ) -> tuple[RowStats, Float[Tensor, "h r e"]]:
        if not self.streams:
            return super().sampled(rows, v)
        found = online.one_pass(self, rows=rows)
        assert found.rows is not None and found.output is not None
        return found.rows, found.output

    def pieces(self, rows: Index | None = None) -> Iterator[Callable[[], Iterator[Block]]]:
        self.beta(index(rows, self.frame.n, self.device))  # before the pieces run side by side
        most = BLOCK // 4 if self.device.type == "cpu" else BLOCK
        for name, _ in self.row_parts(rows, most):
            yield partial(self.blocks, name)

    def room(self) -> Tensor | None:
        if not self.rowwise:
            return None
        return self.qkv.v.new_empty(self.frame.heads, self.frame.n, self.qkv.v.shape[-1])

    def _without(self, keys: Int[Tensor, " k"]) -> Attention:
        # softmax renormalised over the keys that are left is softmax with the others masked,
        # unless the others bear on the row's temperature or share
        part = self.row_kind != "stochastic"
        if not self.streams or self._beta is not None or part:
            return super()._without(keys)
        mask = torch.ones(self.frame.m, dtype=torch.bool, device=self.device)
        if self.frame.key_mask is not None:
            mask &= self.frame.key_mask.to(self.device)
        mask[keys] = False
        qkv = self.qkv.replace(key_mask=mask)
        return Composed(
            qkv,
            self.pattern,
            self.scoring,
            self.normaliser,
            mod=self.mod,
            views=lambda _: self.views,
        )

    def steps(self, head: int, row: int) -> Steps:
        qkv = self.qkv.head(head)
        beta = self.beta(torch.tensor([row], device=self.device))
        own = None if beta is None else beta[head : head + 1]
        kept = None if self.share is None else self.share(torch.tensor([row], device=self.device))
        one = Composed(
            qkv, self.pattern.head(head), self.scoring.head(head), self.normaliser,
            beta=None if own is None else lambda rows: own,
            mod=self.mod and self.mod.head(head),
            share=None if kept is None else lambda rows: kept[head : head + 1],
        )  # fmt: skip
        at = torch.tensor([row], device=self.device)
        cols = torch.arange(self.frame.m, device=self.device)
        scores = one.scores(slice(0, 1), at, cols)
        logits = one.finish(scores.clone(), slice(0, 1), at, cols)
        allowed = one.allowed(at, cols)
        weights = one.normalise(logits, at, cols)[0, 0]
        if allowed is not None:
            allowed = allowed.flatten(0, -2)
        return Steps(
            scores=scores[0, 0], logits=logits[0, 0],
            allowed=torch.ones_like(cols, dtype=torch.bool) if allowed is None else allowed[0],
            weights=weights, output=weights @ qkv.v[0].to(weights), scale=qkv.factor,
            product=isinstance(self.scoring, Dot),
        )  # fmt: skip
