"""Output by torch's own scaled dot product attention, where it can say all that bears on rows."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from engine.contract import QKV
from engine.kernels.normalisers import Softmax
from engine.kernels.rows import BLOCK, Rows
from engine.runtime.threads import in_order

LEAST = 1e-30
"""Scales below this may be 0 in single precision."""


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
    q, scale = safely(q, scale)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale)
    return out[..., :thin].transpose(0, 1).flatten(0, 1)


def safely(q: Tensor, scale: float) -> tuple[Tensor, float]:
    """Queries and a scale above 0 that give the same scores: torch masks before it scales, and
    makes NaN of 0 · −∞, and of what may not be seen the most of all where the scale is below 0."""
    return (q, scale) if scale > LEAST else (q * scale, 1.0)


def fits_sdpa(qkv: QKV) -> bool:
    """True if torch's own attention can say all that bears on this QKV."""
    plain = qkv.softcap is None and qkv.bias is None and qkv.sinks is None
    return plain and qkv.v.shape[-1] <= qkv.q.shape[-1] == qkv.k.shape[-1]


def sdpa_whole(att: Rows) -> Float[Tensor, "h n e"]:
    """Output of softmax over everything by torch's attention."""
    qkv = att.qkv
    assert isinstance(att.normaliser, Softmax)
    masked = qkv.key_mask is not None or qkv.mask is not None
    if masked or (qkv.causal and qkv.n != qkv.m):
        return sdpa_blocks(att, height=512)
    scale = qkv.factor / att.normaliser.temperature
    return sdpa(sharpened(att), qkv.k, qkv.v, scale, causal=qkv.causal)


def sharpened(att: Rows) -> Float[Tensor, "h n d"]:
    """Queries times their rows' inverse temperature, if these have one."""
    q = att.qkv.q
    beta = att.beta(torch.arange(att.frame.n, device=att.device))
    return q if beta is None else (q * beta[..., None]).to(q)


def sdpa_blocks(att: Rows, height: int) -> Float[Tensor, "h n e"]:
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
    for _ in in_order((partial(block, at) for at in parts), att.device):
        pass
    return out
