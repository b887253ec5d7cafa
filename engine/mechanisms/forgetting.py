"""Softmax with a forget gate (Forgetting Transformer, arXiv 2503.02130)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from engine.contract import QKV, param
from engine.contract.views import Bias
from engine.kernels import dense, patterns, positions
from engine.kernels.composed import Composed
from engine.kernels.sdpa import fits_sdpa, sdpa_blocks
from engine.mechanisms import _gates
from engine.mechanisms.base import Mechanism, pairs_back
from engine.mechanisms.relative import looked_at, mean_by_distance


@dataclass(frozen=True)
class Forgetting(Mechanism):
    """softmax_j(z_ij + ln f_(j+1) + … + ln f_i): each token after a key makes it count f times as
    much, where f = σ(w·x + b) of the token, for each head by itself.

    The paper trains w and b with the model. A model that was not trained so has none, and nothing
    in it tells what they would be, since f = 1 is what it attends with: so they are parameters.
    Half is forgotten after `half_life` tokens, and tokens differ: the logit of f lies about
    `spread` above or below, along a direction drawn for each head, in the layer's input, or in
    the keys where that is not known, brought to one length. With a spread of 0 it is ALiBi with
    the slope ln 2 / half_life. A model trained this way brings its own w and b.

    It looks back only: where the QKV lets a row see keys after it, it gives them nothing. Hidden
    keys forget like others. Honours everything that a QKV can hold.
    """

    key: ClassVar[str] = "forgetting"
    family: ClassVar[str] = "position"
    paper: ClassVar[str] = "arXiv 2503.02130"
    complexity: ClassVar[str] = "n²"
    leaves_out: ClassVar[bool] = True
    by_head: ClassVar[bool] = True

    half_life: float = param(
        64.0, low=0.0, high=1e9, open_low=True, slider=(1.0, 1024.0), unit="tokens", log=True
    )
    spread: float = param(1.0, low=0.0, slider=(0.0, 4.0), step=0.1)
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        _gates.check(qkv, self.called, self.learned)

    def takes(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return _gates.shapes(qkv, "forget")

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        """Every token forgets alike, by the half-life."""
        return {
            "w_forget": Parameter(torch.zeros(heads, read)),
            "b_forget": Parameter(torch.full((heads,), _gates.kept(self.half_life))),
        }

    def gates(self, qkv: QKV) -> Float[Tensor, "h m"]:
        """Logits of f, in float64."""
        if self.learned is not None:
            return _gates.trained(qkv, self.learned, "forget")
        return _gates.kept(self.half_life) + self.spread * _gates.drawn(qkv, self.seed)

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        total = F.logsigmoid(self.gates(qkv)).cumsum(-1)
        dtype = torch.float64 if qkv.dtype == torch.float64 else torch.float32
        bias = positions.Decay(total, qkv.frame.offset, dtype)
        made = qkv.replace(bias=bias if qkv.bias is None else positions.Sum(qkv.bias, bias))
        pattern = patterns.Everything() if qkv.causal else patterns.Past()
        output = (lambda own: sdpa_blocks(own, 512)) if fits_sdpa(qkv) else None
        return Composed(made, pattern, output=output, views=lambda _: _views(qkv, made, bias))

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        total = F.logsigmoid(self.gates(qkv)).cumsum(-1)  # (h m)
        at, cols = dense.positions(qkv)
        since = total[:, at.clamp(0, qkv.m - 1)] - total[:, None]  # (h n m)
        return dense.masked_softmax(
            qkv, dense.logits(qkv) + since, dense.allowed(qkv) & (cols <= at)
        )

    def pairs(self, qkv: QKV) -> int:
        return pairs_back(qkv)

    def held(self, qkv: QKV) -> int:
        return _gates.held(qkv)

    def flops(self, qkv: QKV) -> int:
        """Two sums a pair on top of softmax's, and the gates."""
        x = _gates.read(qkv)
        width = qkv.k.shape[-1] if x is None else x.shape[1]
        return super().flops(qkv) + 2 * qkv.heads * (self.pairs(qkv) + qkv.m * width)


def _views(qkv: QKV, made: QKV, bias: positions.Decay) -> tuple[Bias, ...]:
    """What forgetting adds by distance, on average; of an image's patches, which stand in no line,
    and of rows that stand nowhere among the keys there is none."""
    if qkv.grid is not None or not (qkv.causal or qkv.n == qkv.m):
        return ()
    past = qkv.replace(causal=True)
    distance, rows = looked_at(past)
    means = mean_by_distance(past, made.replace(causal=True), bias, distance, rows)
    return (Bias(distance, *means, rows, "forgetting"),)
