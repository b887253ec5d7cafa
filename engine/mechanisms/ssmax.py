"""Scalable softmax: logits grow with the logarithm of what a row sees (arXiv 2501.19399)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, log
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import Parameter

from engine.contract import QKV, param
from engine.kernels import dense, patterns
from engine.kernels.composed import Composed
from engine.kernels.needle import Numbers, floats
from engine.kernels.sdpa import fits_sdpa, sdpa_whole
from engine.mechanisms.base import Mechanism

FORMS = ("log", "late", "stepped")


@dataclass(frozen=True)
class SSMax(Mechanism):
    """softmax(β z) with β = s ln n + b, n = the keys that causality and masks let the row see.

    Models that ship it let it begin later: "late" is 1 + s ln max(n/start, 1) (Inkling 2),
    "stepped" 1 + s ln(1 + ⌊(n − 1)/start⌋) (Llama 4, Ministral 3), both without b, which is
    Mistral Large 4's. A model trained this way brings an s for each head, and may bring a b.
    Biases and sink logits are logits and grow, too. A needle s·gap > 1 ahead of equal others gains
    mass as the text grows; with s·gap < 1 it still thins out.
    """

    key: ClassVar[str] = "ssmax"
    family: ClassVar[str] = "remedies"
    paper: ClassVar[str] = "arXiv 2501.19399"
    complexity: ClassVar[str] = "n²"

    # what the paper's models learn, in the mean (its Figure 1 and others take 0.43)
    s: float = param(0.43, low=0.0, slider=(0.05, 2.0), step=0.01)
    form: str = param("log", choices=FORMS, later=True)
    b: float = param(0.0, low=0.0, slider=(0.0, 2.0), step=0.05, later=True)
    start: int = param(64, low=1, slider=(1, 8192), unit="tokens", log=True, later=True)

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        return Composed(
            qkv,
            patterns.Everything(),
            beta=lambda rows: self.betas(qkv, rows),
            output=sdpa_whole if fits_sdpa(qkv) else None,
        )

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        seen = dense.allowed(qkv)
        count = seen.sum(-1, keepdim=True).clamp_min(1).double()
        s, b = (x[..., None] for x in self.factors(qkv))
        match self.form:
            case "late":
                beta = 1 + s * (count / self.start).clamp_min(1).log()  # (h n 1)
            case "stepped":
                beta = 1 + s * (1 + ((count - 1) / self.start).floor()).log()
            case _:
                beta = s * count.log() + b
        z = dense.entries(qkv, dense.logits(qkv), seen)
        # just above 0 where n = 1, so that −∞ still hides
        z = z * beta.clamp_min(torch.finfo(z.dtype).tiny)
        return z.softmax(-1).nan_to_num(0)[..., : qkv.m]

    def takes(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        found = {} if self.learned is None else self.learned.weights
        return dict.fromkeys(("s", *(x for x in found if x == "b")), (qkv.heads,))

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        return {"s": Parameter(torch.full((heads,), self.s))}

    def factors(self, qkv: QKV) -> tuple[Float[Tensor, "h 1"], Float[Tensor, "h 1"]]:
        """s and b of each head, in float64."""
        found = {} if self.learned is None else self.learned.weights
        s, b = (
            found[x].double().to(qkv.device)[:, None]
            if x in found
            else torch.full((qkv.heads, 1), by, dtype=torch.float64, device=qkv.device)
            for x, by in (("s", self.s), ("b", self.b))
        )
        return s, b

    def betas(self, qkv: QKV, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r"]:
        """β of rows, just above 0 at least, so that a bias of −∞ still hides."""
        s, b = self.factors(qkv)
        if self.form == "log" and not b.any():
            return length_scale(qkv, rows, s)
        visible = qkv.frame.seen(rows)[0].double().clamp_min(1)
        beta = s * self.growth(visible) + (b if self.form == "log" else 1)
        dtype = qkv.dtype if qkv.dtype == torch.float64 else torch.float32
        return beta.to(dtype).clamp_min(torch.finfo(dtype).tiny)

    def growth(self, n: Float[Tensor, "*r"]) -> Float[Tensor, "*r"]:
        """What s is multiplied by."""
        match self.form:
            case "late":
                return (n / self.start).clamp_min(1).log()
            case "stepped":
                return (1 + ((n - 1) / self.start).floor()).log()
            case _:
                return n.log()

    @property
    def idle(self) -> tuple[str, ...]:
        return ("start",) if self.form == "log" else ("b",)

    @property
    def formulas(self) -> tuple[str, ...]:
        if self.form != "log":
            return (self.form,)
        return ("biased",) if self.b else ("",)

    def inverse_temperature(self, n: ArrayLike, entropy: ArrayLike) -> Numbers:
        n, _ = floats(n, entropy)
        grown = self.growth(torch.from_numpy(n)).numpy()
        return self.s * grown + (self.b if self.form == "log" else 1)

    @property
    def holding_gap(self) -> float:
        return 1 / self.s if self.s else inf

    def sharpened(self, factor: float, n: float) -> SSMax | None:
        # below e, ln n would be next to nothing
        n = max(n, 2.8)
        grown = log(n) if self.form == "log" else float(self.growth(torch.tensor(n).double()))
        left = factor - (self.b if self.form == "log" else 1)
        if left < 0 or grown < 0.1:  # no s does it: the row is as sharp already, or does not grow
            return None
        return replace(self, learned=None, s=left / grown)


def length_scale(
    qkv: QKV, rows: Int[Tensor, " r"], s: float | Float[Tensor, "h 1"]
) -> Float[Tensor, "#h r"]:
    """s ln n of rows, just above 0 where n = 1, so that a bias of −∞ still hides."""
    dtype = qkv.dtype if qkv.dtype == torch.float64 else torch.float32
    visible = qkv.frame.seen(rows)[0].to(dtype).clamp_min(1)[None]
    s = s.to(dtype) if isinstance(s, Tensor) else s
    return (s * visible.log()).clamp_min(torch.finfo(dtype).tiny)
