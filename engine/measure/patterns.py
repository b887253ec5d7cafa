"""What a head does, in numbers: shares of its weight on keys that stand in a known relation.

Every score but the distance lies in 0 … 1, and is the mean over the rows for which the relation
says anything; NaN where there are none. Keys that serve as sinks are set aside first where a
score tells of position or content: each row is brought back to a mass of 1 without them, and a
row with nothing left gives 0. So a head that parks its weight on the first token is told by its
`sink` score alone.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import Refusal
from engine.measure.attention import Attention

PATTERNS = (
    "previous", "induction", "duplicate", "sink", "separator", "entropy", "distance", "needle",
    "retrieval",
)  # fmt: skip
AT_ONCE = 2**24  # weights that are looked at side by side


def patterns(
    att: Attention,
    ids: Int[Tensor, " m"],
    separators: Bool[Tensor, " m"],
    sinks: Int[Tensor, " s"],
    rows: Int[Tensor, " r"] | None = None,
    needles: Int[Tensor, " k"] | None = None,
) -> dict[str, Float[Tensor, " h"]]:
    """Every score of every head, by the names in PATTERNS.

    With w the weights, v the same with sinks set aside, t the tokens, i a row and j a key:

    - previous: v[i, i−1]. Elhage et al. 2021, A Mathematical Framework for Transformer Circuits.
    - duplicate: Σ v[i, j] over other places j (earlier ones, if causal) with t[j] = t[i].
      Wang et al. 2022, arXiv 2211.00593.
    - induction: Σ v[i, j+1] over j < i − 1 with t[j] = t[i], what followed the same token before.
      Olsson et al. 2022, arXiv 2209.11895.
    - retrieval: share of rows whose largest v is on a key whose token is the next, t[i+1], where
      that had come up before. Wu et al. 2024, arXiv 2404.15574, without the bound to a needle.
    - needle: Σ v[last row, needles]. sink: w[i, 0] of the rows after the first (Gu et al. 2024,
      arXiv 2410.10781). separator: Σ w[i, j] over separators (Clark et al. 2019, 1906.04341).
    - entropy: of v, over the logarithm of how many keys the row may see beside sinks.
    - distance: Σ v[i, j] |i − j|, tokens.

    Args:
        ids: tokens of the keys. separators: which of them separate. sinks: keys to set aside.
        rows: rows to look at; all if None. needles: keys; those of the attention if None.

    Raises:
        ValueError: weights are signed, and their shares say nothing.
    """
    frame = att.frame
    if att.row_kind == "signed":
        raise Refusal("weights below 0 are no shares, and can't be scored by pattern")
    device = att.device
    at = torch.arange(frame.n, device=device) if rows is None else rows.to(device)
    ids, aside = ids.to(device), torch.zeros(frame.m, dtype=torch.bool, device=device)
    aside[sinks.to(device)] = True
    nothing = torch.zeros(frame.heads, dtype=torch.float64, device=device)
    total = {name: nothing.clone() for name in PATTERNS}
    count: dict[str, int] = dict.fromkeys(PATTERNS, 0)
    for part in at.split(max(1, AT_ONCE // (frame.heads * frame.m))):
        found = _scores(att, part, ids, separators.to(device), aside, needles)
        for name, (values, counts) in found.items():
            total[name] += values[:, counts].double().sum(1)
            count[name] += int(counts.sum())
    return {
        name: (total[name] / count[name] if count[name] else total[name] + torch.nan).float()
        for name in PATTERNS
    }


def _scores(
    att: Attention,
    rows: Int[Tensor, " r"],
    ids: Int[Tensor, " m"],
    separators: Bool[Tensor, " m"],
    aside: Bool[Tensor, " m"],
    needles: Int[Tensor, " k"] | None,
) -> dict[str, tuple[Float[Tensor, "h r"], Bool[Tensor, " r"]]]:
    """Each score of each row, and which rows count."""
    frame = att.frame
    keys = torch.arange(frame.m, device=rows.device)
    own = rows + frame.offset  # the key of a row's own token
    w = att.weights(rows).float()
    v = w.masked_fill(aside, 0)
    v = v / v.sum(-1, keepdim=True).clamp_min(1e-12)
    seen = frame.visible(rows, keys)
    if seen is None:
        seen = torch.ones(len(rows), frame.m, dtype=torch.bool, device=rows.device)
    open_ = (seen & ~aside).sum(-1)
    every = seen.any(-1)
    found = {
        "separator": (w @ separators.to(w), every & bool(separators.any())),
        "entropy": (torch.special.entr(v).sum(-1) / open_.clamp_min(2).log(), open_ > 1),
    }
    if (needles := frame.needles if needles is None else needles) is not None:
        found["needle"] = (v[..., needles.to(rows.device)].sum(-1), rows == frame.n - 1)
    if frame.n != frame.m:
        return found
    found["sink"] = (w[..., 0], every & (own > 0))
    found["distance"] = ((v * (keys - own[:, None]).abs()).sum(-1), open_ > 0)
    before = (own - 1).clamp_min(0)
    found["previous"] = (_at(v, before), (own > 0) & ~aside[before])
    same = (ids[own][:, None] == ids) & seen & ~aside
    twin = same & (keys != own[:, None])
    found["duplicate"] = ((v * twin).sum(-1), twin.any(-1))
    after = torch.zeros_like(same)
    after[:, 1:] = (ids[own][:, None] == ids)[:, :-1] & ~aside[:-1]
    after &= seen & (keys < own[:, None])
    found["induction"] = ((v * after).sum(-1), after.any(-1))
    nexts = ids[(own + 1).clamp_max(frame.m - 1)]
    copied = (nexts[:, None] == ids) & seen & ~aside & (keys <= own[:, None])
    best = v.argmax(-1)  # (h r)
    hit = copied.expand(frame.heads, -1, -1).gather(2, best[..., None])[..., 0]
    found["retrieval"] = (hit.float(), copied.any(-1) & (own + 1 < frame.m))
    return found


def _at(v: Float[Tensor, "h r m"], keys: Int[Tensor, " r"]) -> Float[Tensor, "h r"]:
    return v.gather(2, keys.expand(len(v), -1)[..., None])[..., 0]
