"""Attention made of three choices: a pattern, a scoring and a normaliser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import QKV, Attention, Block, Index, Steps, as_slice, bias_of, index
from engine.normalisers import Normaliser, Softmax
from engine.patterns import Pattern, Span
from engine.scoring import Dot, Features, Scoring
from engine.threads import in_order, one_thread_each
from engine.views import View

BLOCK = 2**22
"""Scores held at once by the plain paths, all heads together."""


class Composed(Attention):
    """A row's weights are normaliser(scores of the keys that pattern, causality and masks allow).

    Args:
        qkv: what is attended.
        pattern, scoring, normaliser: the three choices.
        beta: rows (r) -> (h r) or (1 r), each row's inverse temperature: multiplies its logits,
            sink logits among them. Asked for when needed, once a row.
        output: computes (h n e) faster than row blocks do, if the mechanism knows how.
        views: the mechanism's own structure.
    """

    def __init__(
        self,
        qkv: QKV,
        pattern: Pattern,
        scoring: Scoring | None = None,
        normaliser: Normaliser | None = None,
        *,
        beta: Callable[[Tensor], Tensor] | None = None,
        output: Callable[[], Tensor] | None = None,
        views: tuple[View, ...] | Callable[[], tuple[View, ...]] = (),
    ) -> None:
        super().__init__(qkv.frame, views=views)
        self.qkv = qkv
        self.pattern = pattern
        self.scoring: Scoring = scoring or Dot()
        self.normaliser: Normaliser = normaliser or Softmax()
        self.scoring.check(qkv)
        self._fast_output = output
        self.row_kind = self.normaliser.kind
        if qkv.sinks is not None and self.row_kind == "stochastic":
            self.row_kind = "substochastic"
        self._lse: Tensor | None = None
        self._beta = beta
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

    @property
    def rowwise(self) -> bool:
        """True if blocks are the way to the output, too."""
        plain = type(self).weighted is Composed.weighted and self._fast_output is None
        return plain and not self.streams

    def weighted(self) -> Tensor:
        if self._fast_output is not None:
            return self._fast_output()
        if self.streams:
            from engine.online import sweep

            found = sweep(self, stats=False)
            assert found.output is not None
            return found.output
        out = self.qkv.v.new_empty(self.frame.heads, self.frame.n, self.qkv.v.shape[-1])
        self.beta(index(None, self.frame.n, self.device))  # before the pieces run side by side

        def piece(rows: Index) -> None:
            for block in self.blocks(rows):
                out[:, block.rows] = self.weigh(block).to(out)

        most = BLOCK // 4 if self.device.type == "cpu" else BLOCK
        with one_thread_each(self.device) as workers:
            pieces = (partial(piece, rows) for rows, _ in self.row_parts(None, most))
            for _ in in_order(pieces, workers):
                pass
        return out

    def weigh(self, block: Block) -> Float[Tensor, "h r e"]:
        """Weighted values of a block whose columns are shared by all heads."""
        return block.weigh(self.qkv.v)

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
            shape = self.frame.heads, self.frame.n
            self._betas = torch.full(shape, torch.nan, dtype=self.dtype, device=self.device)
        missing = rows[self._betas[0, rows].isnan()]
        if len(missing):
            self._betas[:, missing] = self._beta(missing).to(self._betas)
        return self._betas[:, rows]

    def finish(self, scores: Tensor, heads: slice, rows: Tensor, cols: Tensor) -> Tensor:
        """Softcap, bias and the row's own temperature applied, in place if possible."""
        if (cap := self.qkv.softcap) is not None:
            scores = scores.div_(cap).tanh_().mul_(cap)
        if self.qkv.bias is not None:
            scores = scores.add_(bias_of(self.qkv.bias, heads, rows, cols).to(scores))
        if (beta := self.beta(rows)) is not None:
            scores = scores.mul_(beta[heads, :, None])
        return scores

    def normalise(self, logits: Tensor, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"]:
        """Weights from logits of rows and all the keys that carry weight in them."""
        return self.normaliser.weights(
            logits, self.allowed(rows, cols), self.sinks(rows), self.frame.seen(rows)[0]
        )

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
        from engine import online

        if self._lse is None:
            self._lse = torch.full(
                (self.frame.heads, self.frame.n), torch.nan, dtype=self.dtype, device=self.device
            )
        missing = rows[self._lse[0, rows].isnan()]
        if len(missing):
            found = online.sweep(self, rows=missing, output=False, stats=False)
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
        return weights.exp_()

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

    @property
    def plain(self) -> bool:
        """True if scores are logits, so that queries can take the temperature."""
        return self.qkv.softcap is None and self.qkv.bias is None

    def queries(self, heads: slice, rows: Tensor) -> Float[Tensor, "h r f"]:
        """Features of queries, temperatures in them where scores are logits."""
        assert isinstance(self.normaliser, Softmax) and isinstance(self.scoring, Features)
        q = self.scoring.queries(self.qkv, self.qkv.q[heads][:, rows].to(self.dtype))
        if self.plain:
            if (tau := self.normaliser.temperature) != 1:
                q = q / tau
            if (beta := self.beta(rows)) is not None:
                q = q * beta[heads, :, None]
        return q

    def hide(self, keys: Int[Tensor, " k"]) -> Attention:
        # softmax renormalised over the keys that are left is softmax with the others masked,
        # unless the others bear on the row's temperature or share
        zero = isinstance(self.normaliser, Softmax) and self.normaliser.zero
        if not self.streams or self._beta is not None or zero:
            return super().hide(keys)
        mask = torch.ones(self.frame.m, dtype=torch.bool, device=self.device)
        if self.frame.key_mask is not None:
            mask &= self.frame.key_mask.to(self.device)
        mask[index(keys, self.frame.m)] = False
        qkv = self.qkv.replace(key_mask=mask, sinks=None)
        return Composed(qkv, self.pattern, self.scoring, self.normaliser, views=self._views)

    def steps(self, head: int, row: int) -> Steps:
        qkv = self.qkv.head(head)
        beta = self.beta(torch.tensor([row], device=self.device))
        own = None if beta is None else beta[head : head + 1]
        one = Composed(
            qkv, self.pattern.head(head), self.scoring.head(head), self.normaliser,
            beta=None if own is None else lambda rows: own,
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


def sdpa(
    q: Float[Tensor, "h r d"],
    k: Float[Tensor, "g c d"],
    v: Float[Tensor, "g c e"],
    scale: float,
    mask: Bool[Tensor, "r c"] | Float[Tensor, "r c"] | Float[Tensor, "h r c"] | None = None,
    causal: bool = False,
) -> Float[Tensor, "h r e"]:
    """torch's own scaled dot product attention; key heads are read where they are.

    A mask of booleans says what may be seen, one of numbers is added to the scores.
    """
    rep = len(q) // len(k)
    q = q.unflatten(0, (len(k), rep)).transpose(0, 1)
    if mask is not None and mask.ndim == 3:
        mask = mask.unflatten(0, (len(k), rep)).transpose(0, 1)
    k, v = k.expand(rep, -1, -1, -1), v.expand(rep, -1, -1, -1)
    thin = v.shape[-1]
    if thin < q.shape[-1]:  # unequal widths would fall back to a form that holds n×n scores
        v = F.pad(v, (0, q.shape[-1] - thin))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale)
    return out[..., :thin].transpose(0, 1).flatten(0, 1)


def fits_sdpa(qkv: QKV) -> bool:
    """True if torch's own attention can say all that bears on this QKV."""
    plain = qkv.softcap is None and qkv.bias is None and qkv.sinks is None
    return plain and qkv.v.shape[-1] <= qkv.q.shape[-1] == qkv.k.shape[-1]


def sdpa_whole(att: Composed) -> Float[Tensor, "h n e"]:
    """Output of softmax over everything by torch's attention."""
    qkv = att.qkv
    assert isinstance(att.normaliser, Softmax)
    masked = qkv.key_mask is not None or qkv.mask is not None
    if masked or (qkv.causal and qkv.n != qkv.m):
        return sdpa_blocks(att, height=512)
    scale = qkv.factor / att.normaliser.temperature
    return sdpa(sharpened(att), qkv.k, qkv.v, scale, causal=qkv.causal)


def sharpened(att: Composed) -> Float[Tensor, "h n d"]:
    """Queries times their rows' inverse temperature, if these have one."""
    q = att.qkv.q
    beta = att.beta(torch.arange(att.frame.n, device=att.device))
    return q if beta is None else (q * beta[..., None]).to(q)


def sdpa_blocks(att: Composed, height: int) -> Float[Tensor, "h n e"]:
    """Output by torch's attention on blocks of rows, each over its own spans only.

    A bias is laid out for one block at a time.
    """
    qkv, frame, bias = att.qkv, att.frame, att.qkv.bias
    assert isinstance(att.normaliser, Softmax)
    tau = att.normaliser.temperature
    scale, q, k, v = qkv.factor / tau, sharpened(att), qkv.k, qkv.v
    if bias is not None:  # half precision would round the logits
        q, k, v = (x.to(att.dtype) for x in (q, k, v))
        height = max(1, min(height, BLOCK // (frame.heads * frame.m)))
    out = qkv.v.new_empty(frame.heads, frame.n, qkv.v.shape[-1])
    alike = att.pattern.shifts and frame.mask is None and frame.key_mask is None and bias is None
    masks: dict[tuple[int, ...], Tensor | None] = {}
    zero = q.new_zeros(())

    def allowed(at: Tensor, cols: Tensor, ahead: int) -> Tensor | None:
        """The mask of a block, made once for all that lie alike, as torch would turn it."""
        if not alike:
            return att.allowed(at, cols)
        name = len(at), len(cols), ahead
        if name not in masks:
            mask = att.allowed(at, cols)
            masks[name] = mask if mask is None else zero.masked_fill(~mask, -torch.inf)
        return masks[name]

    def block(at: Tensor) -> None:
        spans = att.spans(at)
        cols = torch.cat([torch.arange(a, b, device=att.device) for a, b in spans])
        keys = slice(*spans[0]) if len(spans) == 1 else cols
        rows = slice(int(at[0]), int(at[-1]) + 1)
        mask = allowed(at, cols, int(at[0]) - spans[-1][0])
        if bias is not None:
            added = bias(at, cols).to(q) / tau
            if (beta := att.beta(at)) is not None:
                added = added * beta[..., None]
            mask = added if mask is None else added.masked_fill_(~mask, -torch.inf)
        out[:, rows] = sdpa(q[:, rows], k[:, keys], v[:, keys], scale, mask).to(out)

    parts = torch.arange(frame.n, device=att.device).split(height)
    with one_thread_each(att.device) as workers:
        for _ in in_order((partial(block, at) for at in parts), workers):
            pass
    return out
