"""A person's own rules as a mechanism: `engine.flex`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Refusal, RowKind
from engine.kernels import dense, flex, normalisers, patterns
from engine.kernels.composed import Composed
from engine.mechanisms.base import Mechanism


@dataclass(frozen=True)
class Flex(Mechanism):
    """Softmax over scores and pairs as a person's rules for FlexAttention leave them (arXiv
    2412.05496), or what their own function makes of these scores.

    The rules come after all that the QKV holds: `score_mod` is given scores with scale, softcap
    and bias in them, and pairs must be left by causality, masks and `mask_mod`. Queries have their
    numbers, from 0, as in FlexAttention, also where there are more keys than queries.
    """

    key: ClassVar[str] = "flex"
    family: ClassVar[str] = "own"
    paper: ClassVar[str] = "arXiv 2412.05496"
    complexity: ClassVar[str] = "n²"
    leaves_out: ClassVar[bool] = True
    blocks_at_once: ClassVar[int] = 8

    score_mod: flex.ScoreMod | None = None
    mask_mod: flex.MaskMod | None = None
    weights: flex.Weighing | None = None
    rows: RowKind = "stochastic"

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        pattern, offset = patterns.Everything(), qkv.frame.offset
        if self.mask_mod is not None:
            pattern = flex.ruled(self.mask_mod, qkv.heads, offset, qkv.device)
        mod = None if self.score_mod is None else flex.Changed(self.score_mod)
        weighing = normalisers.Softmax()
        if self.weights is not None:
            weighing = flex.Given(self.weights, self.rows)
        return Composed(qkv, pattern, normaliser=weighing, mod=mod)

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        z, seen = dense.logits(qkv), dense.allowed(qkv)
        h, i, j = (torch.arange(x, device=qkv.device) for x in z.shape)
        pair = torch.zeros_like(h[0]), h[:, None, None], i[:, None], j
        if self.score_mod is not None:
            z = self.score_mod(z, *pair).to(z)
        if self.mask_mod is not None:
            seen = seen & self.mask_mod(*pair)
        if self.weights is None:
            return dense.masked_softmax(qkv, z, seen)
        z = dense.entries(qkv, z, seen)
        return self.weights(z.clone()).masked_fill(z == -torch.inf, 0)[..., : qkv.m]

    @property
    def selects(self) -> bool:
        return self.mask_mod is not None


def made(
    *,
    score_mod: flex.ScoreMod | None = None,
    mask_mod: flex.MaskMod | None = None,
    weights: flex.Weighing | None = None,
    rows: RowKind = "stochastic",
) -> Flex:
    """A mechanism from rules as they are written for PyTorch's FlexAttention, for `attend`.

    Args:
        score_mod: (score, b, h, q_idx, kv_idx) -> score, of one pair, after scale, softcap and
            bias.
        mask_mod: (b, h, q_idx, kv_idx) -> True where the query may read the key, besides
            causality and masks.
        weights: (h r c) scores of whole rows, −∞ where a row may not look -> (h r c) weights, each
            row by itself; softmax if None. Keys that no row of a piece may look at may be
            missing.
        rows: what rows of these weights are: "stochastic" (at least 0, summing to 1),
            "substochastic" (summing to at most 1), "positive" or "signed".

    Raises:
        ValueError: there is no rule at all. A rule that fails, or weights that are not what they
            are said to be, are refused as they come up, with the line.
    """
    if score_mod is None and mask_mod is None and weights is None:
        raise Refusal("flex needs a rule: score_mod, mask_mod or weights")
    if rows not in ("stochastic", "substochastic", "positive", "signed"):
        raise Refusal(
            "rows must be stochastic, substochastic, positive or signed, not {rows!r}", rows=rows
        )
    return Flex(score_mod, mask_mod, weights, rows)
