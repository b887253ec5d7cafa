"""Softmax whose output each head's gate lets through (arXiv 2505.06708)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from engine.contract import QKV, param
from engine.contract.learned import Fidelity, Learned
from engine.contract.views import Gate
from engine.kernels import dense, patterns, selection
from engine.kernels.composed import Composed
from engine.kernels.sdpa import fits_sdpa, sdpa_whole
from engine.mechanisms.base import Mechanism

SAMPLE = 256
"""Rows that a gate is fitted to at most."""
EDGE = 0.01
"""A share that is fitted is at least this, and at most 1 less it."""
RIDGE = 1.0
"""Of the fit, as a share of the features' own size."""


@dataclass(frozen=True)
class Gated(Mechanism):
    """σ(w·x_i + b) · softmax: a gate of each head and token on what the head gives, so that a row
    that has nothing to say need not put its weight on the first token. Rows sum to their gate.

    The paper trains w and b with the model. A model that was not trained so parks on the first
    key instead: "fitted" lets a gate follow from the token what its row gives to other keys than
    the first that it sees, by least squares on the gate's logit; "random" is the contrast, about
    half open; "open" is softmax. A gate reads the layer's input, or the query where that is not
    known. A model trained this way brings its own. The paper's best gate is of each channel, which
    would leave no one weight a pair; this is its head-wise form.

    Honours everything that a QKV can hold.
    """

    key: ClassVar[str] = "gated"
    family: ClassVar[str] = "remedies"
    paper: ClassVar[str] = "arXiv 2505.06708"
    complexity: ClassVar[str] = "n²"

    gate: str = param("fitted", choices=("fitted", "random", "open"))
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        learned = self.learned or self.learn(qkv)
        found = gates(qkv, learned)
        att = Composed(
            qkv, patterns.Everything(),
            share=None if found is None else lambda rows: found[:, rows],
            output=(lambda own: _let(sdpa_whole(own), found)) if fits_sdpa(qkv) else None,
            views=() if found is None else (Gate(found.float()),),
        )  # fmt: skip
        att.fidelity = learned and learned.fidelity
        return att

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        learned = self.learned or self.learn(qkv)
        weights = dense.softmax(qkv)
        if learned is None:
            return weights
        w, b = (learned.weights[x].double() for x in ("w_gate", "b_gate"))
        z = torch.einsum("hnd,hd->hn", read(qkv).expand(qkv.heads, -1, -1), w) + b[:, None]
        return weights / (1 + torch.exp(-z))[..., None]

    def learn(self, qkv: QKV) -> Learned | None:
        """w_gate (h D) and b_gate (h), for what the gate reads as it is; fidelity: R² of the
        gate's logit on rows held out."""
        if self.gate == "open":
            return None
        draw = torch.Generator().manual_seed(self.seed)
        x = read(qkv)
        w = torch.randn(qkv.heads, x.shape[-1], generator=draw, dtype=torch.float64).to(x.device)
        size = x.square().sum(-1).mean(-1).sqrt().clamp_min(1e-12)[:, None]  # (1 1) or (h 1)
        chance = w / size
        if self.gate == "random":
            return Learned({"w_gate": chance, "b_gate": chance.new_zeros(qkv.heads)})
        return fitted(qkv, x, chance)

    def learns(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return {} if self.gate == "open" else self.takes(qkv)

    def takes(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return {"w_gate": (qkv.heads, read(qkv).shape[-1]), "b_gate": (qkv.heads,)}

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        """Half open for every token, if it is not to stay open."""
        if self.gate == "open":
            return {}
        return {
            "w_gate": Parameter(torch.zeros(heads, read)),
            "b_gate": Parameter(torch.zeros(heads)),
        }

    @property
    def idle(self) -> tuple[str, ...]:
        return ("seed",) if self.gate == "open" else ()

    @property
    def formulas(self) -> tuple[str, ...]:
        return ("",) if self.gate != "open" else ("open",)

    def held(self, qkv: QKV) -> int:
        """What the gate reads, and the gates, in float64."""
        rows = min(qkv.n, SAMPLE)
        return 8 * (3 * read_size(qkv) + 4 * qkv.heads * (qkv.n + rows * qkv.m))

    def flops(self, qkv: QKV) -> int:
        """The gates on top of softmax; not the fit."""
        return super().flops(qkv) + 2 * qkv.heads * (read_size(qkv) + qkv.n * qkv.v.shape[-1])


def read(qkv: QKV) -> Float[Tensor, "#h n D"]:
    """What a gate reads of each query's token: the layer's input, one for all heads, or the
    query where that isn't known; in float64."""
    x = None if qkv.layer is None else qkv.layer.x
    if x is None or len(x) != qkv.m or not (qkv.causal or qkv.n == qkv.m):
        return qkv.q.double()
    at = torch.arange(qkv.n, device=x.device) + qkv.frame.offset
    return x.double()[at.clamp(0, qkv.m - 1)][None]


def read_size(qkv: QKV) -> int:
    """Numbers that gates read, at most."""
    x = None if qkv.layer is None else qkv.layer.x
    return max(qkv.q.numel(), 0 if x is None else x.numel())


def gates(qkv: QKV, learned: Learned | None) -> Float[Tensor, "h n"] | None:
    """How far each row's gate is open, in float64; None where all are open."""
    if learned is None:
        return None
    w, b = (learned.weights[x].double().to(qkv.device) for x in ("w_gate", "b_gate"))
    return torch.sigmoid((read(qkv) @ w[..., None])[..., 0] + b[:, None])


def fitted(qkv: QKV, x: Float[Tensor, "#h n D"], chance: Float[Tensor, "h D"]) -> Learned:
    """The gate that follows what rows give to other keys than the first that they see."""
    rows = selection.sample(qkv.n, SAMPLE).to(qkv.device)
    count, first = qkv.frame.seen(rows)
    rows, first = rows[count > 1], first[count > 1]
    none = Learned({"w_gate": torch.zeros_like(chance), "b_gate": chance.new_zeros(qkv.heads)})
    if len(rows) < 2:
        return none
    full = Composed(qkv, patterns.Everything())
    parts = zip(rows.split(32), first.split(32), strict=True)
    kept = [1 - full.weights(a).gather(-1, f.expand(qkv.heads, -1)[..., None]) for a, f in parts]
    share = torch.cat(kept, 1)[..., 0].double().clamp(EDGE, 1 - EDGE)  # (h r)
    target = torch.logit(share)
    held = torch.arange(len(rows), device=qkv.device) % 4 == 3
    some = x[:, rows]
    w, b = ridge(some[:, ~held], target[:, ~held])
    weights = {"w_gate": w, "b_gate": b}
    if int(held.sum()) < 2:
        return Learned(weights)

    def explained(w: Tensor, b: Tensor) -> Float[Tensor, " h"]:
        made = (some[:, held] @ w[..., None])[..., 0] + b[:, None]
        left = (target[:, held] - made).square().sum(-1)
        whole = (target[:, held] - target[:, ~held].mean(-1, keepdim=True)).square().sum(-1)
        return torch.where(whole > 0, 1 - left / whole.clamp_min(1e-300), 0.0).float().cpu()

    mean = target[:, ~held].mean(-1)
    random = explained(chance, mean - (some[:, ~held] @ chance[..., None])[..., 0].mean(-1))
    return Learned(weights, Fidelity("r2_gate", explained(w, b), random))


def ridge(
    x: Float[Tensor, "#h r D"], y: Float[Tensor, "h r"]
) -> tuple[Float[Tensor, "h D"], Float[Tensor, " h"]]:
    """w and b of y ≈ w·x + b, by least squares with a small weight on w."""
    mean, level = x.mean(1, keepdim=True), y.mean(-1, keepdim=True)
    z = x - mean
    moment = z.mT @ z
    size = moment.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-12)
    whole = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    moment = moment + (RIDGE * size)[:, None, None] * whole
    w = torch.linalg.solve(moment, z.mT @ (y - level)[..., None])[..., 0]
    return w, level[:, 0] - (w * mean[:, 0]).sum(-1)


def _let(output: Float[Tensor, "h n e"], open: Float[Tensor, "h n"] | None) -> Tensor:
    return output if open is None else output * open[..., None].to(output)
