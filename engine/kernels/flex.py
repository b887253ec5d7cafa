"""A person's own rules for pairs, as FlexAttention takes them (arXiv 2412.05496), tile by tile.

A rule is written for one pair: `mask_mod(b, h, q_idx, kv_idx)` says whether a query may read a
key, `score_mod(score, b, h, q_idx, kv_idx)` what becomes of their score. Its arguments are
tensors of one number each, and what it returns is one, too; tensors around it may be indexed with
them. It is applied to all pairs of a tile at once (`torch.vmap`), so that it can't branch on
values by `if`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import walk_tb
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import Refusal, RowKind
from engine.kernels.normalisers import Normaliser, Sinks
from engine.kernels.patterns import Pattern, Span

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
Weighing = Callable[[Tensor], Tensor]
"""(h r c) scores, −∞ where a row may not look -> (h r c) weights."""


def mistake(rule: Callable[..., Tensor], error: Exception) -> Refusal:
    """What went wrong in a person's rule, with the last of its file's lines that it came by."""
    file = rule.__code__.co_filename if hasattr(rule, "__code__") else ""
    lines = [n for frame, n in walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    name, said = getattr(rule, "__name__", str(rule)), f"{type(error).__name__}: {error}"
    if not lines:
        return Refusal("{file}: {error}", file=name, error=said)
    # what was typed has no file
    where = name if file.startswith("<") else Path(file).name
    return Refusal("{file}, line {line}: {error}", file=where, line=lines[-1], error=said)


def tiled(
    rule: MaskMod | ScoreMod,
    heads: Int[Tensor, " h"],
    rows: Int[Tensor, " r"],
    cols: Int[Tensor, " c"],
    scores: Float[Tensor, "h r c"] | None = None,
) -> Tensor:
    """A rule of all pairs of a tile, (h r c); what does not depend on the head is not repeated,
    and has a stride of 0 there. The batch is 0.

    Raises:
        ValueError: the rule failed; says where.
    """
    first = () if scores is None else (scores,)
    every: Callable[..., Tensor] = rule
    for dims in ((None, None, None, 0), (None, None, 0, None), (None, 0, None, None)):
        every = torch.vmap(every, in_dims=((0,) * len(first)) + dims)
    try:
        return every(*first, torch.zeros_like(rows[:1])[0], heads, rows, cols)
    except Exception as error:  # whatever a person's code raises
        raise mistake(rule, error) from error


@dataclass(frozen=True, eq=False)
class Ruled(Pattern):
    """Pairs that a mask_mod leaves, alike in all heads.

    Attributes:
        rule: the mask_mod. first: the head that is asked. offset: position of query 0 on the
            keys' axis; a rule knows queries by their number, from 0.
    """

    rule: MaskMod
    offset: int = 0
    first: int = 0
    count: int = 1

    def head(self, h: int) -> Ruled:
        return replace(self, first=self.first + h, count=1)

    def spans(self, low: int, high: int, m: int) -> list[Span]:
        return [(0, m)]

    def asked(self, rows: Tensor, cols: Tensor) -> Bool[Tensor, "h r c"]:
        """The rule of every pair."""
        heads = torch.arange(self.first, self.first + self.count, device=rows.device)
        found = tiled(self.rule, heads, rows - self.offset, cols)
        if found.dtype != torch.bool:
            raise Refusal(
                "mask_mod must return true or false of each pair, not {dtype}",
                dtype=str(found.dtype).removeprefix("torch."),
            )
        return found

    def allows(self, rows: Tensor, cols: Tensor) -> Bool[Tensor, "r c"] | Bool[Tensor, "h r c"]:
        return self.asked(rows, cols)[0]

    def span(self, height: int) -> int:
        return 0


class RuledByHead(Ruled):
    """Pairs that a mask_mod leaves each head."""

    per_head: ClassVar[bool] = True

    def allows(self, rows: Tensor, cols: Tensor) -> Bool[Tensor, "h r c"]:
        return self.asked(rows, cols)


def ruled(rule: MaskMod, heads: int, offset: int, device: torch.device) -> Ruled:
    """The pattern of a mask_mod, each head's own if the rule asks which head it is."""
    some = torch.arange(2, device=device)
    found = RuledByHead(rule, offset, count=heads)
    # what is given back for two heads from one answer has no stride
    asked = replace(found, count=2).asked(some[:1] + offset, some[:1])
    return Ruled(rule, offset) if asked.stride(0) == 0 or heads == 1 else found


@dataclass(frozen=True, eq=False)
class Changed:
    """What a score_mod makes of scores. Attributes: rule; first: the head that is 0 here."""

    rule: ScoreMod
    first: int = 0

    def head(self, h: int) -> Changed:
        return Changed(self.rule, self.first + h)

    def __call__(
        self, scores: Float[Tensor, "h r c"], heads: slice, rows: Tensor, cols: Tensor
    ) -> Float[Tensor, "h r c"]:
        """Scores of these heads (a slice with its ends), of queries by number, and of keys."""
        start = self.first + (heads.start or 0)
        which = torch.arange(start, start + len(scores), device=scores.device)
        found = tiled(self.rule, which, rows, cols, scores)
        if bool(found.isnan().any()):
            raise Refusal("score_mod returned what is no number")
        return found


@dataclass(frozen=True, eq=False)
class Given(Normaliser):
    """A person's own way from scores to weights.

    Attributes:
        rule: of whole rows, each by itself; a sink's logit is one more entry of the row.
        rows: what its rows are; what they turn out to be is held to that.
    """

    rule: Weighing
    rows: RowKind = "stochastic"

    @property
    def kind(self) -> RowKind:
        return self.rows

    def weights(
        self, logits: Tensor, allowed: Tensor | None, sinks: Sinks | None, visible: Tensor
    ) -> Tensor:
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -torch.inf)
        width = logits.shape[-1]
        if sinks is not None:
            extra = sinks.to(logits).view(len(logits), -1, 1).expand(-1, logits.shape[1], -1)
            logits = torch.cat([logits, extra], -1)
        try:
            found = self.rule(logits.clone())
        except Exception as error:  # whatever a person's code raises
            raise mistake(self.rule, error) from error
        if not isinstance(found, Tensor) or found.shape != logits.shape:
            raise Refusal(
                "weights must return as many numbers as it is given: {shape}",
                shape=" × ".join(map(str, logits.shape)),
            )
        seen = logits > -torch.inf
        found = found.to(logits).masked_fill(~seen, 0)
        self._hold(found, seen.any(-1))
        return found[..., :width]

    def _hold(self, found: Float[Tensor, "h r c"], some: Bool[Tensor, "h r"]) -> None:
        """Raises ValueError where weights are not what they are said to be."""
        if not bool(found.isfinite().all()):
            raise Refusal("weights returned what is not finite")
        total = found.sum(-1, dtype=torch.float64)[some]
        slack = 64 * torch.finfo(found.dtype).eps * max(8, found.shape[-1] ** 0.5)
        wrong = {
            "signed": None,
            "positive": found.flatten() < 0,
            "substochastic": (found.flatten() < 0).any() | (total > 1 + slack),
            "stochastic": (found.flatten() < 0).any() | ((total - 1).abs() > slack),
        }[self.rows]
        if wrong is not None and bool(wrong.any()):
            raise Refusal(
                "rows of weights are not {rows}, as was said: they hold {least:.3g} and sum to "
                "{low:.3g} … {high:.3g}; say rows=\"substochastic\", \"positive\" or \"signed\"",
                rows=self.rows, least=float(found.min()), low=float(total.min()),
                high=float(total.max()),
            )  # fmt: skip
