"""The head and the row that open: where the mechanism visibly does something."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract.views import Erasure, Factors, Stick
from engine.measure.attention import Attention
from engine.measure.metrics import RowStats
from engine.structure.highlights import sharpness

PAIRS = 2**22
"""Weights, of all heads, up to which each row is looked at."""
LEAST = 0.01
"""What a row counts that the mechanism leaves as it was, of what the one counts that it changes
most."""
FEW = 8.0
"""Keys over which a stick is spread that shows how it is broken."""


def opening(
    att: Attention, stats: RowStats, full: Attention | None, head: int | None = None
) -> tuple[int, int]:
    """The head and the row: one that looks back sharply, and that the mechanism changes.

    Args:
        full: full attention over the same keys; None where there is nothing to compare, or no
            need. head: look at this one only.
    """
    value = sharpness(stats, att.frame.offset)
    if full is not None and att.frame.heads * att.frame.n * att.frame.m <= PAIRS:
        value = torch.where(value > 0, value * told(att, stats, full), value)
    if head is None:
        head = int(value.amax(1).argmax())
    return head, int(value[head].argmax())


def told(att: Attention, stats: RowStats, full: Attention) -> Float[Tensor, "h n"]:
    """How plainly each row shows what the mechanism does, beside the one that shows it best."""
    found = shows(att, stats, full)
    return LEAST + found / float(found.max().clamp_min(1e-12))


def shows(att: Attention, stats: RowStats, full: Attention) -> Float[Tensor, "h n"]:
    """How plainly each row shows it: what is erased, and from how far; over how many keys a stick
    is spread; or how far the row is from full attention's."""
    frame, rows = att.frame, torch.arange(att.frame.n)
    for view in att.views:
        if isinstance(view, Factors):  # every row shows it, the worst made ones no better
            return torch.ones_like(stats.max_weight)
        if isinstance(view, Erasure):
            at = rows + frame.offset
            away = (at[:, None] - torch.arange(frame.m)).clamp_min(0).log1p()
            return (view.lost(rows).cpu() * away).amax(-1).square()
        if isinstance(view, Stick):
            return stats.effective_tokens.clamp_max(FEW).nan_to_num(0).square()
    apart = [
        (att.weights(part) - full.weights(part)).abs().sum(-1).cpu() for part in rows.split(256)
    ]
    return torch.cat(apart, 1).clamp_max(2.0)
