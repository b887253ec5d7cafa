"""What follows from weights, a cell and a row at a time: what the engine is held against."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.contract import QKV
from engine.kernels.dense import allowed, logits, softmax

__all__ = ["allowed", "logits", "output", "pooled", "softmax", "statistics"]


def output(weights: Tensor, qkv: QKV) -> Tensor:
    """(h n e)."""
    return weights @ qkv.v.double().repeat_interleave(qkv.heads // qkv.groups, 0)


def statistics(weights: Tensor, qkv: QKV) -> dict[str, Tensor]:
    """Each statistic from its definition, a row at a time."""
    h, n, m = weights.shape
    seen, offset = allowed(qkv), qkv.m - qkv.n if qkv.causal else 0
    names = (
        "entropy", "normalised_entropy", "effective_tokens", "participation", "max_weight",
        "top_mass", "sink_mass", "distance", "kept_mass", "needle_mass",
    )  # fmt: skip
    out = {name: torch.zeros(h, n, dtype=torch.float64) for name in names}
    for a in range(h):
        for i in range(n):
            total = float(weights[a, i].sum())
            if total == 0:
                continue
            p = weights[a, i] / total
            entropy = float(-(p[p > 0] * p[p > 0].log()).sum())
            count = int(seen[i].sum())
            values = (
                entropy,
                entropy / float(torch.tensor(float(count)).log()) if count > 1 else 0.0,
                float(torch.tensor(entropy).exp()),
                1 / float((p * p).sum()),
                float(p.max()),
                float(p.sort(descending=True).values[:8].sum()),
                float(p[int(seen[i].nonzero()[0])]),
                float((p * (torch.arange(m) - i - offset).abs()).sum()),
                total,
                0.0 if qkv.needles is None else float(p[qkv.needles].sum()),
            )
            for name, value in zip(names, values, strict=True):
                out[name][a, i] = value
    return out


def pooled(weights: Tensor, qkv: QKV, size: int, pool: str) -> Tensor:
    """(h a b) map, a cell at a time."""
    h, n, m = weights.shape
    tall, wide = -(-n // size), -(-m // size)
    seen = allowed(qkv)
    out = torch.zeros(h, -(-n // tall), -(-m // wide), dtype=torch.float64)
    for a in range(out.shape[1]):
        for b in range(out.shape[2]):
            rows, cols = slice(a * tall, (a + 1) * tall), slice(b * wide, (b + 1) * wide)
            cell = weights[:, rows, cols]
            if pool == "max":
                out[:, a, b] = cell.amax((1, 2))
            else:
                out[:, a, b] = cell.sum((1, 2))
            if pool == "mean":
                out[:, a, b] /= max(1, int(seen[rows, cols].sum()))
    return out
